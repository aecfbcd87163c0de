"""Noise of a given level, its field given by a seed."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ['POISSON_COUNTS', 'add_gaussian_noise', 'add_poisson_noise']

#: Photons that white stands for. BasicSR counts the grey values of each picture and takes the next power of two, which
#: is 256 for nearly every photo; fixed, a level means the same noise on every picture.
POISSON_COUNTS = 256


def add_gaussian_noise(picture: np.ndarray, sigma: float, gray: bool, seed: int) -> np.ndarray:
    """Adds normal noise of standard deviation ``sigma`` (grey levels of 255) and clips to 0..1.

    Args:
        picture: (h, w, 3) float32, 0..1.
        sigma: Standard deviation before clipping.
        gray: One field for all three channels.
        seed: Seed of the field.

    Returns:
        (h, w, 3) float32, 0..1.
    """
    height, width, channels = picture.shape
    field = np.random.default_rng(seed).standard_normal((height, width, 1 if gray else channels), dtype=np.float32)
    return np.clip(picture + field * np.float32(sigma / 255), 0, 1)


def add_poisson_noise(picture: np.ndarray, factor: float, gray: bool, seed: int) -> np.ndarray:
    """Adds shot noise times ``factor`` and clips to 0..1: picture + factor * (Poisson(256 picture) / 256 - picture).

    Its standard deviation is ``factor * sqrt(picture / 256)``: at factor 1, 16 grey levels of 255 in white, 0 in black.

    Args:
        picture: (h, w, 3) float32, 0..1.
        factor: Factor on the noise (the ``scale`` of the captions).
        gray: Noise of the luma (BT.601), the same in all channels.
        seed: Seed of the field.

    Returns:
        (h, w, 3) float32, 0..1.
    """
    clean = np.clip(picture, 0, 1)
    bright = cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)[..., None] if gray else clean
    photons = np.random.default_rng(seed).poisson(bright * np.float32(POISSON_COUNTS))
    shot = photons.astype(np.float32) / POISSON_COUNTS - bright
    return np.clip(clean + np.float32(factor) * shot, 0, 1)
