"""What rounding DCT coefficients to whole steps does to noise in them, and to their content.

The content of a coefficient is Laplacian. Noise below half a step vanishes where the content is flat and is amplified
to complete steps where it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from deplsr_data.ops.jpeg import quantisation_tables

__all__ = ['LastJpeg', 'quantised', 'steps_of']

#: Natural logarithms, evenly spaced, of the standard deviation of noise and of the scale of content in whole steps: the
#: first and the number of values of the tables that are integrated.
_NOISE, _SCALE = np.linspace(-3, 1.5, 19), np.linspace(-3, 4, 29)
_FINE = np.float32(20)  # values of the tables that are looked up, per unit; the nearest one is taken

_FIRST = (0.5 - _FINE * np.array([_NOISE[0], _SCALE[0], _SCALE[0]], np.float32))[:, None, None, None, None]
_LAST = np.array([round(20 * (grid[-1] - grid[0])) for grid in (_NOISE, _SCALE, _SCALE)], np.int32).reshape(
    3, 1, 1, 1, 1
)


@lru_cache(maxsize=1024)
def steps_of(quality: float) -> np.ndarray:
    """Quantisation steps of luma and chroma, (2, 1, 8, 8), in 0..1."""
    return np.array(quantisation_tables(quality), float).reshape(2, 1, 8, 8) / 255


def quantised(power: np.ndarray, content: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean squares of what noise changes in rounded coefficients, and of what rounding changes in both.

    Args:
        power: Variance of the noise, (C, 1 or K, 8, 8).
        content: Scale of the content, (C, K, 8, 8).
        step: The quantisation steps, (C, 1, 8, 8).
    """
    changes, columns, roundings = _tables()
    last = len(changes) // columns - 1
    square = step * step
    # all squares: of the noise, of the content's scale, and of the scale of a Laplacian as strong as both
    squares = np.empty((3, *np.broadcast_shapes(power.shape, content.shape)), np.float32)
    np.maximum(power / square, 1e-12, out=squares[0], casting='same_kind')
    np.divide(content * content, square, out=squares[1], casting='same_kind')
    squares[1] += 1e-12
    np.multiply(squares[0], 0.5, out=squares[2])
    squares[2] += squares[1]
    place = np.log(squares)
    place *= 0.5 * _FINE
    place += _FIRST
    np.maximum(place, 0, out=place)
    place = place.astype(np.int32)
    row, column, both = np.minimum(place, _LAST, out=place)
    change = changes.take(row * columns + column)
    weakest, strongest = row.min(), row.max()
    if weakest == 0:  # weaker noise than in the table: changes are rarer, not smaller
        change *= np.minimum(np.sqrt(squares[0]) * math.exp(-_NOISE[0]), 1)
    if strongest == last:  # stronger noise passes as it is, plus the error of rounding twice
        change = np.where(row == last, squares[0] + 1 / 6, change)
    rounded = np.minimum(roundings.take(both), 2 * squares[2])  # all is lost when small
    return change * square, rounded * square


@lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, int, np.ndarray]:
    """Mean squares in whole steps: of (round(c + n) - round(c)), flat, with its row length, and of (round(c) - c).

    For normal n and Laplacian c, by quadrature over c, with n integrated in closed form: a change by k steps has the
    probability that n falls between the borders of that step. Interpolated in logarithms.
    """
    content = np.exp(_SCALE)[:, None] * _laplacian(160)  # (S, C)
    borders = np.arange(-20, 22) - 0.5 - (content - np.rint(content))[..., None]
    squares = np.arange(-20, 21.0) ** 2
    changes = [(np.diff(ndtr(borders / noise), axis=-1) @ squares).mean(axis=-1) for noise in np.exp(_NOISE)]
    content = np.exp(_SCALE)[:, None] * _laplacian(4000)
    roundings = ((np.rint(content) - content) ** 2).mean(axis=1)
    noise, scale = (_interpolation(grid) for grid in (_NOISE, _SCALE))
    fine = np.exp(noise @ np.log(np.maximum(changes, 1e-7)) @ scale.T)
    return fine.astype(np.float32).ravel(), fine.shape[1], (scale @ roundings).astype(np.float32)


def _interpolation(grid: np.ndarray) -> np.ndarray:
    """Matrix from values at ``grid`` to those at a finer one."""
    spacing = grid[1] - grid[0]
    fine = np.arange(round((grid[-1] - grid[0]) * _FINE) + 1) / _FINE + grid[0]
    return np.maximum(1 - np.abs(fine[:, None] - grid) / spacing, 0)


def _laplacian(count: int) -> np.ndarray:
    """Evenly spaced quantiles of the magnitude of a Laplacian of scale 1."""
    return -np.log(1 - (np.arange(count) + 0.5) / count)


@dataclass
class LastJpeg:
    """A JPEG whose coefficients are multiples of its steps, so that a second one on the same grid finds them so.

    Attributes:
        changed: Mean square of what noise changed in each coefficient, (2, K, 8, 8) for luma and chroma.
        step: The quantisation steps, (2, 1, 8, 8).
        jitter: Standard deviation of what rounding to 8 bits adds to a coefficient, (2, 1, 1, 1).
        grid_offset: Where the blocks begin.
        halve: Whether the size of chroma is halved.
    """

    changed: np.ndarray
    step: np.ndarray
    jitter: np.ndarray
    grid_offset: tuple[int, int]
    halve: bool

    def channels_on(self, grid_offset: tuple[int, int], halve: bool) -> slice:
        """Returns the channels whose blocks are the same in another JPEG."""
        if grid_offset == self.grid_offset and halve == self.halve:
            return slice(2)
        same = all((one - other) % 8 == 0 for one, other in zip(grid_offset, self.grid_offset, strict=True))
        return slice(1 if same else 0)

    def quantised_again(self, changed: np.ndarray, step: np.ndarray, content: np.ndarray) -> np.ndarray:
        """Returns the mean square of what noise changes after a second rounding.

        Weak noise has moved some coefficients by one step. Where the new steps are finer they stay so; where these are
        coarser, some come back together and others move on by a complete new step.

        Args:
            changed: The result for coefficients that are no multiples, which holds for strong noise, (C, K, 8, 8).
            step: The new quantisation steps, (C, 1, 8, 8).
            content: Scale of the content, (C, K, 8, 8).
        """
        channels = len(changed)
        before, old = self.changed[:channels], self.step[:channels]
        moved = before / old**2  # share of coefficients
        count = np.arange(9.0)
        decay = np.exp(-np.minimum(old / np.maximum(content, 1e-9), 50))[..., None]
        ratio = (step / old)[..., None]
        exact = count / ratio
        places = np.rint(exact) * ratio
        # how often content lies between two multiples, and near one
        between, near = decay ** count[:-1], decay ** np.maximum(count - 0.5, 0) - decay ** (count + 0.5)
        once = (between * np.diff(places) ** 2).sum(axis=-1) / between.sum(axis=-1)
        # multiples of the old steps next to a border of the new: rounding to 8 bits takes them to either side
        across = ndtr((np.abs(exact - np.rint(exact)) - 0.5) * (step / self.jitter[:channels])[..., None])
        either = 2 * (near * across * (1 - across)).sum(axis=-1) * np.minimum(moved.sum(axis=(2, 3), keepdims=True), 1)
        weak = np.exp(-(moved**2))
        return weak * (before * once + step**2 * either) + (1 - weak) * changed
