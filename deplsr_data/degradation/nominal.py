"""Nominal levels: what was set at the steps of a record, as published.

They describe the LR image of the semantic recipe well, and that of a long chain poorly; see
:mod:`deplsr_data.degradation.effective`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from deplsr_data.degradation.operators import kernel_of
from deplsr_data.degradation.records import Blur, ChromaNoise, Codec, Jpeg, Noise, Record, Resize, Sinc

__all__ = ['blur_level', 'jpeg_level', 'kernel_standard_deviation', 'noise_level', 'ringing_level']


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
