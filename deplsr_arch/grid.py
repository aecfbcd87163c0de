"""Where pieces of equal size begin along one side of an image."""

from __future__ import annotations

import math

__all__ = ['starts']


def starts(
    length: int, size: int, overlap: int = 0, *, step: int | None = None, max_count: int | None = None
) -> list[int]:
    """Returns the first pixel of each piece along one side. Pieces are evenly spaced from border to border.

    Args:
        length: Side of the image in pixels; one no longer than ``size`` has a single piece.
        size: Side of a piece in pixels.
        overlap: Least number of pixels that neighbours share, smaller than ``size``.
        step: None: starts are rounded to the nearest pixel. Else they are rounded down to a multiple of this, so that
            the last piece may end up to ``step - 1`` pixels before the border; equal starts are returned once.
        max_count: Largest number of pieces; then neighbours may share less or leave a gap. None for no limit.
    """
    count = max(1, math.ceil((length - overlap) / (size - overlap)))
    if max_count is not None:
        count = min(count, max_count)
    exact = [index * (length - size) / max(count - 1, 1) for index in range(count)]
    if step is None:
        return [round(start) for start in exact]
    return sorted({int(start) // step * step for start in exact})
