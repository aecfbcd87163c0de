"""JPEG at a quality factor that need not be an integer."""

from __future__ import annotations

import io
import math
from functools import lru_cache

import numpy as np
from PIL import Image

__all__ = ['compress', 'quantisation_tables']


@lru_cache(maxsize=1)
def _base_tables() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the luma and chroma tables of the JPEG standard (Annex K); libjpeg writes them unscaled at quality 50."""
    buffer = io.BytesIO()
    Image.new('RGB', (8, 8)).save(buffer, 'JPEG', quality=50)
    with Image.open(buffer) as image:
        tables = image.quantization
    return tuple(tables[0]), tuple(tables[1])


def _percent(quality: int) -> int:
    return 5000 // quality if quality < 50 else 200 - 2 * quality


@lru_cache(maxsize=1024)
def quantisation_tables(quality: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the luma and chroma tables for a quality factor of 1 to 100, row by row.

    libjpeg scales its base tables by a percentage that it defines for integer factors; between two of these it is
    interpolated linearly here, so integer factors have exactly libjpeg's tables.

    Raises:
        ValueError: ``quality`` is outside 1 to 100.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f'expected a quality factor of 1 to 100, got {quality}')
    below = math.floor(quality)
    percent = _percent(below) + (quality - below) * (_percent(min(below + 1, 100)) - _percent(below))
    luma, chroma = (
        tuple(min(max(math.floor((value * percent + 50) / 100), 1), 255) for value in table) for table in _base_tables()
    )
    return luma, chroma


def compress(
    image: np.ndarray, quality: float, subsampling: str = '4:2:0', grid_offset: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Encodes and decodes an image as baseline JPEG.

    Args:
        image: (h, w, 3) float32 RGB; rounded to 8 bits after clipping to 0..1.
        quality: 1 to 100.
        subsampling: ``4:2:0`` or ``4:4:4``.
        grid_offset: Rows and columns by which the grid of blocks begins above and to the left of the image; what lies
            between repeats the border.

    Returns:
        (h, w, 3) float32, 0..1.
    """
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    above, left = grid_offset
    if above or left:
        pixels = np.pad(pixels, ((above, 0), (left, 0), (0, 0)), 'edge')
    buffer = io.BytesIO()
    tables = [list(table) for table in quantisation_tables(quality)]
    Image.fromarray(pixels).save(buffer, 'JPEG', qtables=tables, subsampling=subsampling)
    with Image.open(buffer) as decoded:
        return np.asarray(decoded, np.float32)[above:, left:] / 255
