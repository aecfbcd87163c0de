"""The GPU of each of several processes that share the images: those of torchrun."""

from __future__ import annotations

import os

import torch

__all__ = ['local_device']


def local_device() -> str | None:
    """Returns the GPU of this process where torchrun started several; None otherwise."""
    place = os.environ.get('LOCAL_RANK')
    if place is None or not torch.cuda.is_available():
        return None
    return f'cuda:{int(place) % torch.cuda.device_count()}'
