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
from deplsr_arch.dat_blocks import ResiConnection
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
    """DAT that attends to a content and a degradation prior. The defaults are the paper's network at x4.

    Weights of the authors' network (their ``RealDAT``) load strictly and want ``fusion='paper'``. To start from a plain
    DAT's weights take ``fusion_init='identity'``: at first the output is exactly that DAT's.

    Args:
        img_size: As in :class:`DAT`, like all arguments up to ``pos_dim``.
        in_chans: See DAT.
        embed_dim: See DAT.
        split_size: See DAT.
        depth: See DAT.
        num_heads: See DAT.
        expansion_factor: See DAT.
        qkv_bias: See DAT.
        qk_scale: See DAT.
        drop_rate: See DAT; fusion has no dropout.
        attn_drop_rate: See DAT; fusion has no dropout.
        drop_path_rate: See DAT; fusion is never left out.
        use_chk: See DAT; fusion is cheap and always kept.
        upscale: See DAT.
        img_range: See DAT.
        resi_connection: See DAT.
        upsampler: See DAT.
        pos_dim: See DAT.
        fusion_layers: Groups with a fusion before them: 'all', 'none', an index, or indices such as '0-2-4'.
        fusion: 'film' (:class:`PriorModulation`), 'residual' or 'paper' (:class:`CrossModalFusion`, as published).
        fusion_init: Start of the fusions, 'paper' or 'identity'; None: 'paper' for the published ones, 'identity' else.
        fusion_num_heads: Heads of the fusion's attentions.
        fusion_attn_ratio: Width of queries and keys in the attention on pairs, in multiples of C.
        fusion_mlp_ratio: Hidden width of the fusion's MLP, in multiples of C.
        prior_dim: Width D of the prior's embeddings, 512 for ViT-B/32.

    Shape:
        - x: (B, in_chans, h, w). xi: (B, n, D) content, n = 1 in the paper. xd: (B, m, D) degradation, m = 5.
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
        use_chk: bool = False,
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
        expect_counts(prior_dim=prior_dim)
        self.prior_dim = prior_dim
        make_fusion = partial(
            build_fusion,
            embed_dim,
            fusion_num_heads,
            attn_ratio=fusion_attn_ratio,
            mlp_ratio=fusion_mlp_ratio,
            form=fusion,
            init=fusion_init,
        )
        fused_groups = parse_fusion_layers(fusion_layers, len(depth))
        self.fusion_blocks = nn.ModuleDict({str(group): make_fusion() for group in fused_groups})
        self.adaptive_feat_channels = PriorProjection(prior_dim, embed_dim, fusion)

    # No drop-in for a DAT, which it shares all parts with: it cannot run without a prior.
    def forward(self, x: Tensor, xi: Tensor, xd: Tensor) -> Tensor:  # type: ignore[override]
        """Enlarges images x (B, in_chans, h, w) with the prior xi (B, n, D), xd (B, m, D)."""
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
    """Reads which residual groups have a fusion before them.

    Raises:
        ValueError: it is neither 'all', 'none', nor an ascending list of group indices such as '0-2-4'.
    """
    if fusion_layers in ('all', 'none'):
        return tuple(range(groups)) if fusion_layers == 'all' else ()
    words = [] if isinstance(fusion_layers, bool) else str(fusion_layers).split('-')
    known = [str(index) for index in range(groups)]
    fits = bool(words) and all(word in known for word in words) and words == sorted(set(words), key=int)
    hint = f'there are {groups} groups, counted from 0'
    expect(fits, 'fusion_layers', "'all', 'none', or ascending indices such as '0-2-4'", fusion_layers, hint)
    return tuple(int(word) for word in words)
