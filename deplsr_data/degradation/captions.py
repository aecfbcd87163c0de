"""A record in words, and words back to levels: the one table of degradation types."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize, Sinc
from deplsr_data.ops.kernels import blur_kernel

__all__ = [
    'DEGRADATION_TYPES',
    'DEGRADATION_TYPE_NAMES',
    'FALLBACK_TITLE',
    'DegradationType',
    'captions',
    'fine_captions',
    'levels',
    'parse_caption',
    'spread',
    'whole_caption',
]

#: Semantic caption of a photo that has none.
FALLBACK_TITLE = 'a photo'
#: Whole degradation caption of a photo to which nothing was done.
NO_DEGRADATION = 'no degradation'


@dataclass(frozen=True)
class DegradationType:
    """A degradation type.

    Attributes:
        name: What options and metrics call it.
        prompt: Its words before the level, or all of them where it is only there or not.
        zero: The level that says "none of it".
        evaluation_levels: Levels that a reading of the degradation type is asked for.
        training_levels: Evenly spaced levels that training tells apart.
        tolerance: A reading nearer than this to the true level is right.
        measured: Whether it has a level in numbers; without one the level is 0 (``no <prompt>``) or 1.
    """

    name: str
    prompt: str
    zero: float
    evaluation_levels: tuple[float, ...]
    training_levels: tuple[float, ...]
    tolerance: float
    measured: bool = True

    @property
    def zero_level(self) -> float:
        """The level without any degradation of this type."""
        return self.zero

    def caption(self, level: float) -> str:
        """Returns the caption of a level, with one decimal."""
        return self.say(level)

    def say(self, level: float) -> str:
        """Returns the caption of a level, with one decimal."""
        if self.measured:
            return f'{self.prompt}:{level:.1f}'
        return self.prompt if level else f'no {self.prompt}'


#: All degradation types, in the order of the fine captions, the fine embeddings and the levels.
_QUARTERS = tuple(0.25 * i for i in range(13))
DEGRADATION_TYPES: tuple[DegradationType, ...] = (
    DegradationType('blur', 'blur with sigma', 0.0, (0.0, 1.0, 2.0, 3.0), _QUARTERS, 0.5),
    DegradationType(
        'gaussian', 'gaussian noise with sigma', 0.0, (0.0, 15.0, 30.0), tuple(2.5 * i for i in range(13)), 10.0
    ),
    DegradationType('poisson', 'poisson noise with scale', 0.0, (0.0, 1.0, 2.0, 3.0), _QUARTERS, 0.5),
    DegradationType(
        'jpeg',
        'jpeg with quality factor',
        100.0,
        (30.0, 50.0, 70.0, 90.0),
        tuple(30.0 + 5 * i for i in range(15)),
        10.0,
    ),
    DegradationType('ringing', 'ringing and overshoot artifacts', 0.0, (0.0, 1.0), (0.0, 1.0), 0.5, measured=False),
)
DEGRADATION_TYPE_NAMES: tuple[str, ...] = tuple(degradation_type.name for degradation_type in DEGRADATION_TYPES)
_BY_PROMPT = {degradation_type.prompt: degradation_type for degradation_type in DEGRADATION_TYPES}
_CAPTION = re.compile(r'(?:(?P<measured>[a-z ]+):(?P<level>\d+(?:\.\d+)?)|(?P<no>no )?(?P<plain>[a-z ]+))')


def levels(record: Record) -> tuple[float, float, float, float, float]:
    """Returns the level of each degradation type, in the order of :data:`DEGRADATION_TYPES`, to one decimal, as the captions say it.

    Where a degradation type comes twice, noise (each of its two degradation types) and JPEG are named by the last step, which is nearest to the
    image that comes out. Blur is named in GT pixels:

    - records of the semantic recipe (``named: first``): by the first blur, the geometric mean of its sigmas;
    - Real-ESRGAN's (``named: total``): by all blurs together, as variances of blurs in a row add. Of each the spread is
      measured on its kernel, since a kernel of 7 taps cannot be as wide as a sigma of 3, nor is the sigma of a plateau
      its spread; it is brought to GT pixels by the size of the image at that step. A sinc filter in the place of a
      blur counts with the sigma of the Gaussian that halves the same frequency.

    Ringing is there where a sinc filter with a cutoff below pi comes after the last noise. An earlier one is smoothed
    over by the steps behind it.
    """
    found = {degradation_type.name: degradation_type.zero for degradation_type in DEGRADATION_TYPES}
    found['blur'] = round(_total_blur(record) if record.named == 'total' else _first_blur(record), 1)
    for step in record.steps:
        if isinstance(step, Noise):
            found[step.distribution] = round(step.level, 1)
        elif isinstance(step, Jpeg):
            found['jpeg'] = round(step.quality, 1)
    final = record.steps[_final(record) :]
    found['ringing'] = float(any(isinstance(step, Sinc) and step.omega_c < math.pi for step in final))
    return found['blur'], found['gaussian'], found['poisson'], found['jpeg'], found['ringing']


def _final(record: Record) -> int:
    """Returns the place of the first step after the last noise."""
    return max((place + 1 for place, step in enumerate(record.steps) if isinstance(step, Noise)), default=0)


def _first_blur(record: Record) -> float:
    return next((step.sigma for step in record.steps if isinstance(step, Blur)), 0.0)


def _total_blur(record: Record) -> float:
    """Returns the sigma, in GT pixels, of all blurs in a row; the final sinc filter is none of them."""
    resizes = [step for step in record.steps if isinstance(step, Resize)]
    lr_area = resizes[-1].height * resizes[-1].width if resizes else 1
    variance = 0.0
    pixel_area = 1.0  # in GT pixels
    for place, step in enumerate(record.steps):
        if isinstance(step, Resize):
            pixel_area = record.scale**2 * lr_area / (step.height * step.width)
        elif isinstance(step, Blur):
            variance += spread(step) ** 2 * pixel_area
        elif isinstance(step, Sinc) and place < _final(record):
            variance += 2 * math.log(2) / step.omega_c**2 * pixel_area
    return math.sqrt(variance)


def spread(blur: Blur) -> float:
    """Returns the standard deviation of a blur's kernel as it is, cut to its size: the geometric mean over its axes."""
    if not blur.sigma:
        return 0.0
    kernel = blur_kernel(blur.kernel_size, blur.sigma_x, blur.sigma_y, blur.angle, blur.family, blur.beta)
    place = np.arange(blur.kernel_size) - blur.kernel_size // 2
    xx, yy, xy = kernel.sum(0) @ place**2, kernel.sum(1) @ place**2, place @ kernel @ place
    return float(max(xx * yy - xy**2, 0.0) ** 0.25)


