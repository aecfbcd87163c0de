"""Which patches each batch is made of: they follow from seed and step, so all runs of a seed see the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.gain.settings import CONTEXT, LQ_SIZE, SCALE, Sizes

__all__ = ['Batches', 'Patches']

_DROPOUT = 0.1  # share of the patches without their prior


class Patches(NamedTuple):
    """What a batch is made of: patches, their side in LR pixels, and the crops of a pool that they come from."""

    batch: int = 16
    side: int = LQ_SIZE
    crops: int = Sizes.pairs
    scale: int = SCALE


class Batches:
    """Rows (B, 8) of integers for each step.

    The columns: number of the recipe, row of its pool, top and left in LR pixels, whether the patch is mirrored in x,
    in y, and at its diagonal, whether its prior is kept.

    Args:
        seed: Of the draws.
        weights: Share of each recipe.
        patches: What a batch is made of.
    """

    def __init__(self, seed: int, weights: Mapping[str, float], patches: Patches) -> None:
        self.patches = patches
        self._seed, self._weights = seed, np.array([*weights.values()])
        self._kept = np.zeros((0, patches.batch, 8), np.int32)

    def __getitem__(self, step: int) -> np.ndarray:
        rng, patches = np.random.default_rng((self._seed, step, 1)), self.patches
        rows = np.zeros((patches.batch, 8), np.int32)
        rows[:, 0] = rng.choice(len(self._weights), patches.batch, p=self._weights)
        for row in rows:
            row[1] = rng.integers(patches.crops)
            row[2:4] = rng.integers(CONTEXT - patches.side + 1, size=2)
            row[4:7] = rng.random(3) < 0.5
        rows[:, 7] = rng.random(patches.batch) >= _DROPOUT
        return rows

    def first(self, steps: int) -> np.ndarray:
        """The rows of the first steps, (steps, B, 8); they are kept, so that the next call draws later ones only."""
        if steps > len(self._kept):
            later = np.stack([self[step] for step in range(len(self._kept), steps)])
            self._kept = np.concatenate((self._kept, later))
        return self._kept[:steps]
