"""Effective levels: what a degraded image shows, computed from its record instead of from the degraded image.

The level that was set at a step describes the image at the end of a long chain poorly: a later resize blurs as well,
shrinks noise and enlarges JPEG's blocks. Here every step is followed to the end: blur as the width of the point spread
function of the complete chain, noise as its standard deviation in the LR image, compression as what the codecs changed.
No image is needed except for three statistics of the clean photo (:class:`PhotoStatistics`), on which shot noise,
clipping and JPEG depend.

How near this comes to measurements on images: ``python -m benchmarks.degradation.effective``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, singledispatch

import numpy as np

from deplsr_data.degradation.operators import kernel_of
from deplsr_data.degradation.photo_statistics import TYPICAL, PhotoStatistics, statistics_of
from deplsr_data.degradation.records import Record
from deplsr_data.degradation.steps import Blur, ChromaNoise, Codec, Jpeg, Noise, Resize, Sharpen, Sinc, Step
from deplsr_data.ops.kernels import sharpening_kernel, sinc_kernel
from deplsr_data.ops.noise_spectrum import DCT_FREQUENCIES, NoiseSpectrum, clipped_moments, content_scales
from deplsr_data.ops.transfer import kernel_transfer, point_spread, point_spread_along, resize_transfer

__all__ = ['TYPICAL', 'Chain', 'EffectiveLevels', 'PhotoStatistics', 'effective_levels', 'follow', 'statistics_of']

_PROBE = 0.75  # standard deviation of the spot whose blur is computed, in LR pixels
_HALF, _HIGHEST, _DENSER = 11, 3.3, 2.0  # frequencies on each side of 0, the last one times that deviation, spacing
_UNSTEADY = 0.25  # WebP and AVIF, see NoiseSpectrum.compress


@dataclass(frozen=True)
class EffectiveLevels:
    """What the LR image shows.

    Attributes:
        blur: Width of the point spread function of the chain beyond that of an antialiased bicubic shrink: standard
            deviation in GT pixels, geometric mean of both axes; 0 where the chain is as sharp or sharper.
        anisotropy: Ratio of the longer axis of the point spread function to the shorter, 1 or more.
        angle: Direction of the longer axis in radians from the image's x axis, 0 to pi.
        noise: Standard deviation of the noise in luma, in grey levels of 255.
        color_noise: The same over R, G and B together; equal to ``noise`` where the noise is gray.
        correlation: Correlation of the luma noise of neighbouring pixels.
        quality: Quality factor of the last codec; 100 without one.
        compression: Standard deviation of what the codecs changed, in grey levels of 255, over R, G and B.
        codec_last: Whether nothing comes after the last codec.
        ringing: Cutoff of the last filter that rings, in fractions of pi taken off 1: 0 for none, 1 at most.
    """

    blur: float
    anisotropy: float
    angle: float
    noise: float
    color_noise: float
    correlation: float
    quality: float
    compression: float
    codec_last: bool
    ringing: float


class Chain:
    """A chain of steps as far as it has been followed.

    Attributes:
        size: Height and width of the image now.
        noise: Spectrum of the noise in it.
        error: Spectrum of what codecs have changed in it.
        photo: Statistics of the clean photo.
        quality: Quality factor of the last codec.
        codec_last: Whether the last step was a codec.
        ringing: See :class:`EffectiveLevels`.
    """

    def __init__(self, gt_size: tuple[int, int], scale: int, photo: PhotoStatistics) -> None:
        self.size = self._gt_size = gt_size
        self.noise, self.error = NoiseSpectrum(), NoiseSpectrum()
        self.photo = photo
        self.quality, self.codec_last, self.ringing = 100.0, False, 0.0
        self._probe = _PROBE * scale
        self._rows, self._columns = _frequencies(self._probe)
        # the transfer function: one along each axis, times another where kernels are not separable
        self._along = [np.ones(len(self._columns))] * 2
        self._joint: np.ndarray | None = None

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a pixel in GT pixels."""
        return self._gt_size[0] / self.size[0], self._gt_size[1] / self.size[1]

    def filter(self, kernel: np.ndarray) -> None:
        """Follows a point symmetric kernel (k, k)."""
        height, width = self.pixel
        transfer = kernel_transfer(kernel, self._rows * height, self._columns * width)
        self._joint = transfer if self._joint is None else self._joint * transfer
        self.noise.filter(kernel)
        self.error.filter(kernel)

    def filter_along(self, taps: np.ndarray) -> None:
        """Follows a separable kernel with equal, symmetric taps (k,) along both axes."""
        place = np.arange(len(taps)) - len(taps) // 2
        self._multiply(lambda frequency, axis: np.cos(np.multiply.outer(frequency, place)) @ taps)
        self.noise.filter_along(taps)
        self.error.filter_along(taps)

    def resize(self, size: tuple[int, int], mode: str, antialias: bool) -> None:
        """Follows a resize to ``size``."""
        if size == self.size:
            return
        self._multiply(lambda frequency, axis: resize_transfer(frequency, mode, antialias, self.size[axis], size[axis]))
        self.noise.resize(mode, antialias, self.size, size)
        self.error.resize(mode, antialias, self.size, size)
        self.size = size

    def _multiply(self, transfer: Callable[[np.ndarray, int], np.ndarray]) -> None:
        """Multiplies with a transfer function of frequencies in radians per pixel along an axis; once for a square."""
        pixel = self.pixel
        rows = self._along[0] * transfer(self._columns * pixel[0], 0)
        square = self._along[0] is self._along[1] and pixel[0] == pixel[1]
        columns = rows if square else self._along[1] * transfer(self._columns * pixel[1], 1)
        self._along = [rows, columns]

    def content(self, halve: bool) -> np.ndarray:
        """Returns the scales of the content's coefficients, see :func:`deplsr_data.ops.noise_spectrum.content_scales`.

        Args:
            halve: Whether a codec halves the size of chroma.
        """
        left = np.multiply.outer(*self._along)
        if self._joint is not None:
            left = 0.5 * left * (self._joint[_HALF:] + self._joint[_HALF::-1])
        rows, columns = (_hats(self._probe / pixel) for pixel in self.pixel)
        at = rows @ np.abs(left) @ columns.T
        return content_scales(
            self.photo.gradients, self.photo.activity, at[:8, :8], at[8:, 8:] if halve else at[:8, :8]
        )

    def covariance(self) -> np.ndarray:
        """Covariance (2, 2) of the chain's point spread function in GT pixels, the spot it blurs included."""
        rows, columns = self._along
        own = self._probe**2
        if self._joint is None:
            along = point_spread_along(rows, self._columns, self._probe)
            across = along if rows is columns else point_spread_along(columns, self._columns, self._probe)
            return np.array([[along + own, 0.0], [0.0, across + own]])
        transfer = np.multiply.outer(np.concatenate([rows[:0:-1], rows]), columns) * self._joint
        return point_spread(transfer, self._rows, self._columns, self._probe) + own * np.eye(2)


