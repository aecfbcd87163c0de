"""A pool of training samples, from which new batches are mixed."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from basicsr_plugin.errors import OptionError
from basicsr_plugin.random_state import generator_state, restore_generator

__all__ = ['Batch', 'TrainingPairPool']

#: What a data loader returns: tensors, lists of texts, and nested ones, by name.
Batch = dict[str, Any]


class TrainingPairPool:
    """Keeps samples and returns others in their place, so that a batch contains samples of many batches.

    Everything of a sample stays together: lq, gt, captions, tokens, levels, record, paths. Until the pool is full
    batches pass unchanged. The pool is part of the training state (:meth:`state`), with its samples.

    Source: Real-ESRGAN (ICCVW 2021), training pair pool; there only lq and gt take part.

    Args:
        size: Number of samples in the pool, ``queue_size`` of a Real-ESRGAN option file.
        rng: The source of all randomness.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._size = size
        self._rng = rng
        self._samples: list[Batch] = []
        self._loaded = False

    def exchange(self, batch: Batch) -> Batch:
        """Takes a collated batch and returns one of the same size from the pool, on the same devices.

        Raises:
            OptionError: The batch is larger than the pool.
        """
        count = len(batch['lq'])
        if count > self._size:
            raise OptionError(
                f'queue_size: expected at least one batch ({count}), got {self._size}; enlarge it, or leave it out'
            )
        samples = [{key: _sample(value, i) for key, value in batch.items()} for i in range(count)]
        if self._loaded:
            like = samples[0]
            self._samples = [{key: _move(value, like[key]) for key, value in one.items()} for one in self._samples]
            self._loaded = False
        if len(self._samples) + count <= self._size:
            self._samples += samples
            return dict(batch)
        places = self._rng.choice(len(self._samples), count, replace=False)
        exchanged = [self._samples[place] for place in places]
        for place, sample in zip(places, samples, strict=True):
            self._samples[place] = sample
        return default_collate(exchanged)

    def state(self) -> dict[str, Any]:
        """Returns its samples and the state of its generator."""
        return {'size': self._size, 'samples': self._samples, 'generator': generator_state(self._rng)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes what :meth:`state` has returned; the samples move to the devices of the next batch."""
        self._samples, self._loaded = list(state['samples']), True
        restore_generator(self._rng, state['generator'])


def _move(value: Any, like: Any) -> Any:
    """Returns a loaded value on the device of a fresh one."""
    if isinstance(value, list):
        return [_move(part, other) for part, other in zip(value, like, strict=True)]
    return value.to(like.device) if isinstance(value, Tensor) else value


def _sample(value: Any, index: int) -> Any:
    """Returns one sample of what ``default_collate`` made: tensors, texts, or lists of these by position."""
    if isinstance(value, Tensor):
        return value[index].clone()  # a view would keep its whole batch in memory
    if isinstance(value[0], str):
        return value[index]
    return [_sample(column, index) for column in value]
