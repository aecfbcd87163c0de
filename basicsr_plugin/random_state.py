"""Reads and sets the random states of a process, as plain values that a training state can hold.

They are those of Python's ``random``, numpy's global generator, torch on the CPU and on the current GPU, and of numpy
generators that a model has.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

__all__ = ['generator_state', 'kept_random_states', 'random_states', 'restore_generator', 'restore_random_states']


def random_states() -> dict[str, Any]:
    """Returns the states of all global generators of this process."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        'python': random.getstate(),
        'numpy': (str(name), torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(gauss)),
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Sets what :func:`random_states` has returned, in this or an earlier process."""
    version, numbers, gauss = states['python']
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *others = states['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), *others))
    torch.set_rng_state(states['torch'].cpu())
    if states['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())


@contextlib.contextmanager
def kept_random_states() -> Iterator[None]:
    """Leaves all global generators as they were, whatever is drawn inside."""
    states = random_states()
    try:
        yield
    finally:
        restore_random_states(states)


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Returns the state of a numpy generator."""
    return _without_arrays(rng.bit_generator.state)


def restore_generator(rng: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Sets what :func:`generator_state` has returned."""
    rng.bit_generator.state = _with_arrays(state)


def _without_arrays(value: Any) -> Any:
    """Returns mappings with (type of numbers, numbers) in place of arrays, which a training state must not hold."""
    if isinstance(value, Mapping):
        return {key: _without_arrays(part) for key, part in value.items()}
    return (value.dtype.name, value.tolist()) if isinstance(value, np.ndarray) else value


def _with_arrays(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_arrays(part) for key, part in value.items()}
    return np.array(value[1], value[0]) if isinstance(value, tuple) else value
