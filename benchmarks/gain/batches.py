"""Which patches each batch is made of, drawn ahead of the training, so that every run of a seed sees the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from benchmarks.gain.settings import CONTEXT, LQ_SIZE, SCALE, Sizes

__all__ = ['Batches', 'Patches']

_BLOCK = 250  # steps that are drawn at a time
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
        self._block = lru_cache(maxsize=1)(self._draw)

    def __getitem__(self, step: int) -> np.ndarray:
        return self._block(step // _BLOCK)[step % _BLOCK]

    def first(self, steps: int) -> np.ndarray:
        """The rows of the first steps, (steps, B, 8)."""
        return np.concatenate([self._draw(block) for block in range(-(-steps // _BLOCK))])[:steps]

    def _draw(self, block: int) -> np.ndarray:
        rng, patches = np.random.default_rng((self._seed, block, 1)), self.patches
        size, places = (_BLOCK, patches.batch), CONTEXT - patches.side + 1
        columns = [
            rng.choice(len(self._weights), size, p=self._weights), rng.integers(patches.crops, size=size),
            *rng.integers(places, size=(2, *size)), *(rng.random((3, *size)) < 0.5), rng.random(size) >= _DROPOUT,
        ]  # fmt: skip
        return np.stack([column.astype(np.int32) for column in columns], axis=-1)
