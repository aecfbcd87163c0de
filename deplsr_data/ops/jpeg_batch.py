"""A JPEG codec for a batch on any device, each image with its own quality and size; equal to libjpeg's to the bit.

It runs the stages of libjpeg in their order: 8-bit RGB, 8-bit YCbCr, chroma halved by means of four, 8 x 8 DCT,
quantisation, and back with the smooth ("fancy") enlargement of chroma. libjpeg computes them with integers; so does
this code, in floating-point numbers that are wide enough to represent every product and sum exactly. The result
therefore depends neither on the device nor on the other images of the batch. (Images of up to 4 pixels in width are the
exception: libjpeg repeats their chroma instead of smoothing it.) With 4:4:4 the chroma keeps its size.

Source: ITU-T T.81 (JPEG), T.871 (JFIF); Loeffler, Ligtenberg, Moschytz (ICASSP 1989) for the DCT, which libjpeg's
default ("islow") runs with 13-bit constants.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deplsr_data.ops.jpeg import quantisation_tables

__all__ = ['batched_jpeg', 'tables_of']

#: A value exactly between two steps is rounded away from zero; floats multiplied by this factor do so when rounded.
_AWAY_FROM_ZERO = 1 + 1e-6
_BITS = 13  # of the DCT's constants
_EXTRA = 2  # bits that are kept between the passes over rows and columns


@lru_cache(maxsize=1024)
def tables_of(quality: float) -> np.ndarray:
    """Returns the luma and the chroma quantisation table of a quality factor, (2, 64) float32, row by row."""
    return np.array(quantisation_tables(quality), np.float32)


def batched_jpeg(
    x: Tensor, tables: Tensor, height: Tensor, width: Tensor, halve: bool = True, grid_offset: Tensor | None = None
) -> Tensor:
    """Encodes and decodes each image of a batch as baseline JPEG.

    Args:
        x: (B, H, 3, W) float32, rows of three channels, each image in the upper left corner; clipped to 0..1 first.
        tables: (B, 2, 64) float32, quantisation tables of luma and chroma (:func:`tables_of`).
        height: (B,) int64, rows of each image.
        width: (B,) int64, columns of each image.
        halve: Halve the chroma (4:2:0); if not, 4:4:4.
        grid_offset: (B, 2) int64, rows and columns, 0 to 15, by which the grid of blocks begins above and to the left
            of each image.

    Returns:
        (B, H, 3, W) float32, 0..1, in steps of 1/255; beyond an image's own size, any finite values.
    """
    if grid_offset is not None:
        moved = _moved(F.pad(x, (0, 16, 0, 0, 0, 16)), -grid_offset)
        moved = batched_jpeg(moved, tables, height + grid_offset[:, 0], width + grid_offset[:, 1], halve)
        return _moved(moved, grid_offset)[:, : x.shape[1], :, : x.shape[3]]
    rows, columns = x.shape[1], x.shape[3]
    x = x.clamp(0, 1).mul_(255).round_()
    if rows % 16 or columns % 16:
        x = F.pad(x, (0, -columns % 16, 0, 0, 0, -rows % 16))
    luma, chroma = _to_planes(_replicate(x, height, width))
    if not halve:
        return _to_rgb(_quantised(luma, tables[:, 0]), _quantised(chroma, tables[:, 1]))[:, :rows, :, :columns]
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    chroma = _replicate(_halved(chroma), half_height)
    luma = _quantised(luma, tables[:, 0])
    chroma = _quantised(chroma, tables[:, 1])
    return _to_rgb(luma, _doubled(_replicate(chroma, half_height, half_width)))[:, :rows, :, :columns]


def _moved(x: Tensor, offset: Tensor) -> Tensor:
    """Moves each image (B, H, 3, W) up and to the left by ``offset`` (B, 2); its border is repeated where it was."""
    for axis, dimension in ((0, 1), (1, 3)):
        size = x.shape[dimension]
        place = (torch.arange(size, device=x.device) + offset[:, axis, None]).clamp(0, size - 1)
        shape = [len(x), 1, 1, 1]
        shape[dimension] = size
        x = x.gather(dimension, place.view(shape).expand(x.shape))
    return x


def _replicate(x: Tensor, height: Tensor, width: Tensor | None = None) -> Tensor:
    """Repeats the last column and row of each image (B, H, C, W) up to the end of its last block, in place."""
    batch, rows, channels, columns = x.shape
    beyond = torch.arange(16, device=x.device)
    if width is not None:
        place = (width[:, None] + beyond).clamp(max=columns - 1).view(batch, 1, 1, -1).expand(-1, rows, channels, -1)
        last = (width - 1).view(batch, 1, 1, 1).expand(-1, rows, channels, 1)
        x.scatter_(3, place, x.gather(3, last).expand(place.shape))
    place = (height[:, None] + beyond).clamp(max=rows - 1).view(batch, -1, 1, 1).expand(-1, -1, channels, columns)
    last = (height - 1).view(batch, 1, 1, 1).expand(-1, 1, channels, columns)
    return x.scatter_(1, place, x.gather(1, last).expand(place.shape))


def _to_planes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns luma (B, H, 1, W) and chroma (B, H, 2, W), both about 0, of 8-bit RGB; 16-bit fixed point."""
    red, green, blue = x[:, :, 0], x[:, :, 1], x[:, :, 2]
    luma = torch.add(32768.0 - (128 << 16), red, alpha=19595).add_(green, alpha=38470).add_(blue, alpha=7471)
    chroma = x.new_empty(*x.shape[:2], 2, x.shape[3])
    chroma[:, :, 0] = torch.add(32767.0, red, alpha=-11059).add_(green, alpha=-21709).add_(blue, alpha=32768)
    chroma[:, :, 1] = torch.add(32767.0, red, alpha=32768).add_(green, alpha=-27439).add_(blue, alpha=-5329)
    return luma.mul_(2**-16).floor_()[:, :, None], chroma.mul_(2**-16).floor_()


