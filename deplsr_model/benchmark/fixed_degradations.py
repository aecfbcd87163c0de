"""Test sets made of clean images by fixed degradations: mild, medium and heavy of both recipes, and single ones.

The noise is always the same for the same image, degradation and scale.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.recipe_options import kernel_reach
from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize, Sinc, Step
from deplsr_data.files.photos import to_float
from deplsr_model.benchmark.pairs import Images, Pair, TestSet
from deplsr_model.benchmark.sets import clean_images

__all__ = ['DEGRADATIONS', 'fixed_record', 'fixed_test_set']

Size = tuple[int, int]
#: Takes the sizes of clean and LR image and a seed.
Steps = Callable[[Size, Size, int], tuple[Step, ...]]

_MULTIPLE = 12


def _blur(sigma: float) -> Blur:
    return Blur(kernel_reach(sigma), sigma, sigma)


def _semantic(blur: float, noise: float, quality: float) -> Steps:
    """Blur, reduction by averaging, noise, JPEG."""

    def steps(_: Size, low: Size, seed: int) -> tuple[Step, ...]:
        return _blur(blur), Resize(*low, 'area'), Noise('gaussian', noise, False, seed), Jpeg(quality)

    return steps


def _realesrgan(first: tuple[float, float, float], share: float, second: tuple[float, float, float]) -> Steps:
    """Blur, resize, noise and JPEG twice; the image between the rounds has ``share`` of the sides of the clean one."""

    def steps(full: Size, low: Size, seed: int) -> tuple[Step, ...]:
        middle = max(low[0], round(full[0] * share)), max(low[1], round(full[1] * share))
        return (
            _blur(first[0]),
            Resize(*middle, 'bilinear'),
            Noise('poisson', first[1], False, seed),
            Jpeg(first[2]),
            _blur(second[0]),
            Resize(*low, 'bicubic'),
            Noise('gaussian', second[1], True, seed + 1),
            Jpeg(second[2]),
        )

    return steps


def _single(before: Callable[[int], tuple[Step, ...]], after: Callable[[int], tuple[Step, ...]]) -> Steps:
    """One degradation before or after an antialiased bicubic reduction."""
    return lambda _, low, seed: (*before(seed), Resize(*low, 'bicubic'), *after(seed))


def _none(_: int) -> tuple[Step, ...]:
    return ()


#: By name. Blur: sigma in pixels of the image it acts on; noise: sigma of 255, or the factor on shot noise.
DEGRADATIONS: dict[str, Steps] = {
    'semantic mild': _semantic(0.8, 5, 90),
    'semantic medium': _semantic(1.6, 12, 65),
    'semantic heavy': _semantic(2.6, 25, 35),
    'realesrgan mild': _realesrgan((0.6, 0.2, 92), 1.0, (0.4, 2, 92)),
    'realesrgan medium': _realesrgan((1.2, 0.8, 75), 0.8, (0.8, 6, 75)),
    'realesrgan heavy': _realesrgan((2.2, 2.0, 50), 0.5, (1.2, 12, 50)),
    'blur': _single(lambda _: (_blur(2.5),), _none),
    'ringing': _single(_none, lambda _: (Sinc(21, np.pi / 3),)),
    'noise': _single(_none, lambda seed: (Noise('gaussian', 25, False, seed),)),
    'gray noise': _single(_none, lambda seed: (Noise('gaussian', 25, True, seed),)),
    'shot noise': _single(_none, lambda seed: (Noise('poisson', 2.0, False, seed),)),
    'jpeg': _single(_none, lambda _: (Jpeg(30),)),
}


def fixed_record(name: str, size: Size, scale: int, seed: int) -> Record:
    """Returns one of :data:`DEGRADATIONS` for a clean image of a size, a multiple of the scale."""
    low = size[0] // scale, size[1] // scale
    return Record(scale, DEGRADATIONS[name](size, low, seed))


def fixed_test_set(name: str, folder: Path, scale: int, border: int | None = None) -> TestSet:
    """Returns a test set: all degradations of the clean images in a folder.

    Args:
        name: Of the set.
        folder: Of the images.
        scale: Size of a clean image over that of its LR image.
        border: Pixels that metrics leave out at each side; by default the scale.

    Raises:
        UserError: The folder has no images; one line.
    """
    images = clean_images(folder, _MULTIPLE if _MULTIPLE % scale == 0 else scale)
    pairs = [
        Pair(image, partial(_load, load, degradation, image, scale), degradation)
        for degradation in DEGRADATIONS
        for image, load in images.items()
    ]
    return TestSet(name, pairs, scale, scale if border is None else border, f'multiple of {_MULTIPLE}, degraded here')


def _load(load: Callable[[], np.ndarray], degradation: str, image: str, scale: int) -> Images:
    gt = load()
    record = fixed_record(degradation, (gt.shape[0], gt.shape[1]), scale, zlib.crc32(image.encode()))
    return Images((apply(record, to_float(gt)) * 255).round().astype(np.uint8), gt)
