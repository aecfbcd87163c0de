"""A record as tensors of fixed shape, which a data loader can collate and a batch can be degraded by.

Every record is laid out on the same sequence of slots, a few rounds of them: filter, resize, filter, then one slot for
each operator that keeps the size (noise, chroma noise, JPEG, other codecs and those registered later). A slot that a
record does not need stays empty. So a batch can hold records that differ in everything, their order too.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from deplsr_data.degradation.operators import OPERATORS, Filter, Resizing, SameSize, operator_of
from deplsr_data.degradation.records import Record, Step

__all__ = ['ROUNDS', 'pack', 'same_size_operators']

#: Rounds that suffice for most recipes; one of a shuffled order states that it needs more
#: (:func:`deplsr_data.degradation.recipe_table.rounds_of`).
ROUNDS = 3
_FILTER_SLOTS, _RESIZE_SLOTS = (0, 2), (1,)
_FIRST_SAME_SIZE_SLOT = 3
BatchForm = Filter[Step] | Resizing[Step] | SameSize[Step] | None


def same_size_operators() -> dict[str, SameSize[Step]]:
    """Returns the batch forms that have a slot of their own, by name, in the order of the slots."""
    return {name: row.batch for name, row in OPERATORS.items() if isinstance(row.batch, SameSize)}


def pack(record: Record, gt_size: tuple[int, int], kernel_size: int = 21, rounds: int = ROUNDS) -> dict[str, Tensor]:
    """Turns a record into tensors; torch's ``default_collate`` makes a batch of them.

    Args:
        record: What to do.
        gt_size: Height and width of the clean image.
        kernel_size: Largest kernel that occurs, the same for all records of a batch
            (:attr:`deplsr_data.degradation.recipe_table.Recipe.largest_kernel`).
        rounds: How often the sequence of slots is repeated, the same for all records of a batch
            (:func:`deplsr_data.degradation.recipe_table.rounds_of`).

    Returns:
        With R = ``rounds`` and k = ``kernel_size``:

        - filters: (R, 2, k, 2, k) float32, before and after the resize: up to k separable kernels, column and row.
        - terms: (R, 2) int64, how many of these there are; 0 where there is no filter. taps: (R, 2) int64, their size.
        - sizes: (R + 1, 2) int64, height and width at the start and after each round's resize.
        - modes: (R,) int64, index into :data:`deplsr_data.ops.resize_batch.MODES`.
        - noise, jpeg and so on: (R,) int64, which function of the operator is applied, counted from 1; 0 for
          none. noise.level and so on: (R, ...), its parameters.

    Raises:
        ValueError: A step has no batch form, the steps do not fit into the slots, or a kernel is larger than
            ``kernel_size``.
    """
    same_size = same_size_operators()
    packed: dict[str, np.ndarray] = {
        'filters': np.zeros((rounds, 2, kernel_size, 2, kernel_size), np.float32),
        'terms': np.zeros((rounds, 2), np.int64),
        'taps': np.ones((rounds, 2), np.int64),
        'sizes': np.tile(np.array(gt_size, np.int64), (rounds + 1, 1)),
        'modes': np.zeros(rounds, np.int64),
    }
    for name, operator in same_size.items():
        packed[name] = np.zeros(rounds, np.int64)
        for parameter, empty in operator.empty.items():
            packed[f'{name}.{parameter}'] = np.full((rounds, *empty.shape), empty, empty.dtype)
    placed = _laid_out(record.steps, list(same_size), rounds)
    for step, form, round_, _ in placed:  # first all sizes, since a filter looks at the resize that follows it
        if isinstance(form, Resizing):
            height, width, packed['modes'][round_] = form.target(step)
            packed['sizes'][round_ + 1 :] = height, width
    for step, form, round_, slot in placed:
        if isinstance(form, Filter):
            _put_filter(packed, form, step, round_, slot // 2)
        elif isinstance(form, SameSize):
            packed[step.op][round_] = 1 + form.choose(step)
            for parameter, value in form.pack(step).items():
                packed[f'{step.op}.{parameter}'][round_] = value
    return {name: torch.from_numpy(array) for name, array in packed.items()}


def _laid_out(steps: tuple[Step, ...], same_size: list[str], rounds: int) -> list[tuple[Step, BatchForm, int, int]]:
    """Returns each step with its batch form and the next free slot that suits it: (step, form, round, slot)."""
    count = _FIRST_SAME_SIZE_SLOT + len(same_size)
    placed, at = [], -1
    for step in steps:
        form = operator_of(step).batch
        slots = _slots_of(step, form, same_size)
        at = min(slot + count * max(0, math.ceil((at + 1 - slot) / count)) for slot in slots)
        if at >= rounds * count:
            raise ValueError(
                f'expected steps that fit into {rounds} rounds of filter, resize, filter, {", ".join(same_size)}, got '
                f'{", ".join(step.op for step in steps)}'
            )
        placed.append((step, form, *divmod(at, count)))
    return placed


def _slots_of(step: Step, form: BatchForm, same_size: list[str]) -> tuple[int, ...]:
    if form is None:
        raise ValueError(f"expected operators with a batch form, got '{step.op}', which has none")
    if isinstance(form, SameSize):
        return (_FIRST_SAME_SIZE_SLOT + same_size.index(step.op),)
    return _FILTER_SLOTS if isinstance(form, Filter) else _RESIZE_SLOTS


def _put_filter(packed: dict[str, np.ndarray], form: Filter[Step], step: Step, round_: int, place: int) -> None:
    mode, shrink = 0, 1
    if place == 0:
        before, after = packed['sizes'][round_], packed['sizes'][round_ + 1]
        mode, shrink = int(packed['modes'][round_]), int((before // after).min())
    terms = form.terms(step, mode, shrink)
    if not len(terms):
        return
    taps, kernel_size = terms.shape[-1], packed['filters'].shape[-1]
    if taps > kernel_size:
        raise ValueError(f'expected kernels of at most {kernel_size} taps, got {taps}; raise kernel_size')
    margin = (kernel_size - taps) // 2
    packed['filters'][round_, place, : len(terms), :, margin : kernel_size - margin] = terms
    packed['terms'][round_, place], packed['taps'][round_, place] = len(terms), taps
