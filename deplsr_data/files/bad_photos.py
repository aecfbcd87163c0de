"""Counts photos that cannot be read, over all workers of a data loader."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

from basicsr_plugin.errors import UserError
from deplsr_data.files.folders import left_out_text
from deplsr_data.files.photos import PhotoError

__all__ = ['BadPhotos', 'log_found', 'too_many']

T = TypeVar('T')


def too_many(where: str, limit: int, total: int, last: object) -> UserError:
    """Returns the error that ends a run: more than ``limit`` photos of ``total`` cannot be read."""
    return UserError(f'{where}: expected at most {limit} unreadable photos of {total}, got more, the last: {last}')


def log_found(where: str, found: int, left_out: Mapping[str, int]) -> None:
    """Logs how many photos a data set has, and what of its folder is left out."""
    more = left_out_text(left_out)
    logging.getLogger('basicsr').info(f'{where}: {found} photos found{f", {more}" if more else ""}')


class BadPhotos:
    """Remembers which photos of a list are bad, warns of each once, and stops if there are too many.

    The marks are in shared memory, one for each photo: a photo that is found again, in another epoch or by another
    worker, does not count twice.

    Args:
        total: Photos in the list.
        limit: How many may be bad; never all.
        where: Beginning of the message at the end, such as ``datasets.train.max_bad_images``.
    """

    def __init__(self, total: int, limit: int, where: str) -> None:
        self._marks = torch.zeros(total, dtype=torch.bool).share_memory_()
        self._limit = min(limit, total - 1)  # one must remain
        self._where = where

    def first_good(self, index: int, read: Callable[[int], T]) -> tuple[int, T]:
        """Reads a photo, or the next readable one of the list; which one that is depends only on the photos.

        Args:
            index: Index of the photo.
            read: Reads a photo, or raises :class:`~deplsr_data.files.photos.PhotoError`.

        Returns:
            The index of the photo that was read, and what ``read`` returned.

        Raises:
            UserError: More photos than allowed are bad; one line.
        """
        total = len(self._marks)
        for step in range(total):
            place = (index + step) % total
            if not self._marks[place]:
                try:
                    return place, read(place)
                except PhotoError as error:
                    self._add(place, error)
        raise UserError(f'{self._where}: expected a photo that can be read, got none of {total}; check the data set')

    def _add(self, index: int, error: PhotoError) -> None:
        known = bool(self._marks[index])  # another worker may have been faster
        self._marks[index] = True
        count = int(self._marks.sum())
        if count > self._limit:
            raise too_many(self._where, self._limit, len(self._marks), error)
        if not known:
            logging.getLogger('basicsr').warning('skipped photo %d of at most %d: %s', count, self._limit, error)
