"""Real-ESRGAN's generator and SwinIR with fusion, by the arguments that their own option files have."""

from __future__ import annotations

from collections.abc import Sequence

from basicsr.utils.registry import ARCH_REGISTRY

from deplsr_arch.checks import expect_counts
from deplsr_arch.fused_arch import Fused
from deplsr_arch.fusion import Fusion, FusionInit

__all__ = ['FusedRRDBNet', 'FusedSwinIR']


@ARCH_REGISTRY.register()
class FusedRRDBNet(Fused):
    """Real-ESRGAN's generator with fusion; its published weights load as they are.

    Args:
        num_in_ch: As in BasicSR's RRDBNet, like all arguments up to ``num_grow_ch``; 3 here.
        num_out_ch: See RRDBNet.
        scale: See RRDBNet.
        num_feat: See RRDBNet.
        num_block: See RRDBNet.
        num_grow_ch: See RRDBNet.
        fuse_every: A fusion stands before every so many blocks; 4 gives 6 fusions in 23 blocks, as many as DePLSR has.
        prior_dim: See :class:`Fused`, like all that follow.
        fusion: See Fused.
        fusion_init: See Fused.
        fusion_num_heads: See Fused.
        fusion_attn_ratio: See Fused.
        fusion_mlp_ratio: See Fused.

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
        )


@ARCH_REGISTRY.register()
class FusedSwinIR(Fused):
    """SwinIR with a fusion before each of its groups, as DePLSR has them in DAT; published weights load as they are.

    Args:
        img_size: As in BasicSR's SwinIR, like all arguments up to ``resi_connection``.
        patch_size: See SwinIR.
        in_chans: See SwinIR; 3 here.
        embed_dim: See SwinIR.
        depths: See SwinIR.
        num_heads: See SwinIR.
        window_size: See SwinIR.
        mlp_ratio: See SwinIR.
        drop_path_rate: See SwinIR.
        upscale: See SwinIR.
        img_range: See SwinIR.
        upsampler: See SwinIR.
        resi_connection: See SwinIR.
        fuse_every: A fusion stands before every so many groups.
        prior_dim: See :class:`Fused`, like all that follow.
        fusion: See Fused.
        fusion_init: See Fused.
        fusion_num_heads: See Fused.
        fusion_attn_ratio: See Fused.
        fusion_mlp_ratio: See Fused.

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
        )