@lru_cache(maxsize=8)
def _frequencies(probe: float) -> tuple[np.ndarray, np.ndarray]:
    rows = _HIGHEST / probe * np.sinh(_DENSER * np.arange(-_HALF, _HALF + 1) / _HALF) / math.sinh(_DENSER)
    return rows, rows[_HALF:]


@lru_cache(maxsize=256)
def _hats(factor: float) -> np.ndarray:
    """Matrix (16, _HALF + 1) that interpolates values at _frequencies from 0 on; beyond the last it returns that.

    At the frequencies of a DCT and at half these; ``factor`` is the spot's standard deviation in pixels.
    """
    frequency = np.append(DCT_FREQUENCIES, DCT_FREQUENCIES / 2) * factor
    place = np.arcsinh(frequency * (math.sinh(_DENSER) / _HIGHEST)) * (_HALF / _DENSER)
    return np.maximum(1 - np.abs(np.minimum(place, _HALF)[:, None] - np.arange(_HALF + 1)), 0)


@singledispatch
def follow(step: Step, chain: Chain) -> None:
    """Follows a step; register a function for the step class of a plug-in that blurs, adds noise or compresses."""


@follow.register
def _(step: Blur, chain: Chain) -> None:
    if not step.sigma_x or step.kernel_size == 1:
        return
    if step.family == 'gaussian' and step.sigma_x == step.sigma_y:
        chain.filter_along(_bell(step.kernel_size, step.sigma_x))
    else:
        chain.filter(kernel_of(step))


