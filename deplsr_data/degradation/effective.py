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
from dataclasses import dataclass
from functools import lru_cache, singledispatch

import numpy as np

from deplsr_data.degradation.operators import kernel_of
from deplsr_data.degradation.records import Record
from deplsr_data.degradation.steps import Blur, ChromaNoise, Codec, Jpeg, Noise, Resize, Sharpen, Sinc, Step
from deplsr_data.ops.kernels import sharpening_kernel, sinc_kernel
from deplsr_data.ops.noise_spectrum import FREQUENCIES, NoiseSpectrum, clipped_variance
from deplsr_data.ops.transfer import kernel_transfer, point_spread, resize_transfer

__all__ = ['TYPICAL', 'Chain', 'EffectiveLevels', 'PhotoStatistics', 'effective_levels', 'follow', 'statistics_of']

_PROBE = 0.75  # standard deviation of the spot whose blur is computed, in LR pixels
_HALF = 13  # frequencies on each side of 0
_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)


@dataclass(frozen=True)
class PhotoStatistics:
    """What shot noise, clipping and JPEG depend on.

    Attributes:
        brightness: Evenly spaced quantiles of all values of the clean photo, 0..1.
        gradients: Mean absolute difference of neighbouring pixels in luma, and in Cb and Cr, 0..1.
    """

    brightness: tuple[float, ...]
    gradients: tuple[float, float]


#: The median training photo; for records without a photo.
TYPICAL = PhotoStatistics((0.06, 0.16, 0.24, 0.33, 0.41, 0.5, 0.6, 0.72), (0.02, 0.004))


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


def statistics_of(gt: np.ndarray) -> PhotoStatistics:
    """Measures the statistics of a clean photo, (h, w, 3) float32 in 0..1, on every fourth row and column."""
    values = np.quantile(gt[::4, ::4], (np.arange(8) + 0.5) / 8)
    luma, cb, cr = (np.abs(np.diff(gt[::4] @ weights, axis=1)).mean() for weights in _YCBCR)
    return PhotoStatistics(tuple(float(value) for value in values), (float(luma), float(cb + cr) / 2))


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
        self._transfer = np.ones((len(self._rows), len(self._columns)))

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a pixel in GT pixels."""
        return self._gt_size[0] / self.size[0], self._gt_size[1] / self.size[1]

    def filter(self, kernel: np.ndarray) -> None:
        """Follows a point symmetric kernel (k, k)."""
        height, width = self.pixel
        self._transfer = self._transfer * kernel_transfer(kernel, self._rows * height, self._columns * width)
        self.noise.filter(kernel)
        self.error.filter(kernel)

    def resize(self, size: tuple[int, int], mode: str, antialias: bool) -> None:
        """Follows a resize to ``size``."""
        axes = zip((self._rows, self._columns), self.pixel, self.size, size, strict=True)
        along = [resize_transfer(w * pixel, mode, antialias, n_in, n_out) for w, pixel, n_in, n_out in axes]
        self._transfer = self._transfer * np.outer(*along)
        for spectrum in (self.noise, self.error):
            spectrum.resize(mode, antialias, self.size, size)
        self.size = size

    def content(self) -> np.ndarray:
        """Returns what is left of the content at :data:`FREQUENCIES`, as a Gaussian of the chain's width would do."""
        at = _HALF + _HALF // 3
        along = (self._transfer[at, 0], self._transfer[_HALF, _HALF // 3])
        decay = [-math.log(max(value, 0.02)) / self._rows[at] ** 2 for value in along]
        rows, columns = (
            np.exp(-one * (FREQUENCIES / pixel) ** 2) for one, pixel in zip(decay, self.pixel, strict=True)
        )
        return np.outer(rows, columns)

    def covariance(self) -> np.ndarray:
        """Covariance (2, 2) of the chain's point spread function in GT pixels, the spot it blurs included."""
        own = np.eye(2) * self._probe**2
        return point_spread(self._transfer, self._rows, self._columns, self._probe) + own


@lru_cache(maxsize=8)
def _frequencies(probe: float) -> tuple[np.ndarray, np.ndarray]:
    rows = np.linspace(-4 / probe, 4 / probe, 2 * _HALF + 1)
    return rows, rows[_HALF:]


@singledispatch
def follow(step: Step, chain: Chain) -> None:
    """Follows a step; register a function for the step class of a plug-in that blurs, adds noise or compresses."""


@follow.register
def _(step: Blur, chain: Chain) -> None:
    if step.sigma_x and step.kernel_size > 1:
        chain.filter(kernel_of(step))


@follow.register
def _(step: Sinc, chain: Chain) -> None:
    chain.filter(sinc_kernel(step.kernel_size, step.omega_c))
    chain.ringing = max(0.0, 1 - step.omega_c / math.pi)


@follow.register
def _(step: Sharpen, chain: Chain) -> None:
    chain.filter(sharpening_kernel(step.kernel_size, step.sigma, step.amount))


@follow.register
def _(step: Resize, chain: Chain) -> None:
    chain.resize((step.height, step.width), step.mode, step.antialias)


@follow.register
def _(step: Noise, chain: Chain) -> None:
    brightness = np.array(chain.photo.brightness)
    if step.distribution == 'gaussian':
        sigma = np.full_like(brightness, step.level / 255)
    else:
        sigma = step.level * np.sqrt(brightness / 256)
    chain.noise.add(float(clipped_variance(sigma, brightness).mean()), step.gray)
    chain.ringing = 0.0


@follow.register
def _(step: ChromaNoise, chain: Chain) -> None:
    chain.noise.add_chroma((step.level / 255) ** 2, step.size)


@follow.register
def _(step: Jpeg, chain: Chain) -> None:
    _compress(step.quality, chain)


@follow.register
def _(step: Codec, chain: Chain) -> None:
    _compress(step.jpeg_quality, chain)


def _compress(quality: float, chain: Chain) -> None:
    """Follows JPEG with halved chroma; 4:4:4 and other codecs count as such."""
    content = chain.content()
    chain.error.jpeg(quality, chain.photo.gradients, content)
    chain.error.add_rounding(quality, chain.photo.gradients, content, chain.noise)
    chain.noise.jpeg(quality, chain.photo.gradients, content)
    chain.quality = quality


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
    (yy, yx), (_, xx) = covariance = chain.covariance()
    small, large = np.linalg.eigvalsh(covariance)
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
