"""Crops out of a batch of images, each at its own place."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ['cut_windows']


def cut_windows(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """Cuts a square out of each image of a batch, each at its own place.

    Args:
        images: (B, C, H, W).
        corners: (B, 2) integers, upper and left border of each square.
        side: Of all squares, in pixels.

    Returns:
        (B, C, side, side).
    """
    offsets = torch.arange(side, device=images.device)
    corners = corners.to(images.device)
    rows, columns = corners[:, :1] + offsets, corners[:, 1:] + offsets  # (B, side)
    samples = torch.arange(len(images), device=images.device)
    cut = images[samples[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (B, side, side, C)
    return cut.permute(0, 3, 1, 2).contiguous()
