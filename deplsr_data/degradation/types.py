"""The one table of degradation types: names, prompts, levels and how a level is computed from a record.

Captions, levels, the order of the fine embeddings and the evaluation follow from :data:`DEGRADATION_TYPES`;
:func:`register_degradation_type` adds a row.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deplsr_data.degradation.operators import kernel_of
from deplsr_data.degradation.records import Blur, ChromaNoise, Codec, Jpeg, Noise, Record, Resize, Sinc

__all__ = [
    'DEGRADATION_TYPES',
    'DegradationType',
    'blur_level',
    'degradation_type_names',
    'jpeg_level',
    'kernel_standard_deviation',
    'noise_level',
    'register_degradation_type',
    'ringing_level',
]


@dataclass(frozen=True, kw_only=True)
class DegradationType:
    """A row of the table.

    Attributes:
        name: What options and metrics call it.
        prompt: Text of its caption before the level; the complete caption if it is not measured.
        zero_level: The level that means "does not occur".
        evaluation_levels: Levels that are compared with each other when a degradation estimator is evaluated.
        training_levels: Evenly spaced levels, lowest first, whose texts an estimate is compared with in training.
        tolerance: An estimate nearer than this to the true level counts as correct.
        level_of: Returns the level in a record; captions round it to one decimal.
        measured: Whether the level is a number. If not, it is 0 (``no <prompt>``) or 1 (``<prompt>``).
    """

    name: str
    prompt: str
    zero_level: float
    evaluation_levels: tuple[float, ...]
    training_levels: tuple[float, ...]
    tolerance: float
    level_of: Callable[[Record], float]
    measured: bool = True

    def caption(self, level: float) -> str:
        """Returns the caption of a level, with one decimal."""
        if self.measured:
            return f'{self.prompt}:{level:.1f}'
        return self.prompt if level else f'no {self.prompt}'


#: All degradation types, in the order of the fine captions, the fine embeddings and the levels.
DEGRADATION_TYPES: list[DegradationType] = []


def register_degradation_type(degradation_type: DegradationType) -> None:
    """Adds a type at the end of :data:`DEGRADATION_TYPES`.

    Captions and levels have an entry more from then on, so call it when a plug-in is imported, before any data set or
    network is built. Networks use the first ``num_degradation_types``, so that earlier checkpoints keep working; set
    it to 6 in ``network_da`` and ``network_g`` for the new type.

    Raises:
        ValueError: Its name or prompt is taken, the prompt could not be parsed out of a caption, or its training levels
            are not evenly spaced.
    """
    for other in DEGRADATION_TYPES:
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
    DEGRADATION_TYPES.append(degradation_type)


def degradation_type_names() -> tuple[str, ...]:
    """Returns the names of all degradation types, in order."""
    return tuple(degradation_type.name for degradation_type in DEGRADATION_TYPES)


def blur_level(record: Record) -> float:
    """Returns the sigma of the blur, in GT pixels.

    - Records of the semantic recipe (``named: first``): the first blur, the geometric mean of its sigmas.
    - Records of Real-ESRGAN's (``named: total``): all blurs together, as variances of blurs in a row add. The standard
      deviation of each is measured on its kernel, since a kernel of 7 taps cannot be as wide as a sigma of 3, and the
      sigma of a plateau is not its standard deviation; it is brought to GT pixels by the size of the image at that
      step. A sinc filter in the place of a blur counts with the sigma of the Gaussian that halves the same frequency.
    """
    if record.named == 'total':
        return _total_blur(record)
    return next((step.sigma for step in record.steps if isinstance(step, Blur)), 0.0)


def noise_level(distribution: str) -> Callable[[Record], float]:
    """Returns a function that returns the level of the last noise of a distribution: the one nearest to the result.

    The last chroma noise counts as Gaussian noise; variances add.
    """

    def level_of(record: Record) -> float:
        found = [step.level for step in record.steps if isinstance(step, Noise) and step.distribution == distribution]
        chroma = [step.level for step in record.steps if isinstance(step, ChromaNoise) and distribution == 'gaussian']
        return math.hypot(*found[-1:], *chroma[-1:]) if chroma else found[-1] if found else 0.0

    return level_of


def jpeg_level(record: Record) -> float:
    """Returns the quality factor of the last JPEG, the one nearest to the result; 100 if there is none.

    Another codec counts as the JPEG that changes photos as much (:mod:`deplsr_data.ops.codecs`).
    """
    return next((step.jpeg_quality for step in reversed(record.steps) if isinstance(step, (Jpeg, Codec))), 100.0)


def ringing_level(record: Record) -> float:
    """Returns 1 if a sinc filter with a cutoff below pi follows the last noise, else 0.

    The ringing of an earlier one is smoothed by the steps that follow.
    """
    final = record.steps[_final(record) :]
    return float(any(isinstance(step, Sinc) and step.omega_c < math.pi for step in final))


def _final(record: Record) -> int:
    """Returns the index of the first step after the last noise."""
    return max((place + 1 for place, step in enumerate(record.steps) if isinstance(step, Noise)), default=0)


def _total_blur(record: Record) -> float:
    """Returns the sigma, in GT pixels, of all blurs in a row; the final sinc filter does not count."""
    resizes = [step for step in record.steps if isinstance(step, Resize)]
    lr_area = resizes[-1].height * resizes[-1].width if resizes else 1
    variance = 0.0
    pixel_area = 1.0  # in GT pixels
    for place, step in enumerate(record.steps):
        if isinstance(step, Resize):
            pixel_area = record.scale**2 * lr_area / (step.height * step.width)
        elif isinstance(step, Blur):
            variance += kernel_standard_deviation(step) ** 2 * pixel_area
        elif isinstance(step, Sinc) and place < _final(record):
            variance += 2 * math.log(2) / step.omega_c**2 * pixel_area
    return math.sqrt(variance)


def kernel_standard_deviation(blur: Blur) -> float:
    """Returns the standard deviation of a blur's kernel, cut to its size: the geometric mean over its two axes."""
    if not blur.sigma:
        return 0.0
    kernel = kernel_of(blur)
    place = np.arange(blur.kernel_size) - blur.kernel_size // 2
    xx, yy, xy = kernel.sum(0) @ place**2, kernel.sum(1) @ place**2, place @ kernel @ place
    return float(max(xx * yy - xy**2, 0.0) ** 0.25)