def _halved(chroma: Tensor) -> Tensor:
    """Averages squares of four; what lies between two numbers is rounded down and up alternately, as in libjpeg."""
    batch, height, channels, width = chroma.shape
    pairs = chroma.view(batch, height // 2, 2, channels, width)
    total = pairs[:, :, 0] + pairs[:, :, 1]
    total = total[..., 0::2] + total[..., 1::2]
    bias = 0.25 + 0.25 * (torch.arange(width // 2, device=total.device) % 2)
    return total.mul_(0.25).add_(bias).floor_()


def _quantised(planes: Tensor, tables: Tensor) -> Tensor:
    """Takes planes (B, H, C, W) through DCT, quantisation with tables (B, 64) and back, to -128..127."""
    batch, height, channels, width = planes.shape
    along, down, up, back = _passes(planes.device)
    split = planes.view(batch, height // 8, 8, channels, width // 8, 8).permute(2, 5, 0, 1, 3, 4)
    blocks = split.reshape(8, 8, -1)  # row, column, block
    rows = _rounded(torch.matmul(along, blocks)).double()
    steps = tables.view(batch, 8, 8).permute(1, 2, 0)[..., None]
    scaled = _rounded(down @ rows.view(8, -1)).float().view(8, 8, batch, -1)  # 8 times the DCT
    scaled.mul_(_AWAY_FROM_ZERO / 8 / steps).round_().mul_(steps)
    columns = _rounded(up @ scaled.double().view(8, -1)).view(8, 8, -1)
    blocks = _rounded(torch.matmul(back, columns)).float().clamp_(-128, 127)
    split = blocks.view(8, 8, batch, height // 8, channels, width // 8).permute(2, 3, 0, 4, 5, 1)
    return split.reshape(planes.shape)


def _rounded(x: Tensor) -> Tensor:
    """Rounds in place, halves up."""
    return x.add_(0.5).floor_()


def _doubled(chroma: Tensor) -> Tensor:
    """Enlarges planes (B, H, C, W) by a triangle filter, rounding halves up and down alternately, as libjpeg does."""
    batch, height, channels, width = chroma.shape
    tall = (chroma * 3)[:, :, None].repeat(1, 1, 2, 1, 1)
    tall[:, 1:, 0] += chroma[:, :-1]
    tall[:, :1, 0] += chroma[:, :1]
    tall[:, :-1, 1] += chroma[:, 1:]
    tall[:, -1:, 1] += chroma[:, -1:]
    tall = tall.view(batch, 2 * height, channels, width)
    left, right = tall * 3, tall * 3
    left[..., 1:] += tall[..., :-1]
    left[..., :1] += tall[..., :1]
    right[..., :-1] += tall[..., 1:]
    right[..., -1:] += tall[..., -1:]
    wide = torch.stack([left.add_(8), right.add_(7)], -1)
    return wide.mul_(1 / 16).floor_().view(batch, 2 * height, channels, 2 * width)


def _to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """Returns (B, H, 3, W) in 0..1 from luma (B, H, 1, W) and chroma (B, H, 2, W), all about 0."""
    cb, cr = chroma[:, :, 0], chroma[:, :, 1]
    out = luma.new_empty(*luma.shape[:2], 3, luma.shape[3])
    half = 32768.0
    torch.add(half, cr, alpha=91881, out=out[:, :, 0])
    torch.add(half, cb, alpha=-22554, out=out[:, :, 1]).sub_(cr, alpha=46802)
    torch.add(half, cb, alpha=116130, out=out[:, :, 2])
    return out.mul_(2**-16).floor_().add_(luma).add_(128).clamp_(0, 255).div_(255)


@lru_cache(maxsize=8)
def _passes(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the DCT along rows and down columns, then its inverse up columns and back along rows.

    The rounding after each pass divides by a power of two, so it is part of the matrix and nothing is lost. The
    numbers of the first pass stay below 2^24, those of the others need float64.
    """
    dct = torch.from_numpy(_dct())
    along = (dct * 2.0 ** -(_BITS - _EXTRA)).float()
    down, up, back = (
        dct * 2.0 ** -(_BITS + _EXTRA),
        dct.T * 2.0 ** -(_BITS - _EXTRA),
        dct.T * 2.0 ** -(_BITS + _EXTRA + 3),
    )
    return along.to(device), down.to(device), up.contiguous().to(device), back.contiguous().to(device)


def _dct() -> np.ndarray:
    """Returns the matrix that libjpeg's DCT of 8 numbers amounts to: sqrt(8) 2^13 times the orthonormal one.

    The fast algorithm multiplies with sums and differences of cosines, each rounded to 13 bits by itself, so that some
    of the 64 numbers differ by one from the nearest integer.

    Returns:
        (8, 8) float64.
    """
    c = [math.sqrt(2) * math.cos(k * math.pi / 16) for k in range(8)]

    def bits(x: float) -> int:
        return round(x * 2**_BITS)

    matrix = np.zeros((8, 8))
    matrix[0], matrix[4] = 2**_BITS, [sign * 2**_BITS for sign in (1, -1, -1, 1, 1, -1, -1, 1)]
    near, far = bits(c[6]) + bits(c[2] - c[6]), bits(c[6]) - bits(c[2] + c[6])
    matrix[2, :4], matrix[6, :4] = (near, bits(c[6]), -bits(c[6]), -near), (bits(c[6]), far, -far, -bits(c[6]))
    ends, middles = bits(c[3] - c[7]), bits(c[1] + c[3])
    skew, close, shared = bits(c[3] + c[5]), bits(c[3] - c[5]), bits(c[3])
    matrix[1::2, :4] = [
        (bits(c[1] + c[3] - c[5] - c[7]) - ends - close + shared, shared, shared - close, shared - ends),
        (shared, bits(c[1] + c[3] + c[5] - c[7]) - middles - skew + shared, shared - middles, shared - skew),
        (shared - close, shared - middles, bits(c[1] + c[3] - c[5] + c[7]) - middles - close + shared, shared),
        (shared - ends, shared - skew, shared, bits(-c[1] + c[3] + c[5] - c[7]) - ends - skew + shared),
    ]
    matrix[0::2, 4:] = matrix[0::2, 3::-1]
    matrix[1::2, 4:] = -matrix[1::2, 3::-1]
    return matrix
