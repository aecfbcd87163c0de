"""Kills trainings at random moments and within the writing of checkpoints, and resumes them until they end.

After each kill the run must resume from the newest checkpoint that it has, and never have fewer of them than it keeps;
at the end its weights must be those of an undisturbed run, bit by bit.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.faults.table import Row
from benchmarks.faults.training import CASES, Hook, Options, Place, case, same_weights

__all__ = ['kills']

_OF_A_RUN = 4
_KEPT = 2  # checkpoints
_OPERATIONS = 16  # of fsync and replace that saving a checkpoint makes, at most


def kills(place: Place, args: argparse.Namespace) -> Iterator[Row]:
    """Yields a row for each case, with an equal share of ``args.kills``."""
    rng = random.Random(args.seed)
    left = args.kills
    for number, name in enumerate(CASES):
        options, labels = case(name)
        options['logger']['keep_last_n'] = _KEPT
        share = left // (len(CASES) - number)
        left -= share
        begin = time.monotonic()
        reference = f'straight{number}'
        if place.train(reference, options):
            raise RuntimeError(place.output(reference))
        duration, row, in_saving, runs = time.monotonic() - begin, Row(f'kills: {name}'), 0, 0
        while row.trials < share:
            killed = f'killed{number}_{runs}'
            runs += 1
            hows, problems = _killed_and_resumed(place, killed, options, rng, duration, share - row.trials)
            if not problems and not same_weights(place, reference, killed, labels):
                problems = ['other weights']
            row.trials += len(hows)
            in_saving += hows.count('saving')
            row.failures += [f'{killed}: {", ".join(problems)}'] * (max(len(hows), 1) if problems else 0)
        row.note = f'{in_saving} of them between two operations of saving'
        yield row


def _killed_and_resumed(
    place: Place, name: str, options: Options, rng: random.Random, duration: float, most: int
) -> tuple[list[str], list[str]]:
    """Starts a run until it ends by itself; returns how it was killed each time, and what was wrong."""
    hows: list[str] = []
    problems: list[str] = []
    while True:
        how, hook = _drawn(rng, duration) if len(hows) < min(_OF_A_RUN, most) else (None, None)
        before = place.states(name)
        written = len(place.output(name)) if hows else 0
        status = place.train(name, options, '--auto_resume', hook=hook)
        problems += _lost(before, place.states(name), place.output(name)[written:])
        if how is None or status != -signal.SIGKILL:
            return hows, [*problems, f'status {status}'] if status else problems
        hows.append(how)


def _lost(before: list[int], after: list[int], output: str) -> Iterator[str]:
    """Yields what a start has lost of the checkpoints that were there before it."""
    resumed = re.findall(r'Resuming from iteration (\d+)', output)
    if before and resumed and int(resumed[-1]) != before[-1]:
        yield f'resumed from {resumed[-1]} instead of {before[-1]}'
    if 'is skipped' in output or (before and 'from scratch' in output):
        yield f'checkpoints {before} not used'
    if len(after) < min(_KEPT, len(before)) or (before and after[-1] < before[-1]):
        yield f'checkpoints {before} became {after}'


def _drawn(rng: random.Random, duration: float) -> tuple[str, Hook]:
    if rng.choice(['moment', 'saving']) == 'saving':
        return 'saving', _kill_in_saving(rng.randrange(1, _OPERATIONS))
    return 'moment', _kill_after(rng.uniform(0.1, duration))


def _kill_after(seconds: float) -> Hook:
    def hook() -> None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, seconds)

    return hook


def _kill_in_saving(operation: int) -> Hook:
    """Returns a hook that kills the process at the n-th call of fsync or replace, before it has an effect."""

    def hook() -> None:
        calls = 0

        def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == operation:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments)

            return call

        os.fsync, os.replace = wrapped(os.fsync), wrapped(os.replace)  # type: ignore[assignment]

    return hook
