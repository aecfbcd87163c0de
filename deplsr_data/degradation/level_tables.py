"""Levels of a record, captions of levels, and levels parsed from captions: for effective or for nominal levels.

A :class:`LevelTable` is selected by name, option ``levels``, and passed to everything that needs the order, the units
or the texts of degradation types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from deplsr_data.degradation.effective import TYPICAL, PhotoStatistics, effective_levels, statistics_of
from deplsr_data.degradation.records import Record
from deplsr_data.degradation.types import EFFECTIVE_TYPES, NOMINAL_TYPES, REGISTERED_TYPES, DegradationType

__all__ = ['FALLBACK_TITLE', 'NO_DEGRADATION', 'LevelName', 'LevelTable', 'level_table']

#: Semantic caption of a photo that has none.
FALLBACK_TITLE = 'a photo'
#: Whole degradation caption of a photo to which nothing was done.
NO_DEGRADATION = 'no degradation'
#: The tables, as option ``levels`` names them: what the LR image shows, or what was set at the steps (published).
LevelName = Literal['effective', 'nominal']

_CAPTION = re.compile(r'(?:(?P<measured>[a-z ]+):(?P<level>\d+(?:\.\d+)?)|(?P<no>no )?(?P<plain>[a-z ]+))')


class LevelTable:
    """The degradation types in order, with their levels and captions.

    Args:
        name: Its name, the value of option ``levels``.
        own: Its rows; those of plug-ins follow.
        source: Returns what the ``level_of`` of these rows takes, from a record and the statistics of its clean photo.
        needs_photo: Whether ``source`` depends on the clean photo.
    """

    def __init__(
        self,
        name: LevelName,
        own: Sequence[DegradationType[Any]],
        source: Callable[[Record, PhotoStatistics], Any],
        needs_photo: bool,
    ) -> None:
        self.name = name
        self._own = tuple(own)
        self._source = source
        self._needs_photo = needs_photo

    def __reduce__(self) -> tuple[object, ...]:
        """Makes a spawned worker of a data set take its own table, with the types that plug-ins registered there."""
        return level_table, (self.name,)

    @property
    def types(self) -> tuple[DegradationType[Any], ...]:
        """The rows, in the order of the levels, the fine captions and the fine embeddings."""
        return (*self._own, *REGISTERED_TYPES)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all degradation types, in order."""
        return tuple(one.name for one in self.types)

    @property
    def zero_levels(self) -> tuple[float, ...]:
        """The levels of a photo to which nothing was done."""
        return tuple(one.zero_level for one in self.types)

    def statistics(self, gt: np.ndarray) -> PhotoStatistics:
        """Returns what :meth:`levels` needs of a clean photo, (h, w, 3) float32 in 0..1."""
        return statistics_of(gt) if self._needs_photo else TYPICAL

    def levels(self, record: Record, photo: PhotoStatistics = TYPICAL) -> tuple[float, ...]:
        """Returns the level of each degradation type, rounded as in the captions.

        Args:
            record: The degradation.
            photo: Statistics of the clean photo; nominal levels do not depend on them.
        """
        source = self._source(record, photo)
        found = [*(one.level_of(source) for one in self._own), *(one.level_of(record) for one in REGISTERED_TYPES)]
        return tuple(round(level, 1) for level in found)

    def named_levels(self, levels: Sequence[float]) -> dict[str, float]:
        """Returns levels by the names of their degradation types."""
        return dict(zip(self.names, levels, strict=True))

    def ordered_levels(self, named: Mapping[str, float]) -> tuple[float, ...]:
        """Returns the level of each degradation type; one that is not named is at its zero level."""
        return tuple(named.get(one.name, one.zero_level) for one in self.types)

    def fine_captions(self, levels: Sequence[float]) -> tuple[str, ...]:
        """Returns a caption for each degradation type; for a type that does not occur, that of its zero level."""
        return tuple(one.caption(level) for one, level in zip(self.types, levels, strict=True))

    def whole_caption(self, levels: Sequence[float]) -> str:
        """Returns the captions of the degradation types that occur, joined by commas."""
        pairs = zip(self.types, levels, strict=True)
        return ', '.join(one.caption(level) for one, level in pairs if level != one.zero_level) or NO_DEGRADATION

    def captions(self, levels: Sequence[float], title: str | None = None) -> list[str]:
        """Returns the captions of a photo: semantic (``title`` or a fallback), whole degradation, then fine ones."""
        return [title or FALLBACK_TITLE, self.whole_caption(levels), *self.fine_captions(levels)]

    def parse_caption(self, text: str) -> tuple[str, float]:
        """Parses a fine caption into the name of its degradation type and its level.

        >>> level_table('nominal').parse_caption('jpeg with quality factor:57.4')
        ('jpeg', 57.4)
        >>> level_table('effective').parse_caption('no compression as the last step')
        ('codec_last', 0.0)

        Raises:
            ValueError: It is not a fine caption of this table.
        """
        match = _CAPTION.fullmatch(text.strip())
        prompt = match and (match['measured'] or match['plain'])
        for one in self.types:
            if match and one.prompt == prompt and one.measured == (match['level'] is not None):
                return one.name, float(match['level']) if one.measured else float(match['no'] is None)
        raise ValueError(f'expected a fine caption of {self.name} levels, such as {self._example!r}, got {text!r}')

    @property
    def _example(self) -> str:
        """The caption of a type that no other table has."""
        return self.types[1].caption(12.5)


_TABLES: Mapping[str, LevelTable] = {
    'effective': LevelTable('effective', EFFECTIVE_TYPES, effective_levels, needs_photo=True),
    'nominal': LevelTable('nominal', NOMINAL_TYPES, lambda record, _: record, needs_photo=False),
}


def level_table(name: LevelName) -> LevelTable:
    """Returns the table of effective or of nominal levels."""
    return _TABLES[name]