def fine_captions(record: Record) -> tuple[str, ...]:
    """Returns one caption for each of the five degradation types; a degradation type that does not occur is said with its zero level."""
    return tuple(
        degradation_type.say(level) for degradation_type, level in zip(DEGRADATION_TYPES, levels(record), strict=True)
    )


def whole_caption(record: Record) -> str:
    """Returns the captions of the degradation types that occur, joined by commas."""
    said = [
        degradation_type.say(level)
        for degradation_type, level in zip(DEGRADATION_TYPES, levels(record), strict=True)
        if level != degradation_type.zero
    ]
    return ', '.join(said) or NO_DEGRADATION


def captions(record: Record, title: str | None = None) -> list[str]:
    """Returns the seven captions of a photo: semantic (``title``, or a fallback), whole degradation, five fine ones."""
    return [title or FALLBACK_TITLE, whole_caption(record), *fine_captions(record)]


def parse_caption(text: str) -> tuple[str, float]:
    """Reads a fine caption back to the name of its degradation type and its level.

    >>> parse_caption('jpeg with quality factor:57.4')
    ('jpeg', 57.4)
    >>> parse_caption('no ringing and overshoot artifacts')
    ('ringing', 0.0)

    Raises:
        ValueError: It is no fine caption.
    """
    match = _CAPTION.fullmatch(text.strip())
    if match:
        degradation_type = _BY_PROMPT.get(match['measured'] or match['plain'])
        if degradation_type and degradation_type.measured == (match['level'] is not None):
            return degradation_type.name, float(match['level']) if degradation_type.measured else float(
                match['no'] is None
            )
    raise ValueError(f'expected a fine caption such as {DEGRADATION_TYPES[0].say(1.2)!r}, got {text!r}')
