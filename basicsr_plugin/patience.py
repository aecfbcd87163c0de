"""Waits for data that are gone for a while, such as those of a network disk, instead of calling them damaged."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import TypeVar

from basicsr_plugin.errors import UnavailableError, warn

__all__ = ['PAUSES', 'read_patiently']

#: Seconds to wait before each further attempt.
PAUSES: tuple[float, ...] = (1, 4, 15, 60, 300)

_PASSING = tuple(
    getattr(errno, name)
    for name in ('EIO', 'ESTALE', 'ETIMEDOUT', 'EAGAIN', 'EBUSY', 'ENOTCONN', 'ENETDOWN', 'EHOSTDOWN', 'ENODEV')
    if hasattr(errno, name)
)
T = TypeVar('T')


def read_patiently(read: Callable[[], T], path: str, root: str) -> T:
    """Reads, and tries again where waiting may help: the disk has an error, or the folder of the data is missing.

    Args:
        read: What reads.
        path: The file, for messages.
        root: The folder of the data; if it is missing as well, its disk is, and not only this file.

    Raises:
        OSError: Waiting does not help.
        UnavailableError: The data are still gone after all pauses; one line.
    """
    for number, pause in enumerate((*PAUSES, None), 1):
        try:
            return read()
        except OSError as error:
            if error.errno not in _PASSING and os.path.exists(root):
                raise
            if pause is None:
                raise UnavailableError(
                    f"'{path}' cannot be read: {error.strerror}, for {sum(PAUSES):.0f} s; check the disk of '{root}'"
                ) from None
            last = ' for the last time' if number == len(PAUSES) else ''
            warn(f"'{path}' cannot be read: {error.strerror}; trying again{last} in {pause:.0f} s")
            time.sleep(pause)
    raise AssertionError  # the last round returns or raises
