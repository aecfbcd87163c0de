"""Means with their bootstrap intervals."""

from __future__ import annotations

import numpy as np

__all__ = ['bootstrap', 'with_interval']


def bootstrap(gains: np.ndarray, rounds: int = 10000, digits: int = 3) -> list[float]:
    """Returns the mean and its 95% interval over photos (percentile bootstrap, always the same draws).

    Args:
        gains: (photos,) values, such as differences of two models on the same photo.
        rounds: Number of draws.
        digits: Decimal places of the results.
    """
    drawn = np.random.default_rng(0).choice(gains, (rounds, len(gains))).mean(1)
    return with_interval(gains.mean(), drawn, digits)


def with_interval(value: float, drawn: np.ndarray, digits: int = 3) -> list[float]:
    """Returns a value, and the 2.5th and 97.5th percentile of its bootstrap draws."""
    return [round(float(one), digits) for one in (value, *np.percentile(drawn, [2.5, 97.5]))]
