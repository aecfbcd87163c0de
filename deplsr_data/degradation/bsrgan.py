"""BSRGAN's degradation: the usual steps in a random order, so that no order is the one that a network expects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from deplsr_data.degradation.draws import MODES, choice, uniform
from deplsr_data.degradation.recipe_options import PlainNoiseRange, PlainQualityRange, Probability
from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize, Step

__all__ = ['BSRGANRecipe', 'draw_bsrgan']

_KERNELS = (7, 25)  # odd sizes, drawn evenly
_SMALLEST_SIGMA = 0.01


@dataclass(frozen=True)
class BSRGANRecipe:
    """BSRGAN's degradation: two blurs, two resizes, Gaussian noise and JPEG in random order, then a last JPEG.

    The first resize is by a random factor of 1 to twice the scale, or keeps every scale-th pixel after a Gaussian blur;
    the second, always after it, leads to the size of the LR image: up, where the first has gone further. Of the
    published steps two are left out: the noise of a processed camera sensor, which needs a network, and Gaussian noise
    with a random covariance of the channels (a fifth of all), in place of which colour and gray noise are drawn.
    Levels are drawn from all numbers of a range, not only the whole ones.

    Source: Designing a Practical Degradation Model for Deep Blind Image Super-Resolution (ICCV 2021), and the defaults
    of its published code.

    Attributes:
        type: ``bsrgan``.
        halve_prob: At scale 4, share of photos that are halved before everything else.
        blur_factor: Factor on the widths of the blurs: the sigma of isotropic ones is below 2 + scale / 5, both
            variances of anisotropic ones are below 4 + scale.
        aniso_prob: Share of anisotropic blurs.
        random_shrink_prob: Share of first resizes by a random factor; the others blur and keep every scale-th pixel.
        noise_range: Range of the Gaussian sigma, in grey levels of 255.
        gray_noise_prob: Share of noise that is equal in all channels.
        jpeg_prob: Share of photos that get the JPEG in between.
        jpeg_range: Range of both quality factors.
        gt_usm: Sharpen GT before it is degraded; the sharpened GT is then the target.
    """

    type: Literal['bsrgan'] = 'bsrgan'
    halve_prob: Probability = 0.25
    blur_factor: Annotated[float, Field(gt=0, le=2)] = 1.0
    aniso_prob: Probability = 0.5
    random_shrink_prob: Probability = 0.75
    noise_range: PlainNoiseRange = (2.0, 25.0)
    gray_noise_prob: Probability = 0.5
    jpeg_prob: Probability = 0.9
    jpeg_range: PlainQualityRange = (30.0, 95.0)
    gt_usm: bool = False
    largest_kernel: ClassVar[int] = _KERNELS[1]
    rounds: ClassVar[int] = 5


def draw_bsrgan(recipe: BSRGANRecipe, scale: int, rng: np.random.Generator, gt_size: tuple[int, int]) -> Record:
    """Draws all steps, then their order.

    The arguments are those of :func:`deplsr_data.degradation.recipe_table.draw`.
    """
    u, seed = iter(rng.random(48).tolist()), int(rng.integers(2**32))
    first: list[Step] = []
    size, left = gt_size, scale  # by how much the image is still to be shrunk
    halve, mode, smooth = next(u) < recipe.halve_prob, choice(u, MODES), next(u) < 0.5
    if halve and scale == 4:
        size, left = (gt_size[0] // 2, gt_size[1] // 2), 2
        first.append(Resize(*size, 'bicubic', antialias=True) if smooth else Resize(*size, mode, antialias=False))
    lr_size = gt_size[0] // scale, gt_size[1] // scale
    shrink = _draw_shrink(recipe, left, size, u)
    quality, with_jpeg = uniform(u, *recipe.jpeg_range), next(u) < recipe.jpeg_prob
    parts: dict[str, list[Step]] = {
        'blur': [_draw_blur(recipe, left, u)],
        'blur2': [_draw_blur(recipe, left, u)],
        'shrink': shrink,
        'resize': [_to_size(shrink[-1], lr_size, choice(u, MODES))],
        'noise': [Noise('gaussian', uniform(u, *recipe.noise_range), next(u) < recipe.gray_noise_prob, seed)],
        'jpeg': [Jpeg(quality)] * with_jpeg,
    }
    last = Jpeg(uniform(u, *recipe.jpeg_range))
    shuffled = (step for name in _draw_order(list(parts), u) for step in parts[name])
    return Record(scale, (*first, *shuffled, last), named='total')


def _draw_order(names: list[str], u: Iterator[float]) -> list[str]:
    """Shuffles the steps; the resize to the final size comes after the shrink."""
    places = {name: next(u) for name in names}
    order = sorted(names, key=places.__getitem__)
    first, second = sorted((order.index('shrink'), order.index('resize')))
    order[first], order[second] = 'shrink', 'resize'
    return order


def _draw_blur(recipe: BSRGANRecipe, scale: int, u: Iterator[float]) -> Blur:
    kernel_size = _KERNELS[0] + 2 * int(next(u) * ((_KERNELS[1] - _KERNELS[0]) // 2 + 1))
    anisotropic, angle = next(u) < recipe.aniso_prob, uniform(u, 0, math.pi)
    both = [next(u), next(u)]
    if anisotropic:
        sigmas = [max(recipe.blur_factor * math.sqrt((4 + scale) * share), _SMALLEST_SIGMA) for share in both]
        return Blur(kernel_size, sigmas[0], sigmas[1], angle)
    sigma = max(recipe.blur_factor * (2 + 0.2 * scale) * both[0], _SMALLEST_SIGMA)
    return Blur(kernel_size, sigma, sigma)


def _draw_shrink(recipe: BSRGANRecipe, scale: int, size: tuple[int, int], u: Iterator[float]) -> list[Step]:
    by_random_factor, factor = next(u) < recipe.random_shrink_prob, uniform(u, 1, 2 * scale)
    mode, sigma = choice(u, MODES), uniform(u, 0.1, 0.6 * scale)
    if by_random_factor:
        return [Resize(max(1, int(size[0] / factor)), max(1, int(size[1] / factor)), mode, antialias=False)]
    # the published code moves the kernel, by linear interpolation, so that the pixels kept are centred in what they
    # replace; linear interpolation of the image in these places is the same
    return [Blur(25, sigma, sigma), Resize(size[0] // scale, size[1] // scale, 'bilinear', antialias=False)]


def _to_size(before: Step, size: tuple[int, int], mode: Literal['area', 'bilinear', 'bicubic']) -> Resize:
    """Resizes to ``size``; OpenCV's area interpolation, which the published code calls, is linear where it enlarges."""
    enlarges = isinstance(before, Resize) and before.height < size[0]
    return Resize(*size, 'bilinear' if mode == 'area' and enlarges else mode, antialias=False)
