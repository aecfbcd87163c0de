"""The Cross-Modal Fusion Module (CMFM) of DePLSR.

Source: Real-world super-resolution with VLM-based degradation prior learning, Scientific Reports 15, 28837 (2025),
Cross-Modal Fusion Module. Parameter names are those of the authors' code, so that their weights load.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from basicsr_plugin.errors import OptionError
from deplsr_arch.checks import expect, expect_choice, expect_counts, expect_positive
from deplsr_arch.degradation_types import NUM_DEGRADATION_TYPES
from deplsr_arch.initialise import initialise
from deplsr_arch.pair_attention import FeedForward, PairAttention

Fusion = Literal['film', 'residual', 'paper']
FusionInit = Literal['paper', 'identity']
#: Prefixes of the parameters that a network has beyond its backbone's; a checkpoint without any is the backbone's own.
FUSION_PREFIXES = ('fusion_blocks.', 'adaptive_feat_channels.')


class CrossModalFusion(nn.Module):
    """Lets the tokens of an SR network attend to a content and a degradation prior (CMFM).

    Both forms have the same parameters. With n(.) for LayerNorm, A_i, A_d for the cross attentions of the prior on the
    image and P for the attention of the image on all pairs:

    - 'paper', as published. The tokens of the SR network are replaced by their normalised values, the prior by the
      output of its attention::

        x, xi, xd = n(x), n(xi), n(xd)
        xi, xd = A_i(xi, x), A_d(xd, x)
        x = x + P(x, xi, xd)

    - 'residual'. The image's tokens are kept as they are (normalised only as inputs of attention), and the prior's own
      tokens are added to the output of their attention. The prior's are kept normalised, because the projection that
      makes them starts at 1/250 of a normalised token's size: without normalisation, P would start two orders of
      magnitude weaker (0.0004 instead of 0.05 rms)::

        xi, xd = n(xi), n(xd)
        xi, xd = xi + A_i(xi, n(x)), xd + A_d(xd, n(x))
        x = x + P(n(x), xi, xd)

    Both end with ``x = x + MLP(n(x))``. The order of degradation tokens changes nothing but the order of their outputs.

    Args:
        dim: Channels C of a token; a multiple of ``num_heads``.
        num_heads: Attention heads of all three attentions.
        attn_ratio: Width of queries and keys in the attention on pairs, in multiples of C.
        mlp_ratio: Hidden width of the MLP, in multiples of C.
        form: 'residual' or 'paper', see above.
        init: 'paper': linear layers start as published, with weights of 0.02. 'identity', for the residual form only:
            the last layers of both branches are zero, so that the image's tokens pass unchanged at first, and the
            others start as torch's linear layers do. The last layers learn from the first step on, the others from the
            second.

    Shape:
        - x: (B, N, C) tokens. xi: (B, n, C) content, n = 1 in DePLSR. xd: (B, m, C) degradation, m = 5 there.
        - returns the three, fused, in the same shapes.

    Raises:
        ValueError: an argument is wrong.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 6,
        *,
        attn_ratio: float = 1.0,
        mlp_ratio: float = 1.0,
        form: Fusion = 'residual',
        init: FusionInit = 'paper',
    ) -> None:
        super().__init__()
        expect_counts(fusion_num_heads=num_heads)
        expect_positive(fusion_attn_ratio=attn_ratio, fusion_mlp_ratio=mlp_ratio)
        expect(dim % num_heads == 0, 'fusion_num_heads', f'a divisor of {dim} channels', num_heads, 'the paper has 6')
        narrowed = int(dim * attn_ratio)
        hint = f'it makes {narrowed} channels for {num_heads} heads'
        fits = narrowed > 0 and narrowed % num_heads == 0
        expect(fits, 'fusion_attn_ratio', 'a ratio that all heads can share', attn_ratio, hint)
        expect_choice('fusion', form, ('residual', 'paper'))
        self.form = form
        self.norm1_x = nn.LayerNorm(dim)
        self.norm1_xd = nn.LayerNorm(dim)
        self.norm1_xi = nn.LayerNorm(dim)
        self.attn = PairAttention(dim, num_heads, attn_ratio)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, max(1, int(dim * mlp_ratio)))
        self._start(init)

    def forward(self, x: Tensor, xi: Tensor, xd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fuses tokens x (B, N, C) with the prior xi (B, n, C), xd (B, m, C)."""
        normed, xi, xd = self.norm1_x(x), self.norm1_xi(xi), self.norm1_xd(xd)
        attended_i, attended_d = self.attn.attn_i(xi, normed), self.attn.attn_d(xd, normed)
        if self.form == 'paper':
            x, xi, xd = normed, attended_i, attended_d
        else:
            xi, xd = xi + attended_i, xd + attended_d
        x = x + self.attn(normed, xi, xd)
        return x + self.mlp(self.norm2(x)), xi, xd

    def _start(self, init: FusionInit) -> None:
        expect_choice('fusion_init', init, get_args(FusionInit))
        if init == 'paper':
            self.apply(initialise)
        else:
            hint = "take fusion: residual, or fusion_init: paper; the published form normalises the backbone's features"
            expect(self.form == 'residual', 'fusion_init', "'paper' with fusion: paper", init, hint)
            for last in (self.attn.proj, self.mlp.fc2):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)


class PriorModulation(nn.Module):
    """Scales and shifts the channels of an SR network by the prior (FiLM), the same for all pixels, without attention.

    All tokens of the prior are concatenated, so that each has its own weights: the degradation types need not differ in
    the direction of their embeddings. The last layer starts at zero: at first the image's tokens pass unchanged.

    Source: FiLM (Perez et al., AAAI 2018); in super-resolution, modulation by an estimated degradation: DASR (Wang et
    al., CVPR 2021).

    Args:
        dim: Channels C.
        num_degradation_types: Number K of degradation tokens.

    Shape:
        - x: (B, N, C) tokens. xi: (B, 1, C) content. xd: (B, K, C) degradation; xi and xd are returned unchanged.
    """

    def __init__(self, dim: int, num_degradation_types: int = NUM_DEGRADATION_TYPES) -> None:
        super().__init__()
        self.num_degradation_types = num_degradation_types
        self.mix = nn.Linear((1 + num_degradation_types) * dim, dim)
        self.act = nn.GELU()
        self.out = nn.Linear(dim, 2 * dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, xi: Tensor, xd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Modulates tokens x (B, N, C) by the prior xi (B, 1, C), xd (B, K, C)."""
        expect_token_counts('film', self.num_degradation_types, xi.shape[1], xd.shape[1])
        prior = torch.cat([xi, xd], dim=1).flatten(1)
        gain, shift = self.out(self.act(self.mix(prior))).unsqueeze(1).chunk(2, dim=-1)  # each (B, 1, C)
        return torch.addcmul(shift, x, 1 + gain), xi, xd  # one pass over the tokens


def expect_token_counts(form: str, types: int, content: int, degradation: int) -> None:
    """Refuses a prior with another number of tokens than the layers of a fusion were built for."""
    if (content, degradation) == (1, types):
        return
    hint = 'take fusion: residual' if content != 1 else f'set network_g.num_degradation_types: {degradation}'
    raise OptionError(
        f'prior: expected 1 content and {types} degradation tokens with fusion: {form}, '
        f'got {content} and {degradation}; {hint}'
    )


def build_fusion(
    dim: int,
    num_heads: int,
    *,
    attn_ratio: float,
    mlp_ratio: float,
    form: Fusion,
    init: FusionInit | None,
    num_degradation_types: int = NUM_DEGRADATION_TYPES,
) -> CrossModalFusion | PriorModulation:
    """Builds the fusion that an option file names; see :class:`CrossModalFusion` and :class:`PriorModulation`.

    ``init`` None takes 'paper' for the published form and 'identity' otherwise. Only 'film' depends on
    ``num_degradation_types``: attention takes any number of tokens.

    Raises:
        ValueError: An argument is wrong.
    """
    expect_choice('fusion', form, get_args(Fusion))
    if init is not None:
        expect_choice('fusion_init', init, get_args(FusionInit))
    if form != 'film':
        init = init or ('paper' if form == 'paper' else 'identity')
        return CrossModalFusion(dim, num_heads, attn_ratio=attn_ratio, mlp_ratio=mlp_ratio, form=form, init=init)
    hint = 'film starts as identity; leave fusion_init out'
    expect(init != 'paper', 'fusion_init', "'identity' with fusion: film", init, hint)
    return PriorModulation(dim, num_degradation_types)


class PriorProjection(nn.Sequential):
    """Projects the prior's embeddings to the width of the SR network; all fusions share it.

    Two linear layers. In the 'paper' form each is followed by a ReLU and starts with weights of 0.02: embeddings of
    unit length become values of about 0.001, and in narrow networks most of the second ReLUs die within some 40 steps,
    and the prior with them (width 16: 15 of 16, after which the prior changes the output by less than 1e-6). The forms
    'residual' and 'film' have the same parameters, but scale embeddings so that their entries are about 1, have a GELU
    between the layers and nothing after them, and start as torch's linear layers do.

    Shape:
        - embedding: (..., prior_dim) of unit length; returns (..., dim).
    """

    def __init__(self, prior_dim: int, dim: int, form: Fusion) -> None:
        if form == 'paper':
            super().__init__(nn.Linear(prior_dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU())
            self.apply(initialise)
        else:
            super().__init__(nn.Linear(prior_dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self._gain = 1.0 if form == 'paper' else math.sqrt(prior_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        """Projects embeddings."""
        return super().forward(embedding * self._gain)


def expect_prior(name: str, prior: Tensor, batch: int, prior_dim: int) -> None:
    """Refuses a prior that is not (batch, n, prior_dim)."""
    fits = prior.ndim == 3 and prior.shape[0] == batch and prior.shape[1] > 0 and prior.shape[2] == prior_dim
    hint = 'pass one prior for each image, of width prior_dim'
    expect(fits, name, f'({batch}, n, {prior_dim})', tuple(prior.shape), hint)
