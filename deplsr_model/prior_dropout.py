"""Dropout of the prior, so that one SR network works with and without it."""

from __future__ import annotations

import torch
from torch import Tensor

from deplsr_data.degradation.sampling import rng_for

__all__ = ['drop_prior']


def drop_prior(prior: tuple[Tensor, Tensor], probability: float, key: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Replaces the content and the degradation prior of each photo by zeros, independently, with a probability.

    Args:
        prior: Content (B, 1, D) and degradation (B, K, D).
        probability: 0 to 1.
        key: Seed, rank and iteration of the run, the only source of randomness: a resumed run draws the same.

    Returns:
        Both in the same shapes; unchanged for a probability of 0.
    """
    if not probability:
        return prior
    seed, rank, iteration = key
    drawn = rng_for(seed, 0, iteration, rank, 'prior').random((2, len(prior[0]), 1, 1))
    content, degradation = (
        part * torch.from_numpy(kept).to(part) for part, kept in zip(prior, drawn >= probability, strict=True)
    )
    return content, degradation
