"""How a batch is processed: in full precision, and on the CPU with one group of samples per thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import torch

__all__ = ['full_precision', 'in_threads']


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Turns off autocast and TF32: their 8 to 11 bits are fewer than a convolution of 8-bit images needs."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Returns the threads of this process; a forked process does not have its parent's and gets its own."""
    return ThreadPoolExecutor(threads)


def in_threads(work: Callable[[list[int]], None], groups: Sequence[list[int]]) -> None:
    """Processes groups of samples, each in its own thread, with as many threads as torch may use.

    torch's own threads would wait for each other after every small operator: on two cores that others use too, a batch
    of 48 then takes ten times as long.
    """
    allowed = torch.get_num_threads()

    @torch.no_grad()
    def alone(members: list[int]) -> None:
        torch.set_num_threads(1)  # of this thread
        work(members)

    try:
        if min(allowed, len(groups)) < 2:
            for members in groups:
                alone(members)
        else:
            list(_pool(allowed, os.getpid()).map(alone, groups))
    finally:
        torch.set_num_threads(allowed)  # new threads inherit it, so reset it even if only other threads changed it
