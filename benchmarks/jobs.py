"""Runs jobs that need the results of others, several at a time, each in a process of its own that can be resumed."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Condition
from typing import Any

__all__ = ['DEVICES', 'ROOT', 'deadline_after', 'fork_pool', 'run_all', 'run_process']

DEVICES = ('cpu', 'cuda')  #: on which a training runs
#: Of the repository.
ROOT = Path(__file__).resolve().parents[1]


def deadline_after(minutes: float | None) -> float:
    """Returns the deadline of a call, in the units of time.time(); infinity for no limit."""
    return time.time() + 60 * minutes if minutes else math.inf


def run_all(
    needs: Mapping[str, Sequence[str]],
    is_done: Callable[[str], bool],
    run: Callable[[str], bool],
    at_once: int,
    deadline: float,
) -> list[str]:
    """Runs all jobs that are not done; none starts after the deadline.

    Args:
        needs: The jobs in order, and for each the jobs whose results it needs.
        is_done: Whether a job's result exists.
        run: Does a job; False if it fails.
        at_once: Jobs at a time.
        deadline: See :func:`deadline_after`.

    Returns:
        The jobs that failed, and those that need one of them.
    """
    left = [name for name in needs if not is_done(name)]
    changed, failed = Condition(), list[str]()

    def next_job() -> str | None:
        while left and time.time() < deadline:
            blocked = [name for name in left if any(need in failed for need in needs[name])]
            ready = [name for name in left if all(is_done(need) for need in needs[name])]
            if blocked:
                left.remove(blocked[0])
                failed.append(blocked[0])
            elif ready:
                left.remove(ready[0])
                return ready[0]
            else:
                changed.wait(5)
        return None

    def worker(_: int) -> None:
        while True:
            with changed:
                name = next_job()
            if name is None:
                return
            good = run(name)
            with changed:
                if not good:
                    failed.append(name)
                changed.notify_all()

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(worker, range(at_once)))
    return failed


def run_process(name: str, arguments: Sequence[str], log: Path, deadline: float, folder: Path | None = None) -> bool:
    """Runs Python with one thread and appends its output to a log; stops it at the deadline. False if it fails."""
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE', 'PYTHONPATH': path}
    log.parent.mkdir(exist_ok=True)
    start = time.time()
    with log.open('a', encoding='utf-8') as file:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, stdout=file, stderr=subprocess.STDOUT, env=environment
        )
        try:
            code = process.wait(None if deadline == math.inf else max(1.0, deadline - time.time()))
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
            code = None
    outcome = {0: 'done', None: 'stopped; the same command resumes it'}.get(code, f'FAILED, see {log}')
    print(f'{name}: {outcome} after {(time.time() - start) / 60:.1f} minutes', flush=True)
    return not code


@contextlib.contextmanager
def fork_pool(
    workers: int, start: Callable[..., None], arguments: tuple[Any, ...]
) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yields a map over ``workers`` forked processes, in each of which ``start(*arguments)`` was called.

    What ``arguments`` hold is shared with the processes and not copied. One worker is this process.
    """
    if workers == 1:
        start(*arguments)
        yield map
        return
    with multiprocessing.get_context('fork').Pool(workers, start, arguments) as pool:
        yield pool.imap_unordered
