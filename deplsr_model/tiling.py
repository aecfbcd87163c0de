"""The one tiler: runs a network over overlapping tiles and blends them, so that no seam is visible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from deplsr_arch.grid import starts

__all__ = ['Tile', 'tiled_bands', 'upscale_tiled']


class Tile(NamedTuple):
    """A rectangle of the LR image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: Tensor) -> Tensor:
        """Returns this part of (..., H, W)."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]


def _blend_weight(start: int, size: int, length: int, ramp: int) -> Tensor:
    """Weight of a tile along one side: 1 inside, falling towards a neighbour, not towards the image's edge."""
    position = torch.arange(size, dtype=torch.float32)
    weight = torch.ones(size)
    if start > 0:
        weight = torch.minimum(weight, (position + 1) / (ramp + 1))
    if start + size < length:
        weight = torch.minimum(weight, (size - position) / (ramp + 1))
    return weight


def tiled_bands(
    upscale: Callable[[Tile], Tensor], height: int, width: int, scale: int, tile: int, overlap: int = 16
) -> Iterator[Tensor]:
    """Enlarges an image tile by tile and yields it in bands of rows, from top to bottom.

    Where tiles overlap, their weights fall linearly; the result is the weighted mean. No more than one row of tiles is
    kept in memory. An image no larger than one tile is passed through in one piece, unchanged.

    Args:
        upscale: Returns (B, C, h * scale, w * scale) for a part (h, w) of the LR image.
        height: Height of the LR image.
        width: Its width.
        scale: Enlargement of ``upscale``.
        tile: Side of a tile in LR pixels; 0 for the complete image at once.
        overlap: LR pixels that neighbouring tiles share.

    Yields:
        (B, C, rows, width * scale); the rows of all bands together are height * scale.

    Raises:
        ValueError: ``overlap`` is negative or not smaller than ``tile``.
    """
    if tile == 0 or (height <= tile and width <= tile):
        yield upscale(Tile(0, 0, height, width))
        return
    if not 0 <= overlap < tile:
        raise ValueError(f'tile overlap: expected 0 <= overlap < tile ({tile}), got {overlap}; make it smaller')
    tops = starts(height, tile, overlap)
    total = weight_sum = torch.zeros(())  # of the rows that tiles further down add to
    for top, next_top in zip(tops, [*tops[1:], height], strict=True):
        rows = (min(top + tile, height) - top) * scale
        for left in starts(width, tile, overlap):
            part = Tile(top, left, min(tile, height), min(tile, width))
            sr = upscale(part)
            if left == 0:
                total = _extended(total, (*sr.shape[:2], rows, width * scale), sr)
                weight_sum = _extended(weight_sum, (rows, width * scale), sr)
            weight = torch.outer(
                _blend_weight(top * scale, sr.shape[-2], height * scale, overlap * scale),
                _blend_weight(left * scale, sr.shape[-1], width * scale, overlap * scale),
            ).to(sr)
            x = left * scale
            total[..., x : x + sr.shape[-1]] += sr * weight
            weight_sum[..., x : x + sr.shape[-1]] += weight
        done = (next_top - top) * scale
        yield total[..., :done, :] / weight_sum[:done]
        total, weight_sum = total[..., done:, :], weight_sum[done:]


def _extended(kept: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Returns zeros of a shape, with the rows that were kept on top."""
    extended = like.new_zeros(shape)
    if kept.ndim:
        extended[..., : kept.shape[-2], :] = kept
    return extended


def upscale_tiled(upscale: Callable[[Tensor], Tensor], lq: Tensor, scale: int, tile: int, overlap: int = 16) -> Tensor:
    """Applies ``upscale`` tile by tile and blends the results, see :func:`tiled_bands`.

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
    bands = list(tiled_bands(lambda part: upscale(part.crop(lq)), height, width, scale, tile, overlap))
    return bands[0] if len(bands) == 1 else torch.cat(bands, dim=-2)