register_degradation_type(
    DegradationType(
        name='blur',
        prompt='blur with sigma',
        zero_level=0.0,
        evaluation_levels=(0.0, 1.0, 2.0, 3.0),
        training_levels=tuple(0.25 * i for i in range(13)),
        tolerance=0.5,
        level_of=blur_level,
    )
)
register_degradation_type(
    DegradationType(
        name='gaussian',
        prompt='gaussian noise with sigma',
        zero_level=0.0,
        evaluation_levels=(0.0, 15.0, 30.0),
        training_levels=tuple(2.5 * i for i in range(13)),
        tolerance=10.0,
        level_of=noise_level('gaussian'),
    )
)
register_degradation_type(
    DegradationType(
        name='poisson',
        prompt='poisson noise with scale',
        zero_level=0.0,
        evaluation_levels=(0.0, 1.0, 2.0, 3.0),
        training_levels=tuple(0.25 * i for i in range(13)),
        tolerance=0.5,
        level_of=noise_level('poisson'),
    )
)
register_degradation_type(
    DegradationType(
        name='jpeg',
        prompt='jpeg with quality factor',
        zero_level=100.0,
        evaluation_levels=(30.0, 50.0, 70.0, 90.0),
        training_levels=tuple(30.0 + 5 * i for i in range(15)),
        tolerance=10.0,
        level_of=jpeg_level,
    )
)
register_degradation_type(
    DegradationType(
        name='ringing',
        prompt='ringing and overshoot artifacts',
        zero_level=0.0,
        evaluation_levels=(0.0, 1.0),
        training_levels=(0.0, 1.0),
        tolerance=0.5,
        level_of=ringing_level,
        measured=False,
    )
)
