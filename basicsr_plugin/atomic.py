"""Writes files that are complete at any time, and states in one line on which disk that failed.

Checkpoints, images, tables and settings are all written here: under a temporary name, flushed to the disk (fsync),
moved to their name (``os.replace``), and the folder's entry flushed as well. After a kill or a power cut a file is the
old one or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from basicsr_plugin.errors import UserError, warn

__all__ = ['FULL_DISK', 'PART', 'DiskError', 'append_line', 'free_bytes', 'save_tensors', 'write_file', 'writing']

#: Errors after which no other file can be written either: the disk is full or read-only.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: End of the name of a file that is being written.
PART = '.part'
#: Seconds to wait before each further attempt.
BACK_OFF: tuple[float, ...] = (1.0, 2.0)

_LASTING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)
_CORRECT = 'correct this, then run the same command again'


class DiskError(UserError):
    """A file could not be written; one line that names the file, the disk and the reason."""


def write_file(
    path: str | Path,
    content: bytes | Callable[[IO[bytes]], object],
    *,
    hint: str = _CORRECT,
    single_writer: bool = False,
) -> None:
    """Writes a file so that the one at ``path`` is complete at any time.

    Args:
        path: The file. Its folder must exist.
        content: Its new content, or a function that writes it into an open binary file and may be called repeatedly.
        hint: End of the error message: how to continue.
        single_writer: No other process writes it: the temporary name is always the same, so that a kill leaves at most
            one such file, which the next run replaces.

    Raises:
        DiskError: It could not be written, after further attempts where waiting may help.
    """
    part = f'{path}{PART}' if single_writer else f'{path}.{uuid.uuid4().hex[:8]}{PART}'
    for pause in (*BACK_OFF, None):
        try:
            with _removed_after_an_error(part):
                _write(part, content)
                os.replace(part, path)
            _flush_folder(os.path.dirname(os.path.abspath(path)))
        except OSError as error:
            if pause is None or error.errno in _LASTING:
                raise _disk_error(path, error, hint) from error
            warn(f"cannot write '{path}': {_reason(error)}; trying again in {pause:.0f} s")
            time.sleep(pause)
        else:
            return


def save_tensors(content: object, path: str | Path, hint: str = _CORRECT) -> None:
    """Writes what ``torch.save`` writes, as :func:`write_file` does; one process writes a path.

    Raises:
        DiskError: See :func:`write_file`.
    """
    import torch

    def save(file: IO[bytes]) -> None:
        target = _ErrorKeeper(file)
        torch.save(content, target)  # type: ignore[arg-type]  # it only writes
        if target.error is not None:
            raise target.error

    write_file(path, save, hint=hint, single_writer=True)


def append_line(path: str | Path, line: str, hint: str = _CORRECT) -> None:
    """Adds a line to a text file; a line that a kill has cut off before it is ended first.

    Raises:
        DiskError: It could not be written.
    """
    with writing(path, hint), open(path, 'ab+') as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b'\n' else f'\n{line}'
        file.write(f'{line}\n'.encode())


@contextlib.contextmanager
def writing(path: str | Path, hint: str = _CORRECT) -> Iterator[None]:
    """Turns an error of the operating system into a :class:`DiskError`, where a file grows while it is used."""
    try:
        yield
    except OSError as error:
        raise _disk_error(path, error, hint) from error


def free_bytes(folder: str | Path) -> int:
    """Returns the free space on the disk of a folder, which need not exist yet, in bytes."""
    return shutil.disk_usage(_existing(folder)).free


class _ErrorKeeper:
    """A file for ``torch.save``, which aborts the process or hides the reason if writing raises."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        pass


@contextlib.contextmanager
def _removed_after_an_error(part: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(part)
        raise


def _write(part: str, content: bytes | Callable[[IO[bytes]], object]) -> None:
    with open(part, 'wb') as file:
        if callable(content):
            content(file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: str) -> None:
    if not hasattr(os, 'O_DIRECTORY'):  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems do this by themselves
            raise
    finally:
        os.close(descriptor)


def _disk_error(path: str | Path, error: OSError, hint: str) -> DiskError:
    disk = _existing(path)
    while not os.path.ismount(disk):
        disk = os.path.dirname(disk)
    with contextlib.suppress(OSError):
        disk = f'{disk}, {shutil.disk_usage(disk).free / 2**20:,.0f} MiB free'
    return DiskError(f"cannot write '{path}': {_reason(error)} (disk {disk}); {hint}")


def _existing(path: str | Path) -> str:
    """Returns the path, or the nearest folder above it that exists."""
    found = os.path.abspath(path)
    while not os.path.exists(found):
        found = os.path.dirname(found)
    return found


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
