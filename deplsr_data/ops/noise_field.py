"""The noise field: a hash of (seed, channel, row, column), so that CPU and device have the same one to the bit.

The stream of a generator depends on the order and size of the requests; a hash of the place does not. The code uses
only integer arithmetic and table look-ups, which no device rounds differently.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.special import ndtri, pdtr
from torch import Tensor

__all__ = ['POISSON_COUNTS', 'field', 'normal', 'shot_noise']

#: Photons that a white pixel counts. BasicSR counts the grey values of each image and takes the next power of two,
#: which is 256 for nearly every photo; with a fixed number, a level means the same noise on every image.
POISSON_COUNTS = 256
#: Bits of the uniform numbers in the Poisson table: with 2048 its means are right to 0.03 % and its variances to 0.3 %.
_POISSON_BITS = 11


def field(seed: Tensor, gray: Tensor, height: int, width: int) -> Tensor:
    """Returns uniform integers, each of which depends only on its seed and place.

    A larger field contains the smaller ones in its upper left corner.

    Args:
        seed: (B,) integers; the lower 32 bits count.
        gray: (B,) bool; where set, all three channels are the same.
        height: Rows H.
        width: Columns W.

    Returns:
        (B, H, 3, W) int32, 0 to 65535.
    """
    device = seed.device
    channel = torch.arange(3, device=device, dtype=torch.int32) * (~gray[:, None]).to(torch.int32)
    key = _mix(_mix(_int32(seed)[:, None]) + channel)
    row = torch.arange(height, device=device, dtype=torch.int32)[:, None]
    key = _mix(key[:, None] + row * _signed(0x9E3779B9))  # (B, H, 3)
    pair = torch.arange((width + 1) // 2, device=device, dtype=torch.int32)
    halves = _mix(key[..., None] + pair * _signed(0x85EBCA6B)).view(torch.int16)  # one hash for two columns
    return halves[..., :width].to(torch.int32) & 0xFFFF


def normal(uniform: Tensor) -> Tensor:
    """Turns a :func:`field` into standard normal numbers (65,536 different ones, up to 4.3), float32."""
    return _look_up(_normal_table(uniform.device), uniform)


def shot_noise(uniform: Tensor, grey: Tensor) -> Tensor:
    """Turns a :func:`field` into shot noise, (Poisson(rate) - rate) / 256 with rate 256 grey / 255.

    Args:
        uniform: Any shape, int32.
        grey: The same shape, int32, 0 to 255.

    Returns:
        The same shape, float32.
    """
    index = (grey << _POISSON_BITS) + (uniform >> (16 - _POISSON_BITS))
    counts = _look_up(_poisson_table(uniform.device), index)
    return counts.to(torch.float32).div_(POISSON_COUNTS).sub_(grey, alpha=1 / 255)


def _mix(x: Tensor) -> Tensor:
    """Diffuses each bit of the int32 tensor ``x`` over all bits of the result; may overwrite ``x``.

    Source: lowbias32 by C. Wellons (public domain), a multiply-shift hash found by search for least bias.
    """
    x = x ^ ((x >> 16) & 0xFFFF)  # the mask makes it a shift without sign
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x *= _signed(0x846CA68B)
    return x.bitwise_xor_((x >> 16) & 0xFFFF)


def _signed(value: int) -> int:
    """Returns the int32 with the same bits as a number of up to 32 bits."""
    return value - (1 << 32) if value >= 1 << 31 else value


def _int32(seed: Tensor) -> Tensor:
    low = seed.to(torch.int64) & 0xFFFFFFFF
    return torch.where(low >= 1 << 31, low - (1 << 32), low).to(torch.int32)


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    # index_select takes int32 indices: twice as fast as table[index], which needs int64
    return table.index_select(0, index.flatten()).view(index.shape)


@lru_cache(maxsize=8)
def _normal_table(device: torch.device) -> Tensor:
    quantiles = ndtri((np.arange(1 << 16) + 0.5) / (1 << 16))
    return torch.from_numpy((quantiles / quantiles.std()).astype(np.float32)).to(device)


@lru_cache(maxsize=8)
def _poisson_table(device: torch.device) -> Tensor:
    """Returns the counts (256 grey values x 2048 uniforms, flat, int16) by inverting the distribution function."""
    uniform = (np.arange(1 << _POISSON_BITS) + 0.5) / (1 << _POISSON_BITS)
    counts = np.arange(2 * POISSON_COUNTS)
    rates = np.arange(256) / 255 * POISSON_COUNTS
    table = np.stack([np.searchsorted(pdtr(counts, rate), uniform) for rate in rates])
    return torch.from_numpy(table.astype(np.int16)).flatten().to(device)
