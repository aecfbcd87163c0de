"""Chroma noise, as demosaicing and denoising leave it in photos: smooth noise in chroma, none in luma.

White noise on a coarse grid is interpolated by Gaussian bells with one width between their centres. The weights of a
pixel have a sum of squares of 1 in each direction, so the noise is equally strong everywhere.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from deplsr_data.ops.noise_field import field, normal

__all__ = ['add_chroma_noise', 'batched_chroma_noise']

_REACH = 3  # of a bell, in widths
# What Cb and Cr add to red, green and blue (BT.601, as in JPEG); noise of 1 in both is 1.38 in RGB (root mean square)
_TO_RGB = ((0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0))
_IN_RGB = math.sqrt(sum(cb**2 + cr**2 for cb, cr in _TO_RGB) / 3)


def batched_chroma_noise(x: Tensor, level: Tensor, size: Tensor, seed: Tensor) -> Tensor:
    """Adds smooth noise to the chroma of each image of a batch and clips to 0..1.

    Args:
        x: (B, H, 3, W) float32, rows of three channels.
        level: (B,) float32, standard deviation before clipping, in grey levels of 255: root mean square over R, G, B.
        size: (B,) float32, standard deviation in pixels of the bells, 1 or more.
        seed: (B,) int64; equal seeds, equal noise.

    Returns:
        (B, H, 3, W) float32, 0..1.
    """
    rows, columns = _weights(x.shape[1], size), _weights(x.shape[3], size)
    gray = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    coarse = normal(field(seed, gray, rows.shape[2], columns.shape[2]))[:, :, :2].transpose(1, 2)  # Cb and Cr
    noise = rows[:, None] @ coarse @ columns[:, None].transpose(2, 3)
    noise = noise * (level / 255 / _IN_RGB)[:, None, None, None]
    out = x.clone()
    for channel, (cb, cr) in enumerate(_TO_RGB):
        out[:, :, channel] += cb * noise[:, 0] + cr * noise[:, 1]
    return out.clamp_(0, 1)


def _weights(length: int, size: Tensor) -> Tensor:
    """Returns the weights of the coarse grid for each pixel along one axis, (B, length, cells)."""
    cells = math.ceil(length / float(size.min())) + 2 * _REACH + 1
    place = torch.arange(length, device=size.device)[:, None] / size[:, None, None]
    distance = place - (torch.arange(cells, device=size.device) - _REACH)  # in widths
    bell = torch.exp(-0.5 * distance**2) * (distance.abs() <= _REACH)
    return bell / bell.square().sum(-1, keepdim=True).sqrt()


def add_chroma_noise(image: np.ndarray, level: float, size: float, seed: int) -> np.ndarray:
    """Adds smooth noise to the chroma of one image; see :func:`batched_chroma_noise`.

    Args:
        image: (h, w, 3) float32, 0..1.
        level: Standard deviation before clipping, in grey levels of 255.
        size: Standard deviation of the bells, 1 or more.
        seed: Seed of the noise; the lower 32 bits count.

    Returns:
        (h, w, 3) float32, 0..1.
    """
    x = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 2, 1)))[None]
    settings = torch.tensor([level], dtype=torch.float32), torch.tensor([size], dtype=torch.float32)
    noisy = batched_chroma_noise(x, *settings, torch.tensor([seed & 0xFFFFFFFF]))
    return np.ascontiguousarray(noisy[0].numpy().transpose(0, 2, 1))
