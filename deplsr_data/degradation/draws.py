"""Single draws, from numbers in 0..1 that were drawn all at once: single calls of a generator take most of the time."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Literal, TypeVar

__all__ = ['MODES', 'choice', 'log_uniform', 'uniform']

T = TypeVar('T')
#: All modes of a resize.
MODES: tuple[Literal['area', 'bilinear', 'bicubic'], ...] = ('area', 'bilinear', 'bicubic')


def uniform(u: Iterator[float], low: float, high: float) -> float:
    """Draws evenly from ``low`` to ``high``."""
    return low + next(u) * (high - low)


def log_uniform(u: Iterator[float], low: float, high: float) -> float:
    """Draws from ``low`` to ``high``, both above 0, with an even logarithm."""
    return math.exp(uniform(u, math.log(low), math.log(high)))


def choice(u: Iterator[float], names: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """Draws one of ``names``, by weights that need not sum to 1."""
    if weights is None:
        return names[int(next(u) * len(names))]
    ends = list(accumulate(weights))
    return names[min(bisect_right(ends, next(u) * ends[-1]), len(names) - 1)]
