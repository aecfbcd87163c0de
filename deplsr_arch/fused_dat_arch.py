"""FusedDAT, the super-resolution network of DePLSR: DAT with a Cross-Modal Fusion Module before residual groups.

Source: Real-world super-resolution with VLM-based degradation prior learning, Scientific Reports 15, 28837 (2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from deplsr_arch.checks import expect, expect_counts
from deplsr_arch.dat_arch import DAT
from deplsr_arch.dat_blocks import ResiConnection, UseCheckpoint
from deplsr_arch.degradation_types import NUM_DEGRADATION_TYPES
from deplsr_arch.fusion import (
    FUSION_PREFIXES,
    Fusion,
    FusionInit,
    PriorProjection,
    build_fusion,
    expect_prior,
)
from deplsr_arch.upsample import Upsampler

__all__ = ['FusedDAT']


@ARCH_REGISTRY.register()
class FusedDAT(DAT):
    """DAT that is conditioned on a content and a degradation prior; except for the form of fusion, the paper's at x4.

    Weights of the authors' network (their ``RealDAT``) load strictly with ``fusion='paper'``. To start from a plain
    DAT's weights use ``fusion_init='identity'``: at first the output is exactly that DAT's.

    Args:
        img_size: LR patch size of the training. Kept so that published options can be read; nothing depends on it.
        in_chans: Channels of input and output.
        embed_dim: Channels C of a token, at least 16 and a multiple of every entry of ``num_heads``.
        split_size: Sides of the attention windows, each at least 2; half of the heads has them swapped.
        depth: Number of blocks in each residual group.
        num_heads: Number of attention heads in each residual group, even.
        expansion_factor: Hidden width of the feed-forward networks, in multiples of C.
        qkv_bias: Whether projections to q, k, v have a bias.
        qk_scale: Factor of the logits in spatial attention; None for (C / heads) ** -0.5.
        drop_rate: Dropout rate after projections and in feed-forward networks; fusion has no dropout.
        attn_drop_rate: Dropout rate on attention weights; fusion has no dropout.
        drop_path_rate: Stochastic depth rate of the last block; fusion is never dropped.
        use_chk: What the backward pass computes again instead of keeping it, see :class:`DAT`; fusions are always kept.
        upscale: Scale: 3 or a power of two; any whole number with 'pixelshuffledirect'.
        img_range: Largest value of the input; 1.0 for images in 0..1.
        resi_connection: '1conv' or '3conv', the convolution at the end of every group and of the body.
        upsampler: 'pixelshuffle' (in steps, 64 channels) or 'pixelshuffledirect' (one convolution, small).
        pos_dim: Hidden width of the position bias; None for the published one, see :class:`DAT`.
        fusion_layers: Groups with a fusion before them: 'all', 'none', an index, or indices such as '0-2-4'.
        fusion: 'film' (:class:`PriorModulation`), 'residual' or 'paper' (:class:`CrossModalFusion`, as published).
        fusion_init: Start of the fusions, 'paper' or 'identity'; None: 'paper' for the published ones, 'identity'
            otherwise.
        fusion_num_heads: Heads of the fusion's attentions.
        fusion_attn_ratio: Width of queries and keys in the attention on pairs, in multiples of C.
        fusion_mlp_ratio: Hidden width of the fusion's MLP, in multiples of C.
        prior_dim: Width D of the prior's embeddings, 512 for ViT-B/32.
        num_degradation_types: Number K of degradation tokens; that of network_da.

    Shape:
        - x: (B, in_chans, h, w). xi: (B, 1, D) content. xd: (B, K, D) degradation. With attention: any number of both.
        - returns (B, in_chans, upscale h, upscale w).

    Raises:
        ValueError: an argument is wrong, or a batch in training has one sample only (batch norm needs two).
    """

    fusion_prefixes = FUSION_PREFIXES

    def __init__(
        self,
        *,
        img_size: int = 64,
        in_chans: int = 3,
        embed_dim: int = 180,
        split_size: Sequence[int] = (8, 32),
        depth: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        expansion_factor: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        use_chk: UseCheckpoint = 'auto',
        upscale: int = 4,
        img_range: float = 1.0,
        resi_connection: ResiConnection = '1conv',
        upsampler: Upsampler = 'pixelshuffle',
        pos_dim: int | None = None,
        fusion_layers: str | int = 'all',
        fusion: Fusion = 'film',
        fusion_init: FusionInit | None = None,
        fusion_num_heads: int = 6,
        fusion_attn_ratio: float = 1.0,
        fusion_mlp_ratio: float = 1.0,
        prior_dim: int = 512,
        num_degradation_types: int = NUM_DEGRADATION_TYPES,
    ) -> None:
        super().__init__(
            img_size=img_size,
            in_chans=in_chans,
            embed_dim=embed_dim,
            split_size=split_size,
            depth=depth,
            num_heads=num_heads,
            expansion_factor=expansion_factor,
            qkv_bias=qkv_bias,
            qk_scale=qk_scale,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            use_chk=use_chk,
            upscale=upscale,
            img_range=img_range,
            resi_connection=resi_connection,
            upsampler=upsampler,
            pos_dim=pos_dim,
        )
        expect_counts(prior_dim=prior_dim, num_degradation_types=num_degradation_types)
        self.prior_dim = prior_dim
        self.num_degradation_types = num_degradation_types
        make_fusion = partial(
            build_fusion,
            embed_dim,
            fusion_num_heads,
            attn_ratio=fusion_attn_ratio,
            mlp_ratio=fusion_mlp_ratio,
            form=fusion,
            init=fusion_init,
            num_degradation_types=num_degradation_types,
        )
        fused_groups = parse_fusion_layers(fusion_layers, len(depth))
        self.fusion_blocks = nn.ModuleDict({str(group): make_fusion() for group in fused_groups})
        self.adaptive_feat_channels = PriorProjection(prior_dim, embed_dim, fusion)

    # It shares all parts with a DAT, but cannot replace one: it does not run without a prior.
    def forward(self, x: Tensor, xi: Tensor, xd: Tensor) -> Tensor:  # type: ignore[override]
        """Enlarges images x (B, in_chans, h, w), conditioned on the prior xi (B, 1, D), xd (B, K, D)."""
        for name, prior in (('xi', xi), ('xd', xd)):
            expect_prior(name, prior, x.shape[0], self.prior_dim)
        shallow, tokens, size = self.embed(x)
        xi, xd = self.adaptive_feat_channels(xi), self.adaptive_feat_channels(xd)
        for index, group in enumerate(self.layers):
            if str(index) in self.fusion_blocks:
                tokens, xi, xd = self.fusion_blocks[str(index)](tokens, xi, xd)
            tokens = group(tokens, size)
        return self.reconstruct(shallow, tokens, size)


def parse_fusion_layers(fusion_layers: str | int, groups: int) -> tuple[int, ...]:
    """Returns the indices of the residual groups that have a fusion before them.

    Raises:
        ValueError: it is neither 'all', 'none', nor an ascending list of group indices such as '0-2-4'.
    """
    if fusion_layers in ('all', 'none'):
        return tuple(range(groups)) if fusion_layers == 'all' else ()
    indices = [] if isinstance(fusion_layers, bool) else str(fusion_layers).split('-')
    known = [str(index) for index in range(groups)]
    fits = bool(indices) and all(index in known for index in indices) and indices == sorted(set(indices), key=int)
    hint = f'there are {groups} groups, counted from 0'
    expect(fits, 'fusion_layers', "'all', 'none', or ascending indices such as '0-2-4'", fusion_layers, hint)
    return tuple(int(index) for index in indices)
