"""The prior of a complete photo: one for all of its tiles, or one that varies over the photo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deplsr_arch.grid import starts
from deplsr_model.tiling import Tile
from deplsr_model.upscaling.edits import Edit
from deplsr_model.upscaling.pixels import to_tensor
from deplsr_model.upscaling.steering import Prior, SteeredEstimator

__all__ = ['LOCAL_CROP', 'local_prior', 'observe', 'weakened']

#: Side of the crops that a local prior is estimated on, in LR pixels; larger tiles would hide what it varies with.
LOCAL_CROP = 128
_LOCAL_STEP = 64
_MOST_CROPS = 24  # along a side
_COMPLETE = 2**20  # pixels up to which a photo is estimated in one piece, as in a test
_CROP, _CROPS = 256, 4


@torch.no_grad()
def observe(estimator: SteeredEstimator, pixels: np.ndarray, device: torch.device) -> Tensor:
    """Estimates a photo: in one piece, or, above a megapixel, as the mean of 16 crops at its own scale.

    So the memory does not grow with the photo.
    """
    height, width = pixels.shape[:2]
    if height * width <= _COMPLETE:
        return estimator.observe(to_tensor(pixels, device))
    seen = [
        estimator.observe(to_tensor(pixels[top : top + _CROP, left : left + _CROP], device))
        for top in starts(height, _CROP, max_count=_CROPS)
        for left in starts(width, _CROP, max_count=_CROPS)
    ]
    return torch.stack(seen).mean(dim=0)


@torch.no_grad()
def local_prior(
    estimator: SteeredEstimator, pixels: np.ndarray, device: torch.device, edits: tuple[Edit, ...]
) -> Callable[[Tile], Prior]:
    """Estimates the prior on a grid of crops; between their centres it is interpolated linearly.

    Returns:
        A function that returns the prior at the centre of a tile.
    """
    height, width = pixels.shape[:2]
    overlap = LOCAL_CROP - _LOCAL_STEP
    tops, lefts = (starts(side, LOCAL_CROP, overlap, max_count=_MOST_CROPS) for side in (height, width))
    rows = []
    for top in tops:
        crops = [pixels[top : top + LOCAL_CROP, left : left + LOCAL_CROP] for left in lefts]
        priors = [estimator.prior(estimator.observe(to_tensor(crop, device)), edits) for crop in crops]
        rows.append(torch.stack([torch.cat(prior, dim=1) for prior in priors]))
    grid = torch.stack(rows)  # (rows, columns, 1, 1 + K, D)
    half = LOCAL_CROP / 2

    def at(tile: Tile) -> Prior:
        y = np.interp(tile.top + tile.height / 2, np.add(tops, half), np.arange(len(tops)))
        x = np.interp(tile.left + tile.width / 2, np.add(lefts, half), np.arange(len(lefts)))
        tokens = _between([_between(list(row), float(x)) for row in grid], float(y))
        return tokens[:, :1], tokens[:, 1:]

    return at


def weakened(prior: Prior, strength: float) -> Prior:
    """Returns a prior nearer to no prior, which strength 0 is; at 1 it is unchanged."""
    if strength == 1:
        return prior
    return prior[0] * strength, prior[1] * strength


def _between(values: list[Tensor], place: float) -> Tensor:
    """Returns the value at a place between neighbours."""
    low = min(int(place), len(values) - 1)
    high = min(low + 1, len(values) - 1)
    return torch.lerp(values[low], values[high], place - low)
