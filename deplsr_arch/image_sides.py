"""Sides that an image must have for a network: complete windows, or pixels that are packed together."""

from __future__ import annotations

from basicsr.archs.rrdbnet_arch import RRDBNet
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ['mirrored', 'side_multiple']


def side_multiple(backbone: nn.Module) -> int:
    """Returns what the sides of an image must be multiples of."""
    if isinstance(backbone, RRDBNet):
        return {2: 2, 1: 4}.get(backbone.scale, 1)
    windows = (getattr(module, 'window_size', 1) for module in backbone.modules())
    return max(size for size in windows if isinstance(size, int))


def mirrored(x: Tensor, multiple: int) -> Tensor:
    """Mirrors images beyond their lower and right border to a multiple of pixels."""
    height, width = x.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return x
    return F.pad(x, (0, right, 0, below), mode='reflect' if below < height and right < width else 'replicate')
