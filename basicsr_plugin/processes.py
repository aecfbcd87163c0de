"""Several processes that share work: those of torchrun."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, TypeVar

from basicsr_plugin.errors import UnavailableError

__all__ = [
    'gathered',
    'loader_part',
    'lost_process',
    'process_part',
    'share_buffers',
    'wait_for_all',
    'wait_for_others',
]

_LONGEST = timedelta(days=2)  # that the fastest process waits for the slowest
#: How gloo and NCCL report a process that was killed, or that does not answer.
_LOST = (
    *('Connection closed', 'Connection reset', 'Connection refused', 'Broken pipe'),
    *('Timed out waiting', 'Timeout', 'Application timeout'),
)
T = TypeVar('T')


def process_part() -> tuple[int, int]:
    """Returns the number of this process and of all, from the environment that torchrun sets."""
    return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))


def wait_for_others() -> bool:
    """Waits until all processes have come here; returns whether this is the first, which writes the report."""
    from torch import distributed

    distributed.init_process_group('gloo', timeout=_LONGEST)
    try:
        distributed.barrier()
        return distributed.get_rank() == 0
    finally:
        distributed.destroy_process_group()


def wait_for_all() -> None:
    """Waits until all processes of a training have come here."""
    from torch import distributed

    distributed.barrier()


def gathered(value: T) -> list[T]:
    """Returns the values of all processes, in their order; call it in all of them."""
    from torch import distributed

    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def loader_part(loader: Any) -> Any:
    """Returns the part of a validation loader that this process works on: images r, r + n and so on of n processes."""
    from torch import distributed
    from torch.utils.data import DataLoader

    places = range(distributed.get_rank(), len(loader.dataset), distributed.get_world_size())
    part: Any = _DatasetPart(loader.dataset, places)
    return DataLoader(part, batch_size=1, collate_fn=loader.collate_fn)


class _DatasetPart:
    """Some samples of a data set, which keeps the options that BasicSR looks up."""

    def __init__(self, dataset: Any, places: range) -> None:
        self.opt = dataset.opt
        self._dataset = dataset
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[self._places[index]]


def share_buffers(net: Any) -> None:
    """Copies the saved buffers of the first process to all others, such as the running averages of its batch norms."""
    from torch import distributed

    saved = net.state_dict().keys()
    for name, buffer in net.named_buffers():
        if name in saved:
            distributed.broadcast(buffer, 0)


def lost_process(error: RuntimeError, hint: str) -> UnavailableError | None:
    """Returns one line for an error of a process group that has lost a process; None for any other error.

    Args:
        error: The error.
        hint: End of the line: how to continue.
    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    text = str(error)
    if not (isinstance(error, distributed.DistError) or any(sign in text for sign in _LOST)):
        return None
    what = 'does not answer' if 'imed out' in text or 'imeout' in text else 'has ended'
    return UnavailableError(f'process {distributed.get_rank()}: another process {what}; see its last lines; {hint}')
