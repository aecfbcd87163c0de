"""SIGTERM, SIGINT and SIGUSR1 end a training after its iteration, with a checkpoint.

Exit status: 128 and the number of the signal, as shells report it: 143 after SIGTERM, 130 after SIGINT (Ctrl-C), 138
after SIGUSR1. A second Ctrl-C ends at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

__all__ = ['Interrupted', 'Signals', 'start_worker']

_NAMES = ('SIGTERM', 'SIGINT', 'SIGUSR1')
_WORKER_GRACE = 30  # seconds in which a training whose workers get SIGTERM too can end its iteration


class Interrupted(SystemExit):
    """Ends a training that a signal has stopped.

    Args:
        number: Number of the signal.
        message: What was saved and how to continue.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(128 + number)
        self.message = f'stopped by {signal.Signals(number).name}: {message}'

    def __str__(self) -> str:
        return self.message


class _Stopped(BaseException):
    """Leaves a validation; no handler of errors may take it."""


class Signals:
    """Keeps the first signal that arrives until somebody looks.

    Attributes:
        received: Its number; 0 if none has arrived.
    """

    def __init__(self) -> None:
        self.received = 0
        self._raises = False
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Takes the signals over; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
            self._before[number] = signal.signal(number, self._handle)

    def remove(self) -> None:
        """Returns the signals to those that handled them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def run_until_signal(self, work: Callable[[], object]) -> None:
        """Runs what a signal may leave at any point, such as a validation; does nothing if one has arrived already."""
        if self.received:
            return
        try:
            self._raises = True
            try:
                work()
            finally:
                self._raises = False
        except _Stopped:
            pass

    def agreed(self, distributed: bool) -> int:
        """Returns the signal that any of the processes has received, the same in all; 0 for none."""
        if not distributed:
            return self.received
        import torch
        from torch import distributed as processes

        device = 'cuda' if processes.get_backend() == 'nccl' else 'cpu'
        number = torch.tensor(self.received, device=device)
        processes.all_reduce(number, op=processes.ReduceOp.MAX)
        # A signal may have arrived meanwhile, unseen by the other processes: it stays for the next iteration.
        self.received = self.received or int(number)
        return int(number)

    def _handle(self, number: int, _: object) -> None:
        if self.received and number == signal.SIGINT and 'RANK' not in os.environ:  # torchrun sends it a second time
            raise KeyboardInterrupt
        self.received = self.received or number
        if self._raises:
            self._raises = False
            raise _Stopped


def start_worker(initialise: Callable[[int], object] | None, worker: int) -> None:
    """Initialises a worker of a data loader that outlives the signals that its training handles.

    Ctrl-C in a terminal, a service manager or a scheduler signals all processes of a training, its workers too. If
    these ended first, the training could not end its iteration.
    """
    for name in ('SIGINT', 'SIGUSR1'):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, 'alarm'):
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_WORKER_GRACE))
    if initialise is not None:
        initialise(worker)
