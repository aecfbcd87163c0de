"""One process writes a folder or a file: the second is refused in one line that names the first."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from basicsr_plugin.errors import UserError, warn

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ['hold_folder', 'locked_folder', 'release_folders']

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EROFS, errno.EACCES)
_held: dict[str, int] = {}


def hold_folder(folder: str | Path, where: str, shared: bool = False) -> None:
    """Locks a folder until the process ends, however it ends, or releases it.

    The lock is a file next to the folder, ``<folder>.lock``, which names its owner. The operating system releases it
    when its process dies, so nothing is left to clean up.

    Args:
        folder: The folder, or a file; it need not exist yet.
        where: Beginning of the error message: the option that names the folder.
        shared: Whether others may hold it too, if all of them share it.

    Raises:
        UserError: Another process holds it.
    """
    path = f'{os.path.abspath(folder)}.lock'
    if fcntl is None or path in _held:
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _held[path] = _acquire(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except BlockingIOError:
        raise UserError(f"{where}: '{folder}' is in use by {_owner(path)}; wait for it, or choose another") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warn(f"{where}: '{folder}' cannot be locked ({error.strerror}); make sure that no other process writes it")


def release_folders() -> None:
    """Releases all folders that this process holds."""
    while _held:
        path, descriptor = _held.popitem()
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # others may share it, and need the file
                os.remove(path)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked_folder(folder: str | Path, where: str, part: str | None = None) -> Iterator[None]:
    """Holds a folder while its block runs; see :func:`hold_folder`.

    Args:
        folder: The folder.
        where: Beginning of the error message.
        part: Name of the part of its content that is written, such as a shard. Each part has one writer, and nobody
            writes the complete folder at the same time. None: the complete folder.
    """
    try:
        hold_folder(folder, where, shared=part is not None)
        if part is not None:
            hold_folder(f'{os.path.abspath(folder)}.{part}', where)
        yield
    finally:
        release_folders()


def _acquire(path: str, mode: int) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner has just removed it
    who = {'pid': os.getpid(), 'host': socket.gethostname(), 'since': time.time(), 'command': ' '.join(sys.argv)[:200]}
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(who).encode())
    return descriptor


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _owner(path: str) -> str:
    try:
        with open(path, encoding='utf-8') as file:
            who = json.load(file)
        minutes = (time.time() - who['since']) / 60
        return f'process {who["pid"]} on {who["host"]}, for {minutes:.0f} min ({who["command"]})'
    except (OSError, ValueError, LookupError, TypeError):
        return 'another process'


def _forget() -> None:
    """A forked worker must not keep the lock of a process that was killed."""
    while _held:
        os.close(_held.popitem()[1])


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget)
