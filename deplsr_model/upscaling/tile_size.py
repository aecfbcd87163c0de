"""Chooses the size of tiles by the memory that is free and by what a network needs for a pixel."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ['LEAST_TILE', 'bytes_per_pixel', 'choose_tile', 'free_memory', 'is_out_of_memory']

LEAST_TILE = 32
_SIZES = (512, 384, 256, 192, 128, 96, 64, LEAST_TILE)
_DEFAULT = 256  # where the free memory is unknown
_SHARE = 0.5  # of the free memory
_WORKSPACE = 2.0  # what libraries need besides the tensors, as a factor
_PROBE = 64
_MESSAGES = ('out of memory', 'not enough memory', "can't allocate memory", 'failed to allocate')


class _PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that live at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self._live: dict[int, int] = {}
        self._bytes = 0
        self.peak = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        self._live[place] = self._live.get(place, 0) + 1
        if self._live[place] == 1:
            self._bytes += size
            self.peak = max(self.peak, self._bytes)
        weakref.finalize(tensor, self._remove, place, size)

    def _remove(self, place: int, size: int) -> None:
        self._live[place] -= 1
        if not self._live[place]:
            del self._live[place]
            self._bytes -= size


@torch.no_grad()
def bytes_per_pixel(run: Callable[[Tensor], object], device: torch.device) -> float:
    """Returns the memory that a network needs for a pixel of its input, measured on a small image."""
    x = torch.full((1, 3, _PROBE, _PROBE), 0.5, device=device)
    with _PeakMemory() as memory:
        run(x)
    return _WORKSPACE * memory.peak / _PROBE**2


def free_memory(device: torch.device) -> int | None:
    """Returns the free bytes of a device; None where this cannot be found out."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    if device.type != 'cpu':
        return None
    try:
        with open('/proc/meminfo', encoding='ascii') as file:
            kilobytes = next(line.split()[1] for line in file if line.startswith('MemAvailable'))
    except (OSError, StopIteration):
        return None
    return int(kilobytes) * 1024


def choose_tile(pixel: float, free: int | None) -> int:
    """Returns the side of the largest usual tile for which half of the free memory suffices.

    Args:
        pixel: Bytes that a pixel needs.
        free: Free bytes; None if unknown.
    """
    if free is None:
        return _DEFAULT
    return next((size for size in _SIZES if size**2 * pixel <= _SHARE * free), LEAST_TILE)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error means that there was not enough memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(one in str(error).lower() for one in _MESSAGES)
