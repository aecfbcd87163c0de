"""What phones and the web do to photos: lens, sensor noise, denoising, sharpening, JPEG, then a resize and a codec."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator

from deplsr_data.degradation.draws import MODES, choice, log_uniform, uniform
from deplsr_data.degradation.recipe_options import (
    PlainNoiseRange,
    PlainPoissonRange,
    PlainQualityRange,
    PlainSigmaRange,
    Probability,
    ResizeModes,
    Weights,
    kernel_reach,
    range_of,
)
from deplsr_data.degradation.records import Blur, ChromaNoise, Codec, Jpeg, Noise, Record, Resize, Sharpen, Step
from deplsr_data.ops.codecs import CODECS, is_available

__all__ = ['CameraRecipe', 'draw_camera']

CodecName = Literal['jpeg', 'webp', 'avif', 'none']


def _writable(names: tuple[CodecName, ...]) -> tuple[CodecName, ...]:
    for name in names:
        if name in CODECS and not is_available(name):
            raise ValueError(
                f'expected codecs that the installed Pillow has, got {name!r}, which it lacks; install Pillow 11.3 or '
                'later, or remove it'
            )
    if not names:
        raise ValueError("expected one codec or more, got none; such as ['jpeg', 'webp']")
    return names


CodecNames = Annotated[tuple[CodecName, ...], AfterValidator(_writable)]
Amounts = Annotated[tuple[float, float], AfterValidator(range_of('amounts', 0, 10))]
TakenRange = Annotated[tuple[float, float], AfterValidator(range_of('sizes relative to LR', 1, 8))]
SizeRange = Annotated[tuple[float, float], AfterValidator(range_of('sizes in pixels', 1, 64))]


@dataclass(frozen=True)
class CameraRecipe:
    """Photos of phones on the web: what the camera does, at its own size, then what a web site does, at that of the LR.

    Camera: blur of the lens, shrink to the size of the photo, noise, chroma noise (as demosaicing and denoising
    leave them), smoothing, sharpening, JPEG. Web: resize unless the photo already has the size of the LR image,
    sharpening, and a codec; a second JPEG may lie off the grid of the first, as after a crop.

    A ``codec_list`` that is not given draws AVIF or WebP only if the installed Pillow has it (AVIF: from version 11.3
    on), so the same seed may draw other codecs with another Pillow.

    Attributes:
        type: ``camera``.
        blur_prob: Share of photos with a blur of the lens.
        blur_sigma: Range of its sigma, in GT pixels.
        same_size_prob: Share of photos that are taken at the size of the LR image; on the web they keep it.
        resize_range: Range of the size of the others, relative to the LR image, drawn log-uniformly.
        resize_modes: Interpolations of both resizes, drawn evenly.
        antialias_prob: Share of antialiased resizes among the bilinear and bicubic ones; ``area`` always averages.
        noise_prob: Share of photos with sensor noise.
        gaussian_noise_prob: Share of Gaussian noise among these; the others get Poisson noise.
        noise_range: Range of the Gaussian sigma, in grey levels of 255.
        poisson_scale_range: Range of the factor on Poisson noise.
        gray_noise_prob: Share of noise that is equal in all channels.
        chroma_noise_prob: Share of photos with chroma noise.
        chroma_noise_range: Range of their sigma, in grey levels of 255, root mean square over the channels.
        chroma_noise_size: Range of their size, the standard deviation in pixels, drawn log-uniformly.
        smooth_prob: Share of photos that are smoothed after the noise, as a denoiser does.
        smooth_sigma: Range of the sigma of this blur, in pixels of the photo.
        sharpen_prob: Share of photos that the camera sharpens.
        sharpen_prob2: Share of photos that are sharpened after the web's resize, if there is one.
        sharpen_amount: Range of how much an unsharp mask adds.
        sharpen_sigma: Range of the sigma of its blur, in pixels of the image that it acts on.
        jpeg_prob: Share of photos that the camera compresses.
        jpeg_range: Range of the camera's quality factor.
        jpeg444_prob: Share of JPEGs that keep all of the colour (4:4:4); the others halve it (4:2:0).
        codec_list: Codecs of the web: ``jpeg``, ``webp``, ``avif``, ``none``.
        codec_prob: Their weights.
        jpeg_range2: Range of the web's quality factor.
        off_grid_prob: Share of the web's JPEGs whose grid of blocks is not that of the camera's.
        webp_range: Range of WebP's quality.
        avif_range: Range of AVIF's quality.
        gt_usm: Sharpen GT before it is degraded; the sharpened GT is then the target.
    """

    type: Literal['camera'] = 'camera'
    blur_prob: Probability = 0.5
    blur_sigma: PlainSigmaRange = (0.2, 2.0)
    same_size_prob: Probability = 0.5
    resize_range: TakenRange = (1.0, 2.0)
    resize_modes: ResizeModes = MODES
    antialias_prob: Probability = 0.7
    noise_prob: Probability = 0.7
    gaussian_noise_prob: Probability = 0.3
    noise_range: PlainNoiseRange = (0.5, 8.0)
    poisson_scale_range: PlainPoissonRange = (0.05, 0.8)
    gray_noise_prob: Probability = 0.2
    chroma_noise_prob: Probability = 0.4
    chroma_noise_range: PlainNoiseRange = (1.0, 10.0)
    chroma_noise_size: SizeRange = (1.0, 5.0)
    smooth_prob: Probability = 0.3
    smooth_sigma: PlainSigmaRange = (0.3, 0.9)
    sharpen_prob: Probability = 0.5
    sharpen_prob2: Probability = 0.3
    sharpen_amount: Amounts = (0.2, 1.2)
    sharpen_sigma: PlainSigmaRange = (0.5, 2.0)
    jpeg_prob: Probability = 0.8
    jpeg_range: PlainQualityRange = (70.0, 98.0)
    jpeg444_prob: Probability = 0.3
    codec_list: CodecNames = ('jpeg', 'webp', 'avif', 'none')
    codec_prob: Weights = (0.5, 0.25, 0.1, 0.15)
    jpeg_range2: PlainQualityRange = (40.0, 95.0)
    off_grid_prob: Probability = 0.5
    webp_range: PlainQualityRange = (30.0, 95.0)
    avif_range: PlainQualityRange = (30.0, 90.0)
    gt_usm: bool = False

    def __post_init__(self) -> None:
        if len(self.codec_list) != len(self.codec_prob):
            raise ValueError(
                f'expected as many numbers in codec_prob as names in codec_list, got {len(self.codec_prob)} and '
                f'{len(self.codec_list)}; add a weight for each codec'
            )

    @property
    def largest_kernel(self) -> int:
        """Taps of the largest kernel that can be drawn."""
        return max(kernel_reach(high) for _, high in (self.blur_sigma, self.smooth_sigma, self.sharpen_sigma))


def draw_camera(recipe: CameraRecipe, scale: int, rng: np.random.Generator, gt_size: tuple[int, int]) -> Record:
    """Draws what the camera does, then what the web does.

    The arguments are those of :func:`deplsr_data.degradation.recipe_table.draw`.
    """
    u = iter(rng.random(64).tolist())
    seeds = [int(seed) for seed in rng.integers(2**32, size=2)]
    lr_size = gt_size[0] // scale, gt_size[1] // scale
    same_size, factor = next(u) < recipe.same_size_prob, log_uniform(u, *recipe.resize_range)
    size = lr_size if same_size else (int(lr_size[0] * factor), int(lr_size[1] * factor))
    steps = [*_draw_taken(recipe, size, seeds, u), *_draw_processed(recipe, u)]
    resize, sharpen = _draw_resize(recipe, lr_size, u), _draw_sharpen(recipe, recipe.sharpen_prob2, u)
    if size != lr_size:
        steps += [resize, *sharpen]
    return Record(scale, (*steps, *_draw_codec(recipe, u)), named='total')


def _draw_taken(recipe: CameraRecipe, size: tuple[int, int], seeds: list[int], u: Iterator[float]) -> list[Step]:
    """Draws lens and sensor."""
    with_blur, sigma = next(u) < recipe.blur_prob, uniform(u, *recipe.blur_sigma)
    resize = _draw_resize(recipe, size, u)
    with_noise, gaussian = next(u) < recipe.noise_prob, next(u) < recipe.gaussian_noise_prob
    levels = uniform(u, *recipe.poisson_scale_range), uniform(u, *recipe.noise_range)
    gray = next(u) < recipe.gray_noise_prob
    noise = Noise('gaussian' if gaussian else 'poisson', levels[gaussian], gray, seeds[0])
    with_chroma_noise, level = next(u) < recipe.chroma_noise_prob, uniform(u, *recipe.chroma_noise_range)
    chroma_noise = ChromaNoise(level, log_uniform(u, *recipe.chroma_noise_size), seeds[1])
    blur = Blur(kernel_reach(sigma), sigma, sigma)
    return [*[blur] * with_blur, resize, *[noise] * with_noise, *[chroma_noise] * with_chroma_noise]


def _draw_processed(recipe: CameraRecipe, u: Iterator[float]) -> list[Step]:
    """Draws what the camera makes of it: smoothing, sharpening and JPEG."""
    with_smoothing, sigma = next(u) < recipe.smooth_prob, uniform(u, *recipe.smooth_sigma)
    sharpen = _draw_sharpen(recipe, recipe.sharpen_prob, u)
    with_jpeg, jpeg = next(u) < recipe.jpeg_prob, _draw_jpeg(recipe, recipe.jpeg_range, u)
    return [*[Blur(kernel_reach(sigma), sigma, sigma)] * with_smoothing, *sharpen, *[jpeg] * with_jpeg]


def _draw_codec(recipe: CameraRecipe, u: Iterator[float]) -> list[Step]:
    usable = [name not in CODECS or is_available(name) for name in recipe.codec_list]
    weights = [weight * here for weight, here in zip(recipe.codec_prob, usable, strict=True)]
    name = choice(u, recipe.codec_list, weights) if any(weights) else 'none'
    off_grid, rows, columns = next(u) < recipe.off_grid_prob, int(next(u) * 16), int(next(u) * 16)
    jpeg = _draw_jpeg(recipe, recipe.jpeg_range2, u, (rows, columns) if off_grid else (0, 0))
    qualities = {'webp': round(uniform(u, *recipe.webp_range)), 'avif': round(uniform(u, *recipe.avif_range))}
    found: dict[CodecName, list[Step]] = {'jpeg': [jpeg], 'none': []}
    found |= {'webp': [Codec('webp', qualities['webp'])], 'avif': [Codec('avif', qualities['avif'])]}
    return found[name]


def _draw_jpeg(
    recipe: CameraRecipe, qualities: tuple[float, float], u: Iterator[float], offset: tuple[int, int] = (0, 0)
) -> Jpeg:
    return Jpeg(uniform(u, *qualities), '4:4:4' if next(u) < recipe.jpeg444_prob else '4:2:0', offset)


def _draw_resize(recipe: CameraRecipe, size: tuple[int, int], u: Iterator[float]) -> Resize:
    mode, antialias = choice(u, recipe.resize_modes), next(u) < recipe.antialias_prob
    return Resize(*size, mode, antialias or mode == 'area')


def _draw_sharpen(recipe: CameraRecipe, share: float, u: Iterator[float]) -> list[Step]:
    here, sigma, amount = next(u) < share, uniform(u, *recipe.sharpen_sigma), uniform(u, *recipe.sharpen_amount)
    return [Sharpen(kernel_reach(sigma), sigma, amount)] * here
