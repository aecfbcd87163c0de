"""Photos with nothing or nearly nothing wrong, as most photos are: only shrunk, or with very mild noise and JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from deplsr_data.degradation.draws import MODES, choice, uniform
from deplsr_data.degradation.recipe_options import PlainNoiseRange, PlainQualityRange, Probability, ResizeModes
from deplsr_data.degradation.records import Jpeg, Noise, Record, Resize, Step

__all__ = ['CleanRecipe', 'draw_clean']


@dataclass(frozen=True)
class CleanRecipe:
    """Clean and nearly clean photos: shrunk; some with very mild Gaussian noise, JPEG of high quality, or both.

    A mixture without them harms photos that have nothing wrong.

    Attributes:
        type: ``clean``.
        identity_prob: Share of photos that are shrunk and nothing else; the others get noise, JPEG or both, each as
            often.
        resize_modes: Interpolations of the shrink, drawn evenly.
        antialias_prob: Share of antialiased shrinks among the bilinear and bicubic ones; ``area`` always averages.
        noise_range: Range of the Gaussian sigma, in grey levels of 255.
        gray_noise_prob: Share of noise that is equal in all channels.
        jpeg_range: Range of the quality factor.
        jpeg444_prob: Share of JPEGs that keep all of the colour (4:4:4); the others halve it (4:2:0).
        gt_usm: Sharpen GT before it is degraded; the sharpened GT is then the target.
    """

    type: Literal['clean'] = 'clean'
    identity_prob: Probability = 0.5
    resize_modes: ResizeModes = MODES
    antialias_prob: Probability = 0.8
    noise_range: PlainNoiseRange = (0.0, 2.0)
    gray_noise_prob: Probability = 0.4
    jpeg_range: PlainQualityRange = (90.0, 100.0)
    jpeg444_prob: Probability = 0.3
    gt_usm: bool = False
    largest_kernel: ClassVar[int] = 7


def draw_clean(recipe: CleanRecipe, scale: int, rng: np.random.Generator, gt_size: tuple[int, int]) -> Record:
    """Draws a shrink and, unless the photo stays clean, noise, JPEG or both.

    The arguments are those of :func:`deplsr_data.degradation.recipe_table.draw`.
    """
    u, seed = iter(rng.random(16).tolist()), int(rng.integers(2**32))
    mode, antialias = choice(u, recipe.resize_modes), next(u) < recipe.antialias_prob
    steps: list[Step] = [Resize(gt_size[0] // scale, gt_size[1] // scale, mode, antialias or mode == 'area')]
    identity, which = next(u) < recipe.identity_prob, choice(u, ('noise', 'jpeg', 'both'))
    noise = Noise('gaussian', uniform(u, *recipe.noise_range), next(u) < recipe.gray_noise_prob, seed)
    jpeg = Jpeg(uniform(u, *recipe.jpeg_range), '4:4:4' if next(u) < recipe.jpeg444_prob else '4:2:0')
    if not identity:
        steps += [noise] * (which != 'jpeg') + [jpeg] * (which != 'noise')
    return Record(scale, tuple(steps))
