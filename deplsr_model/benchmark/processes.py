"""Several processes that share the images: those of torchrun."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from torch import distributed

__all__ = ['local_device', 'process_part', 'wait_for_others']

_LONGEST = timedelta(days=2)  # that the fastest process waits for the slowest


def process_part() -> tuple[int, int]:
    """Returns the number of this process and of all, from the environment that torchrun sets."""
    return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))


def local_device() -> str | None:
    """Returns the GPU of this process where torchrun started several; None otherwise."""
    place = os.environ.get('LOCAL_RANK')
    if place is None or not torch.cuda.is_available():
        return None
    return f'cuda:{int(place) % torch.cuda.device_count()}'


def wait_for_others() -> bool:
    """Waits until all processes have come here; returns whether this is the first, which writes the report."""
    distributed.init_process_group('gloo', timeout=_LONGEST)
    try:
        distributed.barrier()
        return distributed.get_rank() == 0
    finally:
        distributed.destroy_process_group()
