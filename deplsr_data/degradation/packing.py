"""A record as tensors of fixed shape, which a data loader can collate and a batch can be degraded by.

Every record is laid out on the same sequence of slots, :data:`ROUNDS` times (filter, resize, filter, noise, JPEG); a
slot that a record does not need stays empty. So a batch can hold records that differ in everything, their order too.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize, Sinc, Step
from deplsr_data.ops.filter_resize_batch import separable_terms
from deplsr_data.ops.jpeg_batch import tables_of
from deplsr_data.ops.kernels import blur_kernel, sinc_kernel
from deplsr_data.ops.resize_batch import mode_of

__all__ = ['NOISE_TYPES', 'ROUNDS', 'pack']

ROUNDS = 3
#: Degradation types of noise by the number that a batch carries; 0 is none.
NOISE_TYPES: tuple[str, ...] = ('none', 'gaussian', 'poisson')
_SLOTS: dict[type, tuple[int, ...]] = {Blur: (0, 2), Sinc: (0, 2), Resize: (1,), Noise: (3,), Jpeg: (4,)}
_SLOT_COUNT = 5


def pack(record: Record, gt_size: tuple[int, int], kernel_size: int = 21) -> dict[str, Tensor]:
    """Turns a record into tensors; torch's ``default_collate`` makes a batch of them.

    Args:
        record: What to do.
        gt_size: Height and width of the clean image.
        kernel_size: Largest kernel that occurs, the same for all records of a batch
            (:attr:`deplsr_data.degradation.recipes.SemanticRecipe.largest_kernel`).

    Returns:
        With R = :data:`ROUNDS` and k = ``kernel_size``:

        - filters: (R, 2, k, 2, k) float32, before and after the resize: up to k separable kernels, column and row.
        - terms: (R, 2) int64, how many of these there are; 0 where there is no filter. taps: (R, 2) int64, their size.
        - sizes: (R + 1, 2) int64, height and width at the start and after each round's resize.
        - modes: (R,) int64, index into :data:`deplsr_data.ops.resize_batch.MODES`.
        - noise: (R,) int64, index into :data:`NOISE_TYPES`. level: (R,) float32. gray: (R,) bool. seed: (R,) int64.
        - jpeg: (R,) bool. tables: (R, 2, 64) float32, quantisation tables of luma and chroma.

    Raises:
        ValueError: The steps do not fit into the slots, or a kernel is larger than ``kernel_size``.
    """
    packed: dict[str, np.ndarray] = {
        'filters': np.zeros((ROUNDS, 2, kernel_size, 2, kernel_size), np.float32),
        'terms': np.zeros((ROUNDS, 2), np.int64),
        'taps': np.ones((ROUNDS, 2), np.int64),
        'sizes': np.tile(np.array(gt_size, np.int64), (ROUNDS + 1, 1)),
        'modes': np.zeros(ROUNDS, np.int64),
        'noise': np.zeros(ROUNDS, np.int64),
        'level': np.zeros(ROUNDS, np.float32),
        'gray': np.zeros(ROUNDS, bool),
        'seed': np.zeros(ROUNDS, np.int64),
        'jpeg': np.zeros(ROUNDS, bool),
        'tables': np.ones((ROUNDS, 2, 64), np.float32),
    }
    placed = _laid_out(record.steps)
    for step, round_, _ in placed:
        if isinstance(step, Resize):
            packed['sizes'][round_ + 1 :] = step.height, step.width
            packed['modes'][round_] = mode_of(step.mode, step.antialias)
    for step, round_, slot in placed:
        if isinstance(step, Blur | Sinc):
            _put_filter(packed, step, round_, slot // 2)
        elif isinstance(step, Noise):
            packed['noise'][round_] = NOISE_TYPES.index(step.distribution)
            packed['level'][round_], packed['gray'][round_] = step.level, step.gray
            packed['seed'][round_] = step.seed & 0xFFFFFFFF
        elif isinstance(step, Jpeg):
            packed['jpeg'][round_], packed['tables'][round_] = True, tables_of(step.quality)
    return {name: torch.from_numpy(array) for name, array in packed.items()}


def _laid_out(steps: tuple[Step, ...]) -> list[tuple[Step, int, int]]:
    """Gives each step the next slot of its degradation type: (step, round, slot)."""
    placed, at = [], -1
    for step in steps:
        at = min(slot + _SLOT_COUNT * max(0, math.ceil((at + 1 - slot) / _SLOT_COUNT)) for slot in _SLOTS[type(step)])
        if at >= ROUNDS * _SLOT_COUNT:
            raise ValueError(
                f'expected steps that fit into {ROUNDS} rounds of filter, resize, filter, noise, jpeg, got '
                f'{[step.op for step in steps]}; apply this record with apply_cpu'
            )
        placed.append((step, *divmod(at, _SLOT_COUNT)))
    return placed


def _put_filter(packed: dict[str, np.ndarray], step: Blur | Sinc, round_: int, place: int) -> None:
    if isinstance(step, Blur) and (step.sigma_x == 0 or step.kernel_size == 1):
        return
    kernel_size = packed['filters'].shape[-1]
    if step.kernel_size > kernel_size:
        raise ValueError(f'expected kernels of at most {kernel_size} taps, got {step.kernel_size}; raise kernel_size')
    mode, shrink = 0, 1
    if place == 0:
        before, after = packed['sizes'][round_], packed['sizes'][round_ + 1]
        mode, shrink = int(packed['modes'][round_]), int((before // after).min())
    terms = _terms(step, mode, shrink)
    margin = (kernel_size - step.kernel_size) // 2
    packed['filters'][round_, place, : len(terms), :, margin : kernel_size - margin] = terms
    packed['terms'][round_, place], packed['taps'][round_, place] = len(terms), step.kernel_size


def _terms(step: Blur | Sinc, mode: int, shrink: int) -> np.ndarray:
    """Returns the separable kernels of a filter that a resize by ``mode`` and ``shrink`` comes behind."""
    if isinstance(step, Sinc):
        return separable_terms(sinc_kernel(step.kernel_size, step.omega_c), mode, shrink)
    if step.family == 'gaussian' and step.sigma_x == step.sigma_y:
        place = np.arange(step.kernel_size) - step.kernel_size // 2
        bell = np.exp(-0.5 * (place / step.sigma_x) ** 2)
        return np.tile(bell / bell.sum(), (1, 2, 1))
    kernel = blur_kernel(step.kernel_size, step.sigma_x, step.sigma_y, step.angle, step.family, step.beta)
    return separable_terms(kernel, mode, shrink)
