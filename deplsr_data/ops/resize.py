"""Change of size, by the one library function that the CPU and a device share."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

__all__ = ['resize']


def resize(image: np.ndarray, height: int, width: int, mode: str = 'bicubic', antialias: bool = True) -> np.ndarray:
    """Resizes an image to ``height`` x ``width``.

    Antialiased bicubic is Pillow's and, away from the borders, MATLAB's ``imresize`` (cubic with a = -0.5, widened by
    the scale); ``area`` is the mean over the pixels covered.

    Args:
        image: (h, w, 3) float32.
        height: Output rows.
        width: Output columns.
        mode: ``area``, ``bilinear`` or ``bicubic``.
        antialias: For the latter two, when the image shrinks.

    Returns:
        (height, width, 3) float32, not clipped: bicubic overshoots at edges.
    """
    if image.shape[:2] == (height, width):
        return image
    batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    antialias = antialias and mode != 'area'
    out = F.interpolate(batch, (height, width), mode=mode, antialias=antialias)[0]
    return np.ascontiguousarray(out.numpy().transpose(1, 2, 0))
