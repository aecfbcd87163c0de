"""Noise of a given level with a field that follows from a seed; for a batch on any device and one image on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deplsr_data.ops.noise_field import POISSON_COUNTS, field, normal, shot_noise

__all__ = [
    'POISSON_COUNTS',
    'add_gaussian_noise',
    'add_poisson_noise',
    'batched_gaussian_noise',
    'batched_poisson_noise',
]


def batched_gaussian_noise(x: Tensor, sigma: Tensor, gray: Tensor, seed: Tensor) -> Tensor:
    """Adds normal noise to each image of a batch and clips to 0..1.

    Args:
        x: (B, H, 3, W) float32, rows of three channels.
        sigma: (B,) float32, standard deviation before clipping, in grey levels of 255.
        gray: (B,) bool; one field for all three channels.
        seed: (B,) int64; equal seeds, equal fields.

    Returns:
        (B, H, 3, W) float32, 0..1.
    """
    noise = normal(field(seed, gray, x.shape[1], x.shape[3]))
    return noise.mul_((sigma / 255)[:, None, None, None]).add_(x).clamp_(0, 1)


def batched_poisson_noise(x: Tensor, factor: Tensor, gray: Tensor, seed: Tensor) -> Tensor:
    """Adds shot noise times ``factor`` to each image and clips to 0..1; see :func:`add_poisson_noise`.

    Args:
        x: (B, H, 3, W) float32, rows of three channels; clipped to 0..1 first.
        factor: (B,) float32.
        gray: (B,) bool; noise of the luma (BT.601), the same in all channels.
        seed: (B,) int64; equal seeds, equal fields.

    Returns:
        (B, H, 3, W) float32, 0..1.
    """
    bright = clean = x.clamp(0, 1)
    if gray.device.type != 'cpu' or bool(gray.any()):  # on a device the question would wait for it
        red, green, blue = (clean[:, :, c : c + 1] for c in range(3))
        luma = (red * 0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114)
        bright = torch.where(gray[:, None, None, None], luma, clean)
    grey = bright.mul(255).round_().to(torch.int32)
    noise = shot_noise(field(seed, gray, x.shape[1], x.shape[3]), grey)
    return noise.mul_(factor[:, None, None, None]).add_(clean).clamp_(0, 1)


def add_gaussian_noise(image: np.ndarray, sigma: float, gray: bool, seed: int) -> np.ndarray:
    """Adds normal noise of standard deviation ``sigma`` (grey levels of 255) and clips to 0..1.

    Args:
        image: (h, w, 3) float32, 0..1.
        sigma: Standard deviation before clipping.
        gray: One field for all three channels.
        seed: Seed of the field; the lower 32 bits count.

    Returns:
        (h, w, 3) float32, 0..1.
    """
    return _one(batched_gaussian_noise, image, sigma, gray, seed)


def add_poisson_noise(image: np.ndarray, factor: float, gray: bool, seed: int) -> np.ndarray:
    """Adds shot noise times ``factor`` and clips to 0..1: image + factor * (Poisson(256 p) - 256 p) / 256.

    p is the image rounded to 8 bits, so there are 256 rates. The standard deviation of the noise is
    ``factor * sqrt(p / 256)``: at factor 1, 16 grey levels of 255 in white, 0 in black.

    Args:
        image: (h, w, 3) float32, 0..1.
        factor: Factor on the noise (the ``scale`` of the captions).
        gray: Noise of the luma (BT.601), the same in all channels.
        seed: Seed of the field; the lower 32 bits count.

    Returns:
        (h, w, 3) float32, 0..1.
    """
    return _one(batched_poisson_noise, image, factor, gray, seed)


def _one(add: Callable[..., Tensor], image: np.ndarray, level: float, gray: bool, seed: int) -> np.ndarray:
    x = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 2, 1)))[None]
    settings = torch.tensor([level], dtype=torch.float32), torch.tensor([gray]), torch.tensor([seed & 0xFFFFFFFF])
    return np.ascontiguousarray(add(x, *settings)[0].numpy().transpose(0, 2, 1))
