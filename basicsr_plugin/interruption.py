"""SIGTERM, SIGINT and SIGUSR1 end a training after its iteration, with a checkpoint; so does the death of a worker.

Exit status: 128 and the number of the signal, as shells report it: 143 after SIGTERM, 130 after SIGINT (Ctrl-C), 138
after SIGUSR1. A second Ctrl-C ends at once. 75 where the data, a worker or another process is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

__all__ = ['FAILED', 'Interrupted', 'Signals', 'WorkerDeaths', 'end_with_parent', 'start_worker']

#: What processes agree on in place of a signal if one of them cannot continue.
FAILED = 255

_NAMES = ('SIGTERM', 'SIGINT', 'SIGUSR1')
_SIGCHLD: Any = getattr(signal, 'SIGCHLD', None)
_JOIN = 5  # seconds
_PR_SET_PDEATHSIG = 1  # of Linux' prctl
_STARTED_BY_PARENT = ('fork', 'spawn')  # start methods
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

    def agreed(self, distributed: bool, failed: bool = False) -> int:
        """Returns the signal that any of the processes has received, the same in all; 0 for none.

        Args:
            distributed: Whether there are other processes.
            failed: Whether this process cannot continue. All then return :data:`FAILED`.
        """
        if not distributed:
            return FAILED if failed else self.received
        import torch
        from torch import distributed as processes

        device = 'cuda' if processes.get_backend() == 'nccl' else 'cpu'
        number = torch.tensor(FAILED if failed else self.received, device=device)
        processes.all_reduce(number, op=processes.ReduceOp.MAX)
        # A signal may have arrived meanwhile, unseen by the other processes: it stays for the next iteration.
        if int(number) != FAILED:
            self.received = self.received or int(number)
        return int(number)

    def _handle(self, number: int, _: object) -> None:
        if self.received and number == signal.SIGINT and 'RANK' not in os.environ:  # torchrun sends it a second time
            raise KeyboardInterrupt
        self.received = self.received or number
        if self._raises:
            self._raises = False
            raise _Stopped


class WorkerDeaths:
    """Lets the death of a worker of a loader end the taking of a batch, and nothing else.

    torch raises it wherever the main thread is, such as in the middle of a step of the optimizer, after which nothing
    could be saved.
    """

    def __init__(self) -> None:
        self._raise: Any = None
        self._late = False
        self._taking = False
        self._workers: list[BaseProcess] = []

    def watch(self, loader: Any) -> None:
        """Records the workers that a loader starts from now on."""
        make = loader._get_iterator

        def get_iterator() -> Any:
            iterator = make()
            running = [worker for worker in self._workers if worker.is_alive()]
            self._workers = running + list(getattr(iterator, '_workers', ()))
            return iterator

        loader._get_iterator = get_iterator

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Raises within its block what has happened since the last one, too."""
        self._install()
        self._taking = True
        try:
            if self._late:
                self._late = False
                self._raise(_SIGCHLD, None)
            yield
        finally:
            self._taking = False

    def end_workers(self) -> None:
        """Ends these workers at once: one that hangs, or has batches that nobody takes, would be waited for."""
        self._install()
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join(_JOIN)
        if self._raise is not None:
            with contextlib.suppress(RuntimeError):  # torch then forgets them
                self._raise(_SIGCHLD, None)

    def remove(self) -> None:
        """Returns the signal to torch."""
        if self._raise is not None and signal.getsignal(_SIGCHLD) == self._handle:
            signal.signal(_SIGCHLD, self._raise)
        self._raise = None

    def _install(self) -> None:
        if _SIGCHLD is None or threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(_SIGCHLD)  # torch sets its own with the first worker
        if callable(handler) and handler != self._handle:
            self._raise = handler
            signal.signal(_SIGCHLD, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        if self._taking:
            self._raise(number, frame)
        else:
            self._late = True


def start_worker(initialise: Callable[[int], object] | None, worker: int) -> None:
    """Initialises a worker of a data loader that outlives the signals that its training handles.

    Ctrl-C in a terminal, a service manager or a scheduler signals all processes of a training, its workers too. If
    these ended first, the training could not end its iteration.
    """
    end_with_parent()
    for name in ('SIGINT', 'SIGUSR1'):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, 'alarm'):
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_WORKER_GRACE))
    sys.excepthook = _without_lost_connections
    if initialise is not None:
        initialise(worker)


def end_with_parent(_: int = 0) -> None:
    """Lets a worker of a data loader end as soon as its parent has ended, also by SIGKILL.

    torch's worker looks for that every 5 s, but never ends if its parent was killed while it started. Does nothing for
    the start method ``forkserver``: the parent is then not the process that takes the batches.

    For Linux the parent is the thread that has started the worker, which must live as long: here the main thread.
    """
    method = getattr(multiprocessing.current_process(), '_start_method', None)  # None: not started by a context
    if (method or multiprocessing.get_start_method()) not in _STARTED_BY_PARENT:
        return
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)


def _without_lost_connections(name: type[BaseException], error: BaseException, trace: Any) -> None:
    """Prints an error in a thread of a worker, except that the training has ended while it took a batch."""
    if not isinstance(error, (EOFError, ConnectionError)):
        sys.__excepthook__(name, error, trace)
