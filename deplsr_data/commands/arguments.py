"""Arguments that the commands have in common, and a counter of skipped photos."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TypeVar

from tqdm import tqdm

from basicsr_plugin.errors import UserError, is_lost_worker, warn
from deplsr_data.files.bad_photos import too_many

__all__ = [
    'Skipped',
    'add_common',
    'at_least_0',
    'at_least_1',
    'is_lmdb',
    'killed_worker_in_one_line',
    'shard',
    'uncollated',
]

T = TypeVar('T')


def add_common(parser: argparse.ArgumentParser, output: str) -> None:
    """Adds the arguments that both commands have; ``output`` is the help of --output."""
    add = parser.add_argument
    add(
        '--input',
        required=True,
        metavar='DIR',
        help='folder of photos, read with its subfolders, or a .lmdb made by BasicSR',
    )
    add(
        '--meta-info',
        metavar='FILE',
        help='which photos to use: a .tsv with columns filepath and title, or a list of paths (default: all)',
    )
    add('--output', required=True, metavar='PATH', help=output)
    add(
        '--workers',
        type=at_least_0,
        default=0,
        metavar='N',
        help='worker processes (default 0: work in the main process)',
    )
    add(
        '--max-bad-images',
        type=at_least_0,
        default=10,
        metavar='N',
        help='how many unreadable photos to skip before the command stops (default 10)',
    )


def at_least_1(text: str) -> int:
    """Parses a whole number from 1."""
    return _whole_number(text, 1)


def at_least_0(text: str) -> int:
    """Parses a whole number from 0."""
    return _whole_number(text, 0)


def _whole_number(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got '{text}'")
    return int(text)


def shard(text: str) -> tuple[int, int]:
    """Parses ``I/N``."""
    part, _, parts = text.partition('/')
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, such as 1/4, got '{text}'")
    return int(part), int(parts)


def is_lmdb(path: str) -> bool:
    """Whether a path names an LMDB; BasicSR requires this ending."""
    return path.rstrip('/\\').endswith('.lmdb')


def uncollated(item: T) -> T:
    """Returns the item of a loader unchanged; not a lambda, since spawned workers must be able to import it."""
    return item


@contextlib.contextmanager
def killed_worker_in_one_line() -> Iterator[None]:
    """Turns the error of a loader whose worker was killed into one line."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if not is_lost_worker(error):
            raise
        raise UserError(
            '--workers: expected all to finish, got one that was killed, perhaps for lack of memory; '
            'use fewer and run the same command again to resume'
        ) from None


class Skipped:
    """Counts the photos that a command skips, and prints one line about each on stderr.

    Args:
        limit: How many are allowed; never all.
        total: Number of photos.
    """

    def __init__(self, limit: int, total: int) -> None:
        self.count = 0
        self._limit = limit
        self._total = total

    def add(self, line: str) -> None:
        """Counts one more photo.

        Raises:
            UserError: These are too many.
        """
        self.count += 1
        if self.count > self._limit:
            raise too_many('--max-bad-images', self._limit, self._total, line)
        if self.count >= self._total:
            raise UserError(f'--input: expected a photo that can be used, got none of {self._total}, the last: {line}')
        with tqdm.external_write_mode(file=sys.stderr):  # not into the middle of a progress bar
            warn(f'skipped photo {self.count} of at most {self._limit}: {line}')
