"""What a network costs: multiply-accumulate operations and peak memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from deplsr_model.upscaling.inference import Upscaler

__all__ = ['LR_SIDE', 'peak_memory', 'start_peak', 'work_of']

#: Side of the LR image that operations are counted on.
LR_SIDE = 64
_STATUS = Path('/proc/self/status')


def work_of(upscaler: Upscaler) -> int:
    """Returns the multiply-accumulate operations for an LR image of 64 x 64 pixels, estimator included.

    Convolutions, matrix products and attention are counted.
    """
    image = np.full((LR_SIDE, LR_SIDE, 3), 128, np.uint8)
    with FlopCounterMode(display=False) as counter:
        upscaler.enlarge(image)
    return int(counter.get_total_flops()) // 2


def start_peak(device: torch.device) -> None:
    """Starts to record the peak memory; on a CPU where the system is Linux."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            Path('/proc/self/clear_refs').write_text('5')


def peak_memory(device: torch.device) -> int:
    """Returns the peak memory in bytes since :func:`start_peak`; 0 where it is unknown.

    On a GPU what torch allocated, otherwise what the process held.
    """
    if device.type == 'cuda':
        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith('VmHWM'):
                return int(line.split()[1]) * 1024
    return 0
