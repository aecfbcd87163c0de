"""Pixels of photos and tensors of networks."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from deplsr_data.files.photos import to_float

__all__ = ['resized', 'to_pixels', 'to_tensor']

_LUMA = (0.299, 0.587, 0.114)  # Rec. 601


def to_tensor(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Converts pixels (h, w, 3) or (h, w) to (1, 3, h, w) in 0..1."""
    pixels = pixels if pixels.dtype == np.float32 else to_float(pixels)
    x = torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)).to(device)
    return x[None].expand(1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image to height and width: bicubic, or by averaging where it shrinks."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    shrinks = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    return cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def to_pixels(band: Tensor, like: np.ndarray) -> np.ndarray:
    """Converts (3, h, w) to the type and the channels of an array."""
    gray = like.ndim == 2
    band = (band * band.new_tensor(_LUMA)[:, None, None]).sum(dim=0) if gray else band.movedim(0, -1)
    if like.dtype == np.float32:
        return band.numpy()
    top = np.iinfo(like.dtype).max
    return band.clamp(0, 1).mul_(top).round_().numpy().astype(like.dtype)
