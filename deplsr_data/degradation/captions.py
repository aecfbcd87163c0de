"""Captions of a record and of its levels, and levels parsed from captions; all from the table of degradation types."""

from __future__ import annotations

import re

from deplsr_data.degradation.records import Record
from deplsr_data.degradation.types import DEGRADATION_TYPES

__all__ = [
    'FALLBACK_TITLE',
    'NO_DEGRADATION',
    'captions',
    'fine_captions',
    'levels',
    'parse_caption',
    'whole_caption',
]

#: Semantic caption of a photo that has none.
FALLBACK_TITLE = 'a photo'
#: Whole degradation caption of a photo to which nothing was done.
NO_DEGRADATION = 'no degradation'

_CAPTION = re.compile(r'(?:(?P<measured>[a-z ]+):(?P<level>\d+(?:\.\d+)?)|(?P<no>no )?(?P<plain>[a-z ]+))')


def levels(record: Record) -> tuple[float, ...]:
    """Returns the level of each degradation type, in the order of ``DEGRADATION_TYPES``, rounded as in the captions."""
    return tuple(round(degradation_type.level_of(record), 1) for degradation_type in DEGRADATION_TYPES)


def fine_captions(record: Record) -> tuple[str, ...]:
    """Returns a caption for each degradation type; for a type that does not occur, that of its zero level."""
    pairs = zip(DEGRADATION_TYPES, levels(record), strict=True)
    return tuple(degradation_type.caption(level) for degradation_type, level in pairs)


def whole_caption(record: Record) -> str:
    """Returns the captions of the degradation types that occur, joined by commas."""
    pairs = zip(DEGRADATION_TYPES, levels(record), strict=True)
    present = [one.caption(level) for one, level in pairs if level != one.zero_level]
    return ', '.join(present) or NO_DEGRADATION


def captions(record: Record, title: str | None = None) -> list[str]:
    """Returns the captions of a photo: semantic (``title``, or a fallback), whole degradation, then the fine ones."""
    return [title or FALLBACK_TITLE, whole_caption(record), *fine_captions(record)]


def parse_caption(text: str) -> tuple[str, float]:
    """Parses a fine caption into the name of its degradation type and its level.

    >>> parse_caption('jpeg with quality factor:57.4')
    ('jpeg', 57.4)
    >>> parse_caption('no ringing and overshoot artifacts')
    ('ringing', 0.0)

    Raises:
        ValueError: It is not a fine caption.
    """
    match = _CAPTION.fullmatch(text.strip())
    prompt = match and (match['measured'] or match['plain'])
    for degradation_type in DEGRADATION_TYPES:
        if match and degradation_type.prompt == prompt and degradation_type.measured == (match['level'] is not None):
            level = float(match['level']) if degradation_type.measured else float(match['no'] is None)
            return degradation_type.name, level
    raise ValueError(f'expected a fine caption such as {DEGRADATION_TYPES[0].caption(1.2)!r}, got {text!r}')
