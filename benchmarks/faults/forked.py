"""Tries something in a forked process, which has all imports and loses what it changes, with a limit of time."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from basicsr_plugin.errors import UserError

__all__ = ['COLUMNS', 'Result', 'table', 'try_all']

#: What may become of a file, in the order of the table; the goals are 0 for the last four.
COLUMNS = ('one-line error', 'accepted', 'allowed', 'wrongly accepted', 'traceback', 'hang', 'code run')
HARM = 'code_was_run'
_ADVICE = ('weights_only', 'add_safe_globals', 'Traceback (most recent call last)')

#: Name of a door, what became of the file there, and the line or the reason.
Result = tuple[str, str, str]


def try_all(doors: Sequence[tuple[str, Callable[[], str | None]]], folder: Path, seconds: float) -> list[Result]:
    """Opens each door in a process of its own.

    Args:
        doors: Names, and functions that return a reason why it is right to accept the file, '' if nothing about it is
            wrong, or None if it should have been refused. They raise UserError to refuse it.
        folder: Working directory of the processes.
        seconds: CPU time that a door may take, of which four times as much may pass on the clock.
    """
    return [_try(name, door, folder, seconds) for name, door in doors]


def _try(name: str, door: Callable[[], str | None], folder: Path, seconds: float) -> Result:
    answer, printed = folder / 'answer.json', folder / 'printed.txt'
    for path in (answer, printed):
        path.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _child(door, folder, answer, printed)
    end = time.monotonic() + 4 * seconds
    done = 0
    while not done:
        done, status = os.waitpid(child, os.WNOHANG)
        used = _cpu_seconds(child) if not done else 0.0
        if not done and (used > seconds or time.monotonic() > end):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return name, 'hang', f'{used:.0f} s'
        time.sleep(0.005)
    if (folder / HARM).exists():
        (folder / HARM).unlink()
        return name, 'code run', ''
    if not answer.exists():
        return name, 'traceback', f'ended with status {status}'
    outcome, line = json.loads(answer.read_text(encoding='utf-8'))
    shown = line + printed.read_text(encoding='utf-8', errors='replace')
    if outcome != 'traceback' and any(text in shown for text in _ADVICE):
        return name, 'traceback', shown[-300:]
    return name, outcome, line


def _cpu_seconds(process: int) -> float:
    try:
        fields = Path(f'/proc/{process}/stat').read_text(encoding='utf-8').rpartition(')')[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _child(door: Callable[[], str | None], folder: Path, answer: Path, printed: Path) -> None:
    try:
        os.chdir(folder)
        out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        found = _outcome(door)
        answer.write_text(json.dumps(found), encoding='utf-8')
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


def _outcome(door: Callable[[], str | None]) -> tuple[str, str]:
    try:
        reason = door()
    except UserError as error:
        return ('traceback', f'more than one line: {error}') if '\n' in str(error) else ('one-line error', str(error))
    except BaseException:  # noqa: BLE001  a traceback is what is looked for
        return 'traceback', traceback.format_exc()[-700:]
    if reason is None:
        return 'wrongly accepted', ''
    return ('allowed', reason) if reason else ('accepted', '')


def table(title: str, results: Sequence[Result]) -> str:
    """Returns the counts as a table in Markdown, with a row for each door."""
    rows = [f'| {title} | tried | {" | ".join(COLUMNS)} |', f'| --- {"| ---: " * (len(COLUMNS) + 1)}|']
    for name in [*dict.fromkeys(name for name, _, _ in results), 'all']:
        counts = Counter(outcome for door, outcome, _ in results if name in (door, 'all'))
        rows.append(f'| {name} | {counts.total()} | {" | ".join(str(counts[column]) for column in COLUMNS)} |')
    return '\n'.join(rows)
