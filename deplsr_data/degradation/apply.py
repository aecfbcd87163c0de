"""Makes the LR image that a record describes, on the CPU, with the real codec."""

from __future__ import annotations

import numpy as np

from deplsr_data.degradation.operators import operator_of
from deplsr_data.degradation.records import Record

__all__ = ['apply']


def apply(record: Record, gt: np.ndarray) -> np.ndarray:
    """Degrades a clean image.

    Args:
        record: What to do.
        gt: (h, w, 3) float32 RGB, 0..1, of the size that the record was drawn for.

    Returns:
        (h / scale, w / scale, 3) float32 RGB in 0..1, rounded to 8 bits as a saved file would be.

    Raises:
        ValueError: ``gt`` is of another type, or of another size than the record was drawn for.
        TypeError: A step is of a class that is not registered.
    """
    if gt.dtype != np.float32 or gt.ndim != 3 or gt.shape[2] != 3:
        raise ValueError(f'expected gt of shape (h, w, 3), float32, got {gt.shape}, {gt.dtype}')
    image = gt
    for step in record.steps:
        image = operator_of(step).apply(step, image)
    height, width = gt.shape[0] // record.scale, gt.shape[1] // record.scale
    if image.shape[:2] != (height, width):
        raise ValueError(
            f'expected a record for {gt.shape[0]} x {gt.shape[1]} pixels at x{record.scale}, got one that ends in '
            f'{image.shape[0]} x {image.shape[1]}'
        )
    return np.rint(np.clip(image, 0, 1) * 255) / np.float32(255)
