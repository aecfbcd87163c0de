"""The degradation types: names, prompts, levels and how a level is computed.

There are two tables, of which option ``levels`` selects one (:mod:`deplsr_data.degradation.level_tables`):
:data:`EFFECTIVE_TYPES`, what an LR image shows, and :data:`NOMINAL_TYPES`, what was set at the steps, as published.
:func:`register_degradation_type` adds a row to both.

The first five rows of both tables have the order of the published networks' embeddings. The direction and the
anisotropy of a blur (:class:`~deplsr_data.degradation.effective.EffectiveLevels`) have no row and no caption.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from deplsr_data.degradation.effective import EffectiveLevels
from deplsr_data.degradation.nominal import blur_level, jpeg_level, noise_level, ringing_level
from deplsr_data.degradation.records import Record

__all__ = [
    'EFFECTIVE_TYPES',
    'NOMINAL_TYPES',
    'REGISTERED_TYPES',
    'DegradationType',
    'register_degradation_type',
]

Source = TypeVar('Source')
_LEAST_NOISE = 0.5  # grey levels; the correlation of weaker noise cannot be seen


@dataclass(frozen=True, kw_only=True)
class DegradationType(Generic[Source]):
    """A row of a table.

    Attributes:
        name: What options and metrics call it.
        prompt: Text of its caption before the level; the complete caption if it is not measured.
        zero_level: The level that means "does not occur".
        evaluation_levels: Levels that are compared with each other when a degradation estimator is evaluated.
        training_levels: Evenly spaced levels, lowest first, whose texts an estimate is compared with in training.
        tolerance: An estimate nearer than this to the true level counts as correct.
        level_of: Returns the level from a record, or, in the rows of :data:`EFFECTIVE_TYPES`, from its effective
            levels; captions round it to one decimal.
        measured: Whether the level is a number. If not, it is 0 (``no <prompt>``) or 1 (``<prompt>``).
        root: Whether estimators that work with numbers take the square root of the level, so that levels near 0, where
            a difference shows more, are further apart; only with lowest level 0.
    """

    name: str
    prompt: str
    zero_level: float
    evaluation_levels: tuple[float, ...]
    training_levels: tuple[float, ...]
    tolerance: float
    level_of: Callable[[Source], float]
    measured: bool = True
    root: bool = False

    def caption(self, level: float) -> str:
        """Returns the caption of a level, with one decimal."""
        if self.measured:
            return f'{self.prompt}:{level:.1f}'
        return self.prompt if level else f'no {self.prompt}'


def _steps(low: float, high: float, step: float) -> tuple[float, ...]:
    """Returns the evenly spaced levels from ``low`` to ``high``."""
    return tuple(float(low + step * place) for place in range(round((high - low) / step) + 1))


#: What is set at the steps of a record, as published.
NOMINAL_TYPES: tuple[DegradationType[Record], ...] = (
    DegradationType(
        name='blur',
        prompt='blur with sigma',
        zero_level=0.0,
        evaluation_levels=(0.0, 1.0, 2.0, 3.0),
        training_levels=_steps(0, 3, 0.25),
        tolerance=0.5,
        level_of=blur_level,
    ),
    DegradationType(
        name='gaussian',
        prompt='gaussian noise with sigma',
        zero_level=0.0,
        evaluation_levels=(0.0, 15.0, 30.0),
        training_levels=_steps(0, 30, 2.5),
        tolerance=10.0,
        level_of=noise_level('gaussian'),
    ),
    DegradationType(
        name='poisson',
        prompt='poisson noise with scale',
        zero_level=0.0,
        evaluation_levels=(0.0, 1.0, 2.0, 3.0),
        training_levels=_steps(0, 3, 0.25),
        tolerance=0.5,
        level_of=noise_level('poisson'),
    ),
    DegradationType(
        name='jpeg',
        prompt='jpeg with quality factor',
        zero_level=100.0,
        evaluation_levels=(30.0, 50.0, 70.0, 90.0),
        training_levels=_steps(30, 100, 5),
        tolerance=10.0,
        level_of=jpeg_level,
    ),
    DegradationType(
        name='ringing',
        prompt='ringing and overshoot artifacts',
        zero_level=0.0,
        evaluation_levels=(0.0, 1.0),
        training_levels=(0.0, 1.0),
        tolerance=0.5,
        level_of=ringing_level,
        measured=False,
    ),
)


def _grain(shown: EffectiveLevels) -> float:
    return 100 * max(0.0, shown.correlation) if shown.noise >= _LEAST_NOISE else 0.0


#: What the LR image shows; blur in GT pixels, noise and compression in grey levels of 255.
EFFECTIVE_TYPES: tuple[DegradationType[EffectiveLevels], ...] = (
    DegradationType(
        name='blur',
        prompt='blur with sigma',
        zero_level=0.0,
        evaluation_levels=(0.0, 2.0, 4.0, 6.0),
        training_levels=_steps(0, 16, 1),
        tolerance=1.0,
        level_of=lambda shown: shown.blur,
        root=True,
    ),
    DegradationType(
        name='noise',
        prompt='noise with sigma',
        zero_level=0.0,
        evaluation_levels=(0.0, 10.0, 20.0, 30.0),
        training_levels=_steps(0, 40, 2.5),
        tolerance=5.0,
        level_of=lambda shown: shown.noise,
        root=True,
    ),
    DegradationType(
        name='grain',
        prompt='noise correlation in percent',
        zero_level=0.0,
        evaluation_levels=(0.0, 50.0, 100.0),
        training_levels=_steps(0, 100, 10),
        tolerance=20.0,
        level_of=_grain,
    ),
    DegradationType(
        name='jpeg',
        prompt='jpeg with quality factor',
        zero_level=100.0,
        evaluation_levels=(30.0, 50.0, 70.0, 90.0),
        training_levels=_steps(30, 100, 5),
        tolerance=10.0,
        level_of=lambda shown: shown.quality,
    ),
    DegradationType(
        name='ringing',
        prompt='ringing in percent',
        zero_level=0.0,
        evaluation_levels=(0.0, 35.0, 70.0),
        training_levels=_steps(0, 70, 10),
        tolerance=20.0,
        level_of=lambda shown: 100 * shown.ringing,
    ),
    DegradationType(
        name='compression',
        prompt='compression error with sigma',
        zero_level=0.0,
        evaluation_levels=(0.0, 5.0, 10.0, 20.0),
        training_levels=_steps(0, 20, 2),
        tolerance=4.0,
        level_of=lambda shown: shown.compression,
        root=True,
    ),
    DegradationType(
        name='color_noise',
        prompt='color noise with sigma',
        zero_level=0.0,
        evaluation_levels=(0.0, 15.0, 30.0),
        training_levels=_steps(0, 40, 4),
        tolerance=6.0,
        level_of=lambda shown: shown.color_noise,
        root=True,
    ),
    DegradationType(
        name='codec_last',
        prompt='compression as the last step',
        zero_level=0.0,
        evaluation_levels=(0.0, 1.0),
        training_levels=(0.0, 1.0),
        tolerance=0.5,
        level_of=lambda shown: float(shown.codec_last),
        measured=False,
    ),
)

#: Rows that plug-ins have added, at the end of both tables.
REGISTERED_TYPES: list[DegradationType[Record]] = []


def register_degradation_type(degradation_type: DegradationType[Record]) -> None:
    """Adds a type at the end of both tables; its ``level_of`` returns the level from a record.

    Captions and levels have an entry more from then on, so call it when a plug-in is imported, before any data set or
    network is built. Networks use the first ``num_degradation_types``, so that earlier checkpoints keep working; for
    the new type, add 1 to it in ``network_da`` and ``network_g`` (9 with effective levels, 6 with nominal ones).

    Raises:
        ValueError: Its name or prompt is taken, the prompt could not be parsed out of a caption, or its training levels
            are not evenly spaced.
    """
    rows: tuple[DegradationType[Any], ...] = (*NOMINAL_TYPES, *EFFECTIVE_TYPES, *REGISTERED_TYPES)
    for other in rows:
        if degradation_type.name == other.name or degradation_type.prompt == other.prompt:
            raise ValueError(f'expected a new name and prompt, got those of {other.name!r}; choose others')
    if not re.fullmatch('[a-z ]+', degradation_type.prompt) or degradation_type.prompt.startswith('no '):
        raise ValueError(
            f"expected a prompt of the letters a to z and blanks that does not begin with 'no', got "
            f'{degradation_type.prompt!r}; choose another'
        )
    known = degradation_type.training_levels
    steps = [high - low for low, high in itertools.pairwise(known)]
    if not steps or min(steps) <= 0 or max(steps) - min(steps) > 1e-6:
        raise ValueError(
            f'expected two or more evenly spaced training_levels, lowest first, got {known}; such as (0.0, 0.5, 1.0)'
        )
    REGISTERED_TYPES.append(degradation_type)
