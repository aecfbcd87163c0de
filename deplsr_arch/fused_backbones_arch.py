"""Real-ESRGAN's generator and SwinIR with fusion, with the arguments of their own option files."""

from __future__ import annotations

from collections.abc import Sequence

from basicsr.utils.registry import ARCH_REGISTRY

from deplsr_arch.checks import expect_counts
from deplsr_arch.degradation_types import NUM_DEGRADATION_TYPES
from deplsr_arch.fused_arch import Fused
from deplsr_arch.fusion import Fusion, FusionInit

__all__ = ['FusedRRDBNet', 'FusedSwinIR']


@ARCH_REGISTRY.register()
class FusedRRDBNet(Fused):
    """Real-ESRGAN's generator with fusion; its published weights load as they are.

    Args:
        num_in_ch: Channels of the input, 3 here.
        num_out_ch: Channels of the output, 3 here.
        scale: Scale: 1, 2 or 4.
        num_feat: Channels of the features between blocks.
        num_block: Number of blocks (RRDB).
        num_grow_ch: Channels that each convolution in a dense block adds.
        fuse_every: Number of blocks per fusion; 4 makes 6 fusions in 23 blocks, as many as DePLSR has.
        prior_dim: Width D of the prior's embeddings, 512 for ViT-B/32.
        fusion: 'film', 'residual' or 'paper', see :class:`Fused`.
        fusion_init: 'identity' or 'paper'; None: 'paper' for the published fusion, 'identity' otherwise.
        fusion_num_heads: Heads of the fusion's attentions, a divisor of num_feat.
        fusion_attn_ratio: Width of queries and keys in the attention on pairs, in multiples of num_feat.
        fusion_mlp_ratio: Hidden width of the fusion's MLP, in multiples of num_feat.
        num_degradation_types: Number K of degradation tokens; that of network_da.

    Raises:
        OptionError: An argument is wrong.
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        fuse_every: int = 4,
        prior_dim: int = 512,
        fusion: Fusion = 'film',
        fusion_init: FusionInit | None = None,
        fusion_num_heads: int = 4,
        fusion_attn_ratio: float = 1.0,
        fusion_mlp_ratio: float = 1.0,
        num_degradation_types: int = NUM_DEGRADATION_TYPES,
    ) -> None:
        expect_counts(num_block=num_block, fuse_every=fuse_every)
        backbone = {
            'type': 'RRDBNet',
            'num_in_ch': num_in_ch,
            'num_out_ch': num_out_ch,
            'scale': scale,
            'num_feat': num_feat,
            'num_block': num_block,
            'num_grow_ch': num_grow_ch,
        }
        super().__init__(
            backbone=backbone,
            fuse_at=[f'body.{i}' for i in range(0, num_block, fuse_every)],
            prior_dim=prior_dim,
            fusion=fusion,
            fusion_init=fusion_init,
            fusion_num_heads=fusion_num_heads,
            fusion_attn_ratio=fusion_attn_ratio,
            fusion_mlp_ratio=fusion_mlp_ratio,
            num_degradation_types=num_degradation_types,
        )


@ARCH_REGISTRY.register()
class FusedSwinIR(Fused):
    """SwinIR with a fusion before each of its groups, as in DePLSR's DAT; its published weights load as they are.

    Args:
        img_size: LR patch size of the training; it sizes stored attention masks, other sizes work as well.
        patch_size: Side of a token in pixels; SwinIR has 1.
        in_chans: Channels of input and output, 3 here.
        embed_dim: Channels C of a token, a multiple of every entry of ``num_heads``.
        depths: Number of blocks in each group.
        num_heads: Number of attention heads in each group.
        window_size: Side of an attention window in pixels; inputs are mirrored to a multiple of it.
        mlp_ratio: Hidden width of the feed-forward networks, in multiples of C.
        drop_path_rate: Stochastic depth rate of the last block.
        upscale: Scale: 3 or a power of two; any whole number with 'pixelshuffledirect'.
        img_range: Largest value of the input; 1.0 for images in 0..1.
        upsampler: 'pixelshuffle', 'pixelshuffledirect' (small) or 'nearest+conv' (x4, for real photos).
        resi_connection: '1conv' or '3conv', the convolution at the end of every group and of the body.
        fuse_every: Number of groups per fusion.
        prior_dim: Width D of the prior's embeddings, 512 for ViT-B/32.
        fusion: 'film', 'residual' or 'paper', see :class:`Fused`.
        fusion_init: 'identity' or 'paper'; None: 'paper' for the published fusion, 'identity' otherwise.
        fusion_num_heads: Heads of the fusion's attentions, a divisor of C.
        fusion_attn_ratio: Width of queries and keys in the attention on pairs, in multiples of C.
        fusion_mlp_ratio: Hidden width of the fusion's MLP, in multiples of C.
        num_degradation_types: Number K of degradation tokens; that of network_da.

    Raises:
        OptionError: An argument is wrong.
    """

    def __init__(
        self,
        *,
        img_size: int = 64,
        patch_size: int = 1,
        in_chans: int = 3,
        embed_dim: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        drop_path_rate: float = 0.1,
        upscale: int = 4,
        img_range: float = 1.0,
        upsampler: str = 'pixelshuffle',
        resi_connection: str = '1conv',
        fuse_every: int = 1,
        prior_dim: int = 512,
        fusion: Fusion = 'film',
        fusion_init: FusionInit | None = None,
        fusion_num_heads: int = 6,
        fusion_attn_ratio: float = 1.0,
        fusion_mlp_ratio: float = 1.0,
        num_degradation_types: int = NUM_DEGRADATION_TYPES,
    ) -> None:
        expect_counts(fuse_every=fuse_every)
        backbone = {
            'type': 'SwinIR',
            'img_size': img_size,
            'patch_size': patch_size,
            'in_chans': in_chans,
            'embed_dim': embed_dim,
            'depths': depths,
            'num_heads': num_heads,
            'window_size': window_size,
            'mlp_ratio': mlp_ratio,
            'drop_path_rate': drop_path_rate,
            'upscale': upscale,
            'img_range': img_range,
            'upsampler': upsampler,
            'resi_connection': resi_connection,
        }
        super().__init__(
            backbone=backbone,
            fuse_at=[f'layers.{i}' for i in range(0, len(depths), fuse_every)],
            prior_dim=prior_dim,
            fusion=fusion,
            fusion_init=fusion_init,
            fusion_num_heads=fusion_num_heads,
            fusion_attn_ratio=fusion_attn_ratio,
            fusion_mlp_ratio=fusion_mlp_ratio,
            num_degradation_types=num_degradation_types,
        )
