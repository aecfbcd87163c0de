"""Where a sample is cut out of its image, and how it is flipped; drawn separately from applying it, for pairs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ['Crop', 'centre_crop', 'draw_crop', 'draw_shrunk_side', 'tiles']


@dataclass(frozen=True)
class Crop:
    """A window of an image, then flips and a quarter turn."""

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
    """Draws a square of ``side`` pixels in an image of ``size`` (height, width); in a smaller one it begins at 0.

    Args:
        size: Height and width.
        side: Side of the square.
        rng: Source of all randomness.
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
        side: Side of the result.
        rng: Source of all randomness.
        shrink: Lowest and highest factor, both above 0 and at most 1.
    """
    return max(side, min(round(side / rng.uniform(*shrink)), *size))


def centre_crop(size: tuple[int, int], scale: int, side: int | None = None) -> Crop | None:
    """Returns the middle of an image, at most ``side`` wide and high, a multiple of ``scale``; None if it is empty."""
    height, width = (min(length, side or length) // scale * scale for length in size)
    if not height or not width:
        return None
    return Crop((size[0] - height) // 2, (size[1] - width) // 2, height, width)


def tiles(size: tuple[int, int], scale: int, side: int | None = None) -> list[Crop]:
    """Covers the middle of an image with squares of ``side`` without overlap, row by row.

    In an image narrower than ``side`` the tiles are as wide as the image, rounded down to a multiple of ``scale``;
    without ``side`` the result is one tile, as large as that allows. An image smaller than ``scale`` has no tiles.
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