@follow.register
def _(step: Sinc, chain: Chain) -> None:
    chain.filter(sinc_kernel(step.kernel_size, step.omega_c))
    chain.ringing = max(0.0, 1 - step.omega_c / math.pi)


@follow.register
def _(step: Sharpen, chain: Chain) -> None:
    chain.filter(sharpening_kernel(step.kernel_size, step.sigma, step.amount))


def _bell(taps: int, sigma: float) -> np.ndarray:
    bell = np.exp(-0.5 * ((np.arange(taps) - taps // 2) / sigma) ** 2)
    return bell / bell.sum()


@follow.register
def _(step: Resize, chain: Chain) -> None:
    chain.resize((step.height, step.width), step.mode, step.antialias)


@follow.register
def _(step: Noise, chain: Chain) -> None:
    brightness = np.array(chain.photo.brightness)
    if step.distribution == 'gaussian':
        sigma = np.full(len(brightness), step.level / 255)
    else:
        sigma = step.level * np.sqrt(brightness / 256)
    shift, square = clipped_moments(sigma, brightness)
    own, mean = shift @ shift / len(shift), shift.sum() / len(shift)
    chain.noise.add(float(square.sum() / len(shift) - own), step.gray, float(max(own - mean * mean, 0.0)))
    chain.ringing = 0.0


@follow.register
def _(step: ChromaNoise, chain: Chain) -> None:
    chain.noise.add_chroma((step.level / 255) ** 2, step.size)


@follow.register
def _(step: Jpeg, chain: Chain) -> None:
    halve = step.subsampling == '4:2:0'
    chain.noise.compress(step.quality, halve, chain.content(halve), chain.error, grid_offset=step.grid_offset)
    chain.quality = step.quality


@follow.register
def _(step: Codec, chain: Chain) -> None:
    chain.noise.compress(step.jpeg_quality, True, chain.content(True), chain.error, unsteady=_UNSTEADY)
    chain.quality = step.jpeg_quality


def effective_levels(record: Record, photo: PhotoStatistics = TYPICAL) -> EffectiveLevels:
    """Follows the steps of a record to the LR image.

    Args:
        record: The degradation.
        photo: Statistics of the clean photo.
    """
    resizes = [step for step in record.steps if isinstance(step, Resize)]
    lr_size = (resizes[-1].height, resizes[-1].width) if resizes else (64, 64)
    chain = Chain((lr_size[0] * record.scale, lr_size[1] * record.scale), record.scale, photo)
    for step in record.steps:
        chain.codec_last = isinstance(step, Jpeg | Codec)
        follow(step, chain)
    color_noise, noise = chain.noise.deviation()
    (yy, yx), (_, xx) = chain.covariance().tolist()
    mean, radius = 0.5 * (yy + xx), math.hypot(0.5 * (xx - yy), yx)
    small, large = mean - radius, mean + radius
    return EffectiveLevels(
        blur=math.sqrt(max(0.0, math.sqrt(max(small * large, 0.0)) - _reference(record.scale))),
        anisotropy=math.sqrt(max(1.0, large / small)),
        angle=0.5 * math.atan2(2 * yx, xx - yy) % math.pi,
        noise=255 * noise,
        color_noise=255 * color_noise,
        correlation=chain.noise.correlation(),
        quality=chain.quality,
        compression=255 * chain.error.deviation()[0],
        codec_last=chain.codec_last,
        ringing=chain.ringing,
    )


@lru_cache(maxsize=8)
def _reference(scale: int) -> float:
    """Mean variance, the spot's included, behind the antialiased bicubic shrink that counts as no blur."""
    chain = Chain((64 * scale, 64 * scale), scale, TYPICAL)
    chain.resize((64, 64), 'bicubic', antialias=True)
    return math.sqrt(float(np.linalg.det(chain.covariance())))
