"""Where a sample is cut out of its image, and how it is turned; drawn apart from being applied, for pairs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

__all__ = ['Crop', 'centre_crop', 'cut_windows', 'draw_crop', 'draw_shrunk_side', 'tiles']


@dataclass(frozen=True)
class Crop:
    """A window of a image, then flips and a quarter turn."""

    top: int
    left: int
    height: int
    width: int
    hflip: bool = False
    vflip: bool = False
    transpose: bool = False

    def cut(self, image: np.ndarray, times: int = 1, border: int = cv2.BORDER_REFLECT_101) -> np.ndarray:
        """Cuts the window out; what lies beyond the lower and right border is mirrored.

        Args:
            image: (h, w, c).
            times: How many pixels of ``image`` one pixel of the window is; the scale for the GT of a window in LR.
            border: How to mirror. With ``BORDER_REFLECT`` both images of a pair show the same beyond their borders.
        """
        top, left, height, width = (side * times for side in (self.top, self.left, self.height, self.width))
        missing = [max(0, top + height - image.shape[0]), max(0, left + width - image.shape[1])]
        if any(missing):
            image = cv2.copyMakeBorder(image, 0, missing[0], 0, missing[1], border)
        image = image[top : top + height, left : left + width]
        if self.hflip:
            image = image[:, ::-1]
        if self.vflip:
            image = image[::-1]
        return image.transpose(1, 0, 2) if self.transpose else image


def draw_crop(size: tuple[int, int], side: int, rng: np.random.Generator, hflip: bool = True, rot: bool = True) -> Crop:
    """Draws a square of ``side`` pixels in a image of ``size`` (height, width); of a smaller one it begins at 0.

    Args:
        size: Height and width.
        side: Side of the square.
        rng: Where all chance comes from.
        hflip: Flip left and right half of the time.
        rot: Flip up and down, and turn, half of the time each.
    """
    top, left = (int(rng.integers(max(0, length - side) + 1)) for length in size)
    flips = rng.random(3) < 0.5
    return Crop(top, left, side, side, bool(hflip and flips[0]), bool(rot and flips[1]), bool(rot and flips[2]))


def draw_shrunk_side(size: tuple[int, int], side: int, rng: np.random.Generator, shrink: tuple[float, float]) -> int:
    """Draws how many pixels of a photo are to be shrunk to ``side``: ``side`` / factor, but no more than it has.

    Args:
        size: Height and width of the photo.
        side: Side that is wanted.
        rng: Where the chance comes from.
        shrink: Lowest and highest factor, both above 0 and at most 1.
    """
    return max(side, min(round(side / rng.uniform(*shrink)), *size))


def centre_crop(size: tuple[int, int], scale: int, side: int | None = None) -> Crop | None:
    """Returns the middle of a image, at most ``side`` wide and high, a multiple of ``scale``; None if that is empty."""
    height, width = (min(length, side or length) // scale * scale for length in size)
    if not height or not width:
        return None
    return Crop((size[0] - height) // 2, (size[1] - width) // 2, height, width)


def tiles(size: tuple[int, int], scale: int, side: int | None = None) -> list[Crop]:
    """Covers the middle of a image with squares of ``side`` beside each other, row by row.

    A image narrower than ``side`` gives tiles as wide as it is, to a multiple of ``scale``; without ``side`` there is
    one tile, as large as that allows. None come of a image smaller than ``scale``.
    """
    one = centre_crop(size, scale, side)
    if one is None:
        return []
    rows, columns = size[0] // one.height, size[1] // one.width
    top, left = (size[0] - rows * one.height) // 2, (size[1] - columns * one.width) // 2
    return [
        Crop(top + row * one.height, left + column * one.width, one.height, one.width)
        for row in range(rows)
        for column in range(columns)
    ]


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
