"""Errors that the user can correct; the command prints them as one line instead of a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

__all__ = [
    'Faults',
    'OptionError',
    'UnavailableError',
    'UserError',
    'cause',
    'first_line',
    'is_lost_worker',
    'no_batch',
    'user_mistake',
    'warn',
    'without_worker_traceback',
]

#: The disk is full or cannot be written.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


class UserError(Exception):
    """A mistake of the user, in one line: ``where: expected X, got Y; how to fix it``.

    Args:
        message: The line. If torch built it out of an error in a worker of a data loader (a complete traceback), the
            line that was raised there is taken out of it.

    Attributes:
        exit_status: With which the command ends.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, message: str) -> None:
        super().__init__(without_worker_traceback(message))


class OptionError(UserError, ValueError):
    """Keys or values of an option file, or an argument in its name, that cannot be used: one line for each."""


class Faults:
    """Collects the faults of an option file, so that all are listed at once; of two on one key the first counts.

    Args:
        rename: Returns a line with its place in the option file; None to leave all lines as they are.
    """

    def __init__(self, rename: Callable[[str], str] | None = None) -> None:
        self._rename = rename
        self._lines: dict[str, str] = {}
        self._meant: set[str] = set()  # keys that a misspelt one explains

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __contains__(self, place: str) -> bool:
        return any(key == place or key.startswith(f'{place}.') for key in self._lines)

    def add(self, lines: Iterable[str]) -> None:
        """Adds lines that begin with the place of the fault: ``datasets.train.gt_size: expected ...``."""
        for line in map(self._rename, lines) if self._rename else lines:
            place = _place(line)
            self._lines.setdefault(place, line)
            meant = re.search(r"unknown key '([^']*)'; did you mean '(\w+)'", line)
            if meant:
                self._meant.add(f'{place.removesuffix(meant[1])}{meant[2]}')

    def drop(self, pattern: str, group: str) -> None:
        """Drops faults that follow from others.

        Args:
            pattern: A regular expression with one group, for the places of faults.
            group: With the text of the group, as ``network_{}``, the place of a fault from which they follow.
        """
        for place in list(self._lines):
            match = re.fullmatch(pattern, place)
            if match and (group.format(match[1]) in self or group.format(match[1]) in self._meant):
                del self._lines[place]

    def drop_texts(self, *texts: str) -> None:
        """Drops faults whose line has one of the texts."""
        kept = {place: line for place, line in self._lines.items() if not any(text in line for text in texts)}
        self._lines = kept

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Adds what a check raises; the checks after it are still made.

        Where faults are known already, a check may fail on the value that one of them is about.
        """
        try:
            yield
        except UserError as error:
            self.add(str(error).splitlines())
        except (ArithmeticError, TypeError):
            if not self:
                raise

    def raise_all(self) -> None:
        """Raises all faults as one error.

        Raises:
            OptionError: There are any.
        """
        left = [line for place, line in self._lines.items() if place not in self._meant or ': unknown key ' in line]
        if left:
            raise OptionError('\n'.join(left))


def _place(line: str) -> str:
    """Returns the key that a line of an error is about."""
    missing = re.match(r"(?:(\S+): )?(?:unknown|missing) key '([^']*)'", line)
    if missing:
        parent = missing[1] if missing[1] not in (None, 'options') else ''
        return f'{parent}.{missing[2]}'.lstrip('.')
    place, colon, _ = line.partition(': ')
    return re.sub(r'\[\d+\].*', '', place) if colon and ' ' not in place else line


class UnavailableError(UserError):
    """Data, a worker or another process is gone; nothing is wrong with the options, and a later start may succeed."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h


def without_worker_traceback(message: str) -> str:
    """Reduces what torch re-raises from a data loader's worker to the message that was raised there."""
    if not message.startswith('Caught '):
        return message
    last = message.strip().splitlines()[-1]
    error_type, _, line = last.partition(': ')
    return line if line and ' ' not in error_type else last


def user_mistake(error: Exception) -> str | None:
    """Returns one line for an error of Python or BasicSR that a known mistake of the user leads to.

    Returns:
        The line; None for what may be a bug, whose traceback is needed.
    """
    if isinstance(error, FileNotFoundError):
        if error.filename:
            return f'{error.filename}: no such file or folder'
        return re.sub(r'^(\w+): (\[Errno \d+\] )?', '', without_worker_traceback(str(error)))
    if isinstance(error, OSError) and error.errno in _DISK:
        return f'{error.filename or "a file"} cannot be written: {error.strerror}; correct this, then start again'
    if isinstance(error, OSError) and isinstance(error.filename, (str, bytes, os.PathLike)) and error.strerror:
        return f'{os.fsdecode(error.filename)}: {error.strerror}; check the path, its rights and its disk'
    if isinstance(error, KeyError) and 'registry' in str(error):
        return f'{error.args[0].rstrip("!")}; see basicsr list'
    return None


def no_batch(error: Exception) -> str | None:
    """Returns one line on why a training loader has no batch, if a later start may succeed; None for other errors.

    torch re-raises an error of a worker without its number, so an error of the disk is recognised by its class.
    """
    text = str(error)
    if isinstance(error, UnavailableError):
        return text
    if isinstance(error, RuntimeError) and text.startswith('DataLoader timed out'):
        return f'datasets.train.worker_timeout: no batch {text.rpartition("after ")[2]}, a worker hangs; check the disk'
    if is_lost_worker(error):
        return 'datasets.train: a worker was killed, perhaps for lack of memory; lower num_worker_per_gpu'
    if type(error) is OSError or isinstance(error, (TimeoutError, ConnectionError)):
        return f'datasets.train: {first_line(OSError(without_worker_traceback(text)))}'
    return None


def is_lost_worker(error: Exception) -> bool:
    """Whether a loader's worker has died: while it handed a batch over, that is a lost connection."""
    if isinstance(error, (ConnectionError, EOFError)):
        return not str(error).startswith('Caught ')  # in the worker itself
    return isinstance(error, RuntimeError) and str(error).startswith('DataLoader worker')


def warn(message: str) -> None:
    """Prints one line of warning on stderr."""
    print(f'basicsr: warning: {message}', file=sys.stderr, flush=True)


def first_line(error: BaseException, with_type: bool = False) -> str:
    """Returns the first line of an error's message, or the name of its class if it has no message.

    Args:
        error: The error.
        with_type: Whether the name of the class comes first in any case.
    """
    name, lines = type(error).__name__, str(error).strip().splitlines()
    if not lines:
        return name
    return f'{name}: {lines[0]}' if with_type else lines[0]


def cause(error: BaseException) -> str:
    """Returns an error in one line, with the line of the plug-in, or of what it imports, that raised it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if 'importlib' not in f.filename]
    place = f' ({os.path.relpath(frames[-1].filename)}, line {frames[-1].lineno})' if len(frames) > 1 else ''
    return first_line(error, with_type=True) + place
