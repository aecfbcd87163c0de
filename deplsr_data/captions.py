"""A record in words, and words back to levels: the one table of degradation kinds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deplsr_data.records import Blur, Jpeg, Noise, Record, Sinc

__all__ = [
    'FALLBACK_TITLE',
    'KINDS',
    'KIND_NAMES',
    'Kind',
    'captions',
    'evaluation_levels',
    'evaluation_texts',
    'fine_captions',
    'kind_of',
    'levels',
    'parse_caption',
    'whole_caption',
]

#: Semantic caption of a photo that has none.
FALLBACK_TITLE = 'a photo'
#: Whole degradation caption of a photo to which nothing was done.
NO_DEGRADATION = 'no degradation'


@dataclass(frozen=True)
class Kind:
    """A kind of degradation.

    Attributes:
        name: What options and metrics call it.
        prompt: Its words before the level, or all of them where it is only there or not.
        zero: The level that says "none of it".
        evaluation_levels: Levels that a reading of the kind is asked for.
        tolerance: A reading nearer than this to the true level is right.
        measured: Whether it has a level in numbers; without one the level is 0 (``no <prompt>``) or 1.
    """

    name: str
    prompt: str
    zero: float
    evaluation_levels: tuple[float, ...]
    tolerance: float
    measured: bool = True

    def say(self, level: float) -> str:
        """Gives the caption of a level, with one decimal."""
        if self.measured:
            return f'{self.prompt}:{level:.1f}'
        return self.prompt if level else f'no {self.prompt}'


#: All kinds, in the order of the fine captions, the fine embeddings and the levels.
KINDS: tuple[Kind, ...] = (
    Kind('blur', 'blur with sigma', 0.0, (0.0, 1.0, 2.0, 3.0), 0.5),
    Kind('gaussian', 'gaussian noise with sigma', 0.0, (0.0, 15.0, 30.0), 10.0),
    Kind('poisson', 'poisson noise with scale', 0.0, (0.0, 1.0, 2.0, 3.0), 0.5),
    Kind('jpeg', 'jpeg with quality factor', 100.0, (30.0, 50.0, 70.0, 90.0), 10.0),
    Kind('ringing', 'ringing and overshoot artifacts', 0.0, (0.0, 1.0), 0.5, measured=False),
)
KIND_NAMES: tuple[str, ...] = tuple(kind.name for kind in KINDS)
_BY_NAME = {kind.name: kind for kind in KINDS}
_BY_PROMPT = {kind.prompt: kind for kind in KINDS}
_CAPTION = re.compile(r'(?:(?P<measured>[a-z ]+):(?P<level>\d+(?:\.\d+)?)|(?P<no>no )?(?P<plain>[a-z ]+))')


def kind_of(name: str) -> Kind:
    """Gives the kind of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in _BY_NAME:
        raise ValueError(f'expected a kind of {list(KIND_NAMES)}, got {name!r}')
    return _BY_NAME[name]


def levels(record: Record) -> tuple[float, float, float, float, float]:
    """Gives the level of each kind, in the order of :data:`KINDS`, to one decimal, as the captions say it.

    Where a kind comes twice, blur is named by the first, which acts at GT size (its sigma is in GT pixels), and noise
    and JPEG by the last, which is nearest to the picture that comes out. A blur's level is the geometric mean of its
    sigmas.
    """
    found = {kind.name: kind.zero for kind in KINDS}
    blurs = [step for step in record.steps if isinstance(step, Blur)]
    if blurs:
        found['blur'] = round(blurs[0].sigma, 1)
    for step in record.steps:
        if isinstance(step, Noise):
            found[step.kind] = round(step.level, 1)
        elif isinstance(step, Jpeg):
            found['jpeg'] = round(step.quality, 1)
        elif isinstance(step, Sinc):
            found['ringing'] = 1.0
    return found['blur'], found['gaussian'], found['poisson'], found['jpeg'], found['ringing']


def fine_captions(record: Record) -> tuple[str, ...]:
    """Gives one caption for each of the five kinds; a kind that does not occur is said with its zero level."""
    return tuple(kind.say(level) for kind, level in zip(KINDS, levels(record), strict=True))


def whole_caption(record: Record) -> str:
    """Gives the captions of the kinds that occur, joined by commas."""
    said = [kind.say(level) for kind, level in zip(KINDS, levels(record), strict=True) if level != kind.zero]
    return ', '.join(said) or NO_DEGRADATION


def captions(record: Record, title: str | None = None) -> list[str]:
    """Gives the seven captions of a photo: semantic (``title``, or a fallback), whole degradation, five fine ones."""
    return [title or FALLBACK_TITLE, whole_caption(record), *fine_captions(record)]


def parse_caption(text: str) -> tuple[str, float]:
    """Reads a fine caption back to the name of its kind and its level.

    >>> parse_caption('jpeg with quality factor:57.4')
    ('jpeg', 57.4)
    >>> parse_caption('no ringing and overshoot artifacts')
    ('ringing', 0.0)

    Raises:
        ValueError: It is no fine caption.
    """
    match = _CAPTION.fullmatch(text.strip())
    if match:
        kind = _BY_PROMPT.get(match['measured'] or match['plain'])
        if kind and kind.measured == (match['level'] is not None):
            return kind.name, float(match['level']) if kind.measured else float(match['no'] is None)
    raise ValueError(f'expected a fine caption such as {KINDS[0].say(1.2)!r}, got {text!r}')


def evaluation_levels(kind: str) -> tuple[float, ...]:
    """Gives the levels that :func:`evaluation_texts` asks for, in the same order."""
    return kind_of(kind).evaluation_levels


def evaluation_texts(kind: str) -> list[str]:
    """Gives the texts that a reading of ``kind`` is compared with, one per level, worded as in training."""
    return [f'A photo with {kind_of(kind).say(level)}' for level in kind_of(kind).evaluation_levels]
