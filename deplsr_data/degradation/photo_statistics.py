"""The statistics of a clean photo on which the effective levels of a degradation depend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['TYPICAL', 'PhotoStatistics', 'statistics_of']

_QUANTILES, _BLOCK = 8, 7  # of brightness; side of a block in fours of pixels
_EVEN = (1.0,) * 4
_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)


@dataclass(frozen=True)
class PhotoStatistics:
    """What shot noise, clipping and JPEG depend on.

    Attributes:
        brightness: Evenly spaced quantiles of all values of the clean photo, 0..1.
        gradients: Mean absolute difference of pixels four apart in luma, and in Cb and Cr, 0..1.
        activity: Gradients of luma in equally large classes of blocks from flat to textured, relative to their mean.
    """

    brightness: tuple[float, ...]
    gradients: tuple[float, float]
    activity: tuple[float, ...] = (0.37, 0.73, 1.08, 1.82)


#: The median training photo; for records without a photo.
TYPICAL = PhotoStatistics((0.06, 0.16, 0.24, 0.33, 0.41, 0.5, 0.6, 0.72), (0.054, 0.009))


def statistics_of(gt: np.ndarray) -> PhotoStatistics:
    """Measures the statistics of a clean photo, (h, w, 3) float32 in 0..1, on every fourth row and column."""
    few = np.ascontiguousarray(gt[::4, ::4])
    values = np.sort(few, axis=None)
    places = ((np.arange(_QUANTILES) + 0.5) / _QUANTILES * len(values)).astype(int)
    luma, cb, cr = _YCBCR @ few.reshape(-1, 3).T
    gradient = _gradient(luma.reshape(few.shape[:2]))
    color = (_gradient(one.reshape(few.shape[:2])).mean() for one in (cb, cr))
    mean = float(gradient.mean())
    return PhotoStatistics(
        tuple(values[places].tolist()), (mean, float(sum(color)) / 2), _activity(gradient) if mean > 0 else _EVEN
    )


def _gradient(image: np.ndarray) -> np.ndarray:
    """Mean absolute difference to the pixels below and to the right; 0 without any."""
    if min(image.shape) < 2:
        return np.zeros((1, 1), image.dtype)
    here = image[:-1, :-1]
    return 0.5 * (np.abs(image[1:, :-1] - here) + np.abs(image[:-1, 1:] - here))


def _activity(gradient: np.ndarray) -> tuple[float, ...]:
    """Means of the quarters of all blocks, from flat to textured, relative to the mean."""
    height, width = (length // _BLOCK * _BLOCK for length in gradient.shape)
    if height * width < len(_EVEN) * _BLOCK**2:
        return _EVEN
    blocks = gradient[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).mean(axis=(1, 3))
    parts = np.array_split(np.sort(blocks, axis=None), len(_EVEN))
    mean = max(float(blocks.mean()), 1e-9)
    return tuple(float(part.mean()) / mean for part in parts)
