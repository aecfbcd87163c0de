"""Draws records from the semantic and Real-ESRGAN's recipe, with the random generator passed in.

Every number is drawn whether it is used or not, so that turning one operator off leaves the others as they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from deplsr_data.degradation.draws import MODES, choice, uniform
from deplsr_data.degradation.recipe_options import RealESRGANRecipe, SemanticRecipe, kernel_reach
from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize, Sinc, Step

__all__ = ['draw_realesrgan', 'draw_semantic', 'rng_for']

_STREAMS = {'crop': 0, 'degradation': 1, 'pool': 2, 'prior': 3}


def rng_for(
    manual_seed: int, epoch: int, index: int, round: int, stream: Literal['crop', 'degradation', 'pool', 'prior']
) -> np.random.Generator:
    """Returns the random generator of one sample; it is the same in every process.

    Args:
        manual_seed: Seed of the run, 0 or more.
        epoch: Epoch of the sampler.
        index: Index of the sample in the data set.
        round: How often the index came before in this epoch (``dataset_enlarge_ratio`` above 1).
        stream: What is drawn; the streams of a sample are independent, so a change of crop leaves the record as it was.
            ``pool`` is that of a process's training-pair pool, whose index is the rank; ``prior`` that of the prior's
            dropout, whose index is the iteration and whose round is the rank.
    """
    key = (manual_seed, epoch, index, round, _STREAMS[stream])
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def draw_semantic(recipe: SemanticRecipe, scale: int, rng: np.random.Generator, gt_size: tuple[int, int]) -> Record:
    """Draws blur, noise, JPEG and ringing with levels in steps of 0.1, which the captions name exactly.

    The arguments are those of :func:`deplsr_data.degradation.recipes.draw`.
    """
    blur = _draw_blur(recipe, rng)
    noise, fresh_noise = _draw_noise(recipe, rng)
    after: list[Step] = []
    quality, with_jpeg = _tenth(rng, recipe.jpeg_range), rng.random() < recipe.jpeg_prob
    if with_jpeg:
        after.append(Jpeg(quality))
    sinc, with_sinc = _draw_sinc(recipe, rng), rng.random() < recipe.sinc_prob
    if with_sinc:
        after.append(sinc)

    shrink = Resize(gt_size[0] // scale, gt_size[1] // scale, recipe.resize_mode)
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
        return Blur(kernel_reach(sigma), sigma, sigma)
    return Blur(kernel_reach(sigma * stretch), sigma * stretch, sigma / stretch, angle)


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
    """Returns the blur that is as wide on the LR image as ``blur`` is on GT: its sigma stays the same in GT pixels."""
    sigma_x, sigma_y = blur.sigma_x / scale, blur.sigma_y / scale
    return Blur(kernel_reach(max(sigma_x, sigma_y)), sigma_x, sigma_y, blur.angle, blur.family, blur.beta)


def _tenth(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """Draws evenly from the multiples of 0.1 within ``bounds``, both ends included."""
    low, high = math.ceil(bounds[0] * 10 - 1e-9), math.floor(bounds[1] * 10 + 1e-9)
    return int(rng.integers(low, high + 1)) / 10


def draw_realesrgan(recipe: RealESRGANRecipe, scale: int, rng: np.random.Generator, gt_size: tuple[int, int]) -> Record:
    """Draws two orders and the final sinc filter, with continuous levels.

    The arguments are those of :func:`deplsr_data.degradation.recipes.draw`. All numbers are drawn in two calls, since
    single calls take most of the time.
    """
    u = iter(rng.random(64).tolist())
    seeds = [int(seed) for seed in rng.integers(2**32, size=2)]
    lr_size = gt_size[0] // scale, gt_size[1] // scale
    steps: list[Step] = [
        _draw_kernel(recipe, '', u),
        _draw_resize(recipe.resize_prob, recipe.resize_range, gt_size, u),
        _draw_plain_noise(recipe, '', seeds[0], u),
        Jpeg(uniform(u, *recipe.jpeg_range)),
    ]
    with_blur, blur = next(u) < recipe.second_blur_prob, _draw_kernel(recipe, '2', u)
    steps += [blur] * with_blur
    steps += [
        _draw_resize(recipe.resize_prob2, recipe.resize_range2, lr_size, u),
        _draw_plain_noise(recipe, '2', seeds[1], u),
    ]
    last: list[Step] = [Resize(*lr_size, choice(u, MODES), antialias=False)]
    jpeg = Jpeg(uniform(u, *recipe.jpeg_range2))
    with_sinc, size, cutoff = next(u) < recipe.final_sinc_prob, _draw_size(21, u), uniform(u, math.pi / 3, math.pi)
    last += [Sinc(size, cutoff)] * with_sinc
    jpeg_last = next(u) < 0.5
    steps += [*last, jpeg] if jpeg_last else [jpeg, *last]
    return Record(scale, tuple(steps), named='total')


def _draw_kernel(recipe: RealESRGANRecipe, order: str, u: Iterator[float]) -> Blur | Sinc:
    size = _draw_size(getattr(recipe, f'blur_kernel_size{order}'), u)
    as_sinc, cutoff = next(u) < getattr(recipe, f'sinc_prob{order}'), next(u)
    name = choice(u, getattr(recipe, f'kernel_list{order}'), getattr(recipe, f'kernel_prob{order}'))
    low, high = getattr(recipe, f'blur_sigma{order}')
    sigma_x, sigma_y, angle = uniform(u, low, high), uniform(u, low, high), uniform(u, -math.pi, math.pi)
    betas = _draw_beta(getattr(recipe, f'betag_range{order}'), u), _draw_beta(getattr(recipe, f'betap_range{order}'), u)
    if as_sinc:
        lowest = math.pi / 3 if size < 13 else math.pi / 5  # small kernels cannot hold the low cutoffs
        return Sinc(size, lowest + cutoff * (math.pi - lowest))
    if not name.endswith('aniso'):
        sigma_y, angle = sigma_x, 0.0
    if name.startswith('generalized'):
        return Blur(size, sigma_x, sigma_y, angle, 'generalized', betas[0])
    if name.startswith('plateau'):
        return Blur(size, sigma_x, sigma_y, angle, 'plateau', betas[1])
    return Blur(size, sigma_x, sigma_y, angle)


def _draw_resize(
    weights: Sequence[float], factors: tuple[float, float], size: tuple[int, int], u: Iterator[float]
) -> Resize:
    """Draws up, down or keep, then how far; Real-ESRGAN's resizes do not antialias."""
    direction, how_far = choice(u, ('up', 'down', 'keep'), weights), next(u)
    ends = {'up': (1.0, factors[1]), 'down': (factors[0], 1.0), 'keep': (1.0, 1.0)}[direction]
    factor = ends[0] + how_far * (ends[1] - ends[0])
    return Resize(max(1, int(size[0] * factor)), max(1, int(size[1] * factor)), choice(u, MODES), antialias=False)


def _draw_plain_noise(recipe: RealESRGANRecipe, order: str, seed: int, u: Iterator[float]) -> Noise:
    gaussian = next(u) < getattr(recipe, f'gaussian_noise_prob{order}')
    sigma = uniform(u, *getattr(recipe, f'noise_range{order}'))
    factor = uniform(u, *getattr(recipe, f'poisson_scale_range{order}'))
    gray = next(u) < getattr(recipe, f'gray_noise_prob{order}')
    return Noise('gaussian', sigma, gray, seed) if gaussian else Noise('poisson', factor, gray, seed)


def _draw_beta(bounds: tuple[float, float], u: Iterator[float]) -> float:
    low, high = (bounds[0], 1.0) if next(u) < 0.5 else (1.0, bounds[1])
    return uniform(u, low, high)


def _draw_size(largest: int, u: Iterator[float]) -> int:
    """Draws evenly from the odd sizes of 7 to ``largest``."""
    return 7 + 2 * int(next(u) * ((largest - 7) // 2 + 1))
