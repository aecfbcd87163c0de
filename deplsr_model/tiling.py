"""The one tiler: runs a network over overlapping tiles and blends them, so that no seam is visible."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deplsr_arch.grid import starts

__all__ = ['upscale_tiled']


def _blend_weight(start: int, size: int, length: int, ramp: int) -> Tensor:
    """Weight of a tile along one side: 1 inside, falling towards a neighbour, not towards the image's edge."""
    position = torch.arange(size, dtype=torch.float32)
    weight = torch.ones(size)
    if start > 0:
        weight = torch.minimum(weight, (position + 1) / (ramp + 1))
    if start + size < length:
        weight = torch.minimum(weight, (size - position) / (ramp + 1))
    return weight


def upscale_tiled(upscale: Callable[[Tensor], Tensor], lq: Tensor, scale: int, tile: int, overlap: int = 16) -> Tensor:
    """Applies ``upscale`` tile by tile and blends the results.

    Where tiles overlap, their weights fall linearly; the result is the weighted mean. An image no larger than one
    tile is passed through in one piece, unchanged.

    Args:
        upscale: Maps (B, C, h, w) to (B, C, h * scale, w * scale).
        lq: (B, C, H, W), any size.
        scale: Enlargement of ``upscale``.
        tile: Side of a tile in LR pixels; 0 for the complete image at once.
        overlap: LR pixels that neighbouring tiles share.

    Returns:
        (B, C, H * scale, W * scale).

    Raises:
        ValueError: ``overlap`` is negative or not smaller than ``tile``.
    """
    height, width = lq.shape[-2:]
    if tile == 0 or (height <= tile and width <= tile):
        return upscale(lq)
    if not 0 <= overlap < tile:
        raise ValueError(f'tile overlap: expected 0 <= overlap < tile ({tile}), got {overlap}; make it smaller')
    total, weight_sum = lq.new_zeros(()), lq.new_zeros(height * scale, width * scale)
    for top in starts(height, tile, overlap):
        for left in starts(width, tile, overlap):
            sr = upscale(lq[..., top : top + tile, left : left + tile])
            if not total.ndim:  # the number of channels is that of the first tile
                total = sr.new_zeros(*sr.shape[:2], *weight_sum.shape)
            h, w = sr.shape[-2:]
            y, x = top * scale, left * scale
            weight = torch.outer(
                _blend_weight(y, h, height * scale, overlap * scale),
                _blend_weight(x, w, width * scale, overlap * scale),
            ).to(sr)
            total[..., y : y + h, x : x + w] += sr * weight
            weight_sum[y : y + h, x : x + w] += weight
    return total / weight_sum
