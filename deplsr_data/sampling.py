"""Draws records from recipes: the only place where a degradation meets chance."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from deplsr_data.recipes import SemanticRecipe
from deplsr_data.records import Blur, Jpeg, Noise, Record, Resize, Sinc, Step

__all__ = ['draw', 'rng_for']

_STREAMS = {'crop': 0, 'degradation': 1}


def rng_for(
    manual_seed: int, epoch: int, index: int, round: int, stream: Literal['crop', 'degradation']
) -> np.random.Generator:
    """Gives the generator of one sample, the same in whichever process it is asked for.

    Args:
        manual_seed: Seed of the run, 0 or more.
        epoch: Epoch of the sampler.
        index: Index of the sample in the data set.
        round: How often the index came before in this epoch (``dataset_enlarge_ratio`` above 1).
        stream: What is drawn; the streams of a sample are independent, so a change of crop leaves the record as it was.
    """
    key = (manual_seed, epoch, index, round, _STREAMS[stream])
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def draw(recipe: SemanticRecipe, scale: int, rng: np.random.Generator, gt_size: tuple[int, int]) -> Record:
    """Draws the degradation of one photo.

    Every number is drawn whether it is used or not, so that turning one operator off leaves the others as they were.

    Args:
        recipe: What to draw from.
        scale: Size of GT over that of LR.
        rng: Where all chance comes from.
        gt_size: Height and width of the clean picture, multiples of ``scale``.

    Raises:
        ValueError: ``gt_size`` is no multiple of ``scale``.
    """
    height, width = gt_size
    if height % scale or width % scale:
        raise ValueError(f'expected a gt_size that is a multiple of scale {scale}, got {height} x {width}')
    blur = _draw_blur(recipe, rng)
    noise, fresh_noise = _draw_noise(recipe, rng)
    after: list[Step] = []
    quality, with_jpeg = _tenth(rng, recipe.jpeg_range), rng.random() < recipe.jpeg_prob
    if with_jpeg:
        after.append(Jpeg(quality))
    sinc, with_sinc = _draw_sinc(recipe, rng), rng.random() < recipe.sinc_prob
    if with_sinc:
        after.append(sinc)

    shrink = Resize(height // scale, width // scale, recipe.resize_mode)
    second: list[Step] = []
    if recipe.second_order:
        second = [_shrunk(blur, scale) if recipe.resize == 'before_noise' else blur, fresh_noise]
    if recipe.resize == 'before_noise':
        return Record(scale, (blur, shrink, noise, *second, *after))
    return Record(scale, (blur, noise, *second, *after, shrink))


def _draw_blur(recipe: SemanticRecipe, rng: np.random.Generator) -> Blur:
    sigma = _tenth(rng, recipe.blur_sigma)
    anisotropic = rng.random() < recipe.aniso_prob
    stretch = math.exp(0.5 * rng.uniform(math.log(recipe.aniso_ratio[0]), math.log(recipe.aniso_ratio[1])))
    angle = rng.uniform(0.0, math.pi)
    if sigma == 0:
        return Blur(1, 0.0, 0.0)
    if not anisotropic:
        return Blur(_reach(sigma), sigma, sigma)
    return Blur(_reach(sigma * stretch), sigma * stretch, sigma / stretch, angle)


def _draw_noise(recipe: SemanticRecipe, rng: np.random.Generator) -> tuple[Noise, Noise]:
    """Draws a noise twice: equal levels, two fields."""
    gaussian = rng.random() < recipe.gaussian_noise_prob
    sigma, factor = _tenth(rng, recipe.noise_range), _tenth(rng, recipe.poisson_scale_range)
    gray = bool(rng.random() < recipe.gray_noise_prob)
    first, second = (int(seed) for seed in rng.integers(2**32, size=2))
    if gaussian:
        return Noise('gaussian', sigma, gray, first), Noise('gaussian', sigma, gray, second)
    return Noise('poisson', factor, gray, first), Noise('poisson', factor, gray, second)


def _draw_sinc(recipe: SemanticRecipe, rng: np.random.Generator) -> Sinc:
    size = int(rng.choice(recipe.sinc_kernel_size))
    low, high = recipe.sinc_cutoff
    return Sinc(size, min(math.pi, math.pi * rng.uniform(low, high)))


def _shrunk(blur: Blur, scale: int) -> Blur:
    """Gives the blur that is as wide on the LR picture as ``blur`` is on GT: its sigma stays the same in GT pixels."""
    sigma_x, sigma_y = blur.sigma_x / scale, blur.sigma_y / scale
    return Blur(_reach(max(sigma_x, sigma_y)), sigma_x, sigma_y, blur.angle, blur.family, blur.beta)


def _reach(sigma: float) -> int:
    """Kernel size that reaches three sigma to each side."""
    return 2 * math.ceil(3 * sigma) + 1


def _tenth(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """Draws evenly from the multiples of 0.1 within ``bounds``, both ends included."""
    low, high = math.ceil(bounds[0] * 10 - 1e-9), math.floor(bounds[1] * 10 + 1e-9)
    return int(rng.integers(low, high + 1)) / 10
