"""Noise as a power spectrum, taken through filters, resizes and JPEG without an image.

Linear steps are exact on average over phases (:mod:`deplsr_data.ops.transfer`). JPEG is a model: a DCT coefficient of
the content is Laplacian, its scale falls with frequency and differs between flat and textured blocks, and what a noise
of a given strength changes behind the quantiser follows from that scale and the step
(:mod:`deplsr_data.ops.quantised_noise`).

How near this comes to images degraded with and without noise: ``python -m benchmarks.degradation.effective``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from deplsr_data.ops.quantised_noise import LastJpeg, quantised, steps_of
from deplsr_data.ops.transfer import FREQUENCIES, kernel_power, resize_noise

__all__ = ['DCT_FREQUENCIES', 'NoiseSpectrum', 'clipped_moments', 'content_scales']

#: Variance of luma, and of Cb or Cr, for equal independent noise in R, G and B.
_WHITE = np.array([0.447, 0.41])
#: Mean variance of R, G and B for a unit of variance in luma, and in both Cb and Cr, alone; then what the correlation
#: of luma and chroma adds to that in a noise that is independent in R, G and B.
_IN_RGB = np.array([1.0, 1.905, 1.0])
_INDEPENDENT = np.append(_WHITE, 1 - _WHITE @ _IN_RGB[:2])[:, None, None, None]
#: Variance of luma and of Cb or Cr from rounding once to 8 bits in RGB and once in YCbCr, as a codec does.
_ROUNDING = ((_WHITE + 1) / 12 / 255**2)[:, None, None, None]
#: Fitted to photos: scale of the Laplacian DCT coefficients of luma and chroma at frequency index 1, in mean absolute
#: gradients.
_CONTENT, _CHROMA_CONTENT = 3.1, 3.2
_ENDS = np.where(np.isin(np.arange(len(FREQUENCIES)), (0, len(FREQUENCIES) - 1)), 0.5, 1.0) / (len(FREQUENCIES) - 1)
_SHARE = np.outer(_ENDS, _ENDS)  # of each frequency in the variance
#: Frequencies of the basis functions of an 8 x 8 DCT along one axis, in radians per pixel.
DCT_FREQUENCIES = np.pi / 8 * np.maximum(np.arange(8), 0.5)


def clipped_moments(sigma: np.ndarray, brightness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and mean square of what normal noise changes once the image is clipped to 0..1.

    Args:
        sigma: Standard deviations of the noise, of the scale of ``brightness``.
        brightness: Clean values in 0..1, broadcast with ``sigma``.
    """
    sigma = np.maximum(sigma, 1e-6)
    low, high = -brightness / sigma, (1 - brightness) / sigma
    below, above = ndtr(low), 1 - ndtr(high)
    at_low, at_high = _density(low), _density(high)
    shift = sigma * (at_low - at_high) - brightness * below + (1 - brightness) * above
    inside = 1 - below - above + low * at_low - high * at_high
    return shift, sigma**2 * inside + brightness**2 * below + (1 - brightness) ** 2 * above


def _density(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


class NoiseSpectrum:
    """Power spectra of the noise in an image that takes one step of a chain after the other.

    Blocks of an image differ: a codec removes noise from the flat ones and keeps it in those with texture. So behind a
    codec there is a spectrum for each class of blocks (:func:`content_scales`).
    """

    def __init__(self) -> None:
        # (3, 1 or K, N, N): luma, Cb or Cr, and what their correlation adds to the mean of R, G and B
        self._power = np.zeros((3, 1, len(FREQUENCIES), len(FREQUENCIES)))
        self._empty, self._shift = True, 0.0
        self._last: LastJpeg | None = None  # if nothing has changed the image since

    def add(self, variance: float, gray: bool, shift: float = 0.0) -> None:
        """Adds white noise.

        Args:
            variance: Per channel.
            gray: The same field in all channels.
            shift: Variance of the mean that the noise has in dark and bright places where it is clipped; this is as
                smooth as the photo, so filters and resizes keep it.
        """
        self._last = None
        self._shift += shift
        if gray:
            self._power[0] += variance
        else:
            self._power += variance * _INDEPENDENT
        self._empty = self._empty and variance == 0

    def add_chroma(self, variance: float, size: float) -> None:
        """Adds smooth noise in chroma alone.

        Args:
            variance: Mean over R, G and B.
            size: Standard deviation in pixels of the Gaussian that white noise was smoothed with.
        """
        self._last = None
        along = np.exp(-((size * FREQUENCIES) ** 2))
        along /= along @ _ENDS
        self._power[1] += variance / _IN_RGB[1] * np.outer(along, along)
        self._empty = self._empty and variance == 0

    def filter(self, kernel: np.ndarray) -> None:
        """Takes the noise through a point symmetric kernel (k, k)."""
        self._last = None
        if not self._empty:
            self._power = self._power * kernel_power(kernel)

    def filter_along(self, taps: np.ndarray) -> None:
        """Takes the noise through a separable kernel with equal, symmetric taps (k,) along both axes."""
        self._last = None
        if not self._empty:
            power = (np.cos(np.multiply.outer(FREQUENCIES, np.arange(len(taps)) - len(taps) // 2)) @ taps) ** 2
            self._power = self._power * np.multiply.outer(power, power)

    def resize(self, mode: str, antialias: bool, size_in: tuple[int, int], size_out: tuple[int, int]) -> None:
        """Takes the noise through a resize; sizes are height and width."""
        if size_in == size_out:
            return
        self._last = None
        if not self._empty:
            rows = resize_noise(mode, antialias, size_in[0], size_out[0])
            columns = resize_noise(mode, antialias, size_in[1], size_out[1])
            count, shape = len(rows), self._power.shape
            across = (
                self._power.reshape(-1, count) @ columns.T
            )  # two large products take less time than many small ones
            across = across.reshape(-1, count, count).swapaxes(1, 2).reshape(-1, count) @ rows.T
            self._power = across.reshape(-1, count, count).swapaxes(1, 2).reshape(shape)

    def compress(
        self,
        quality: float,
        halve: bool,
        content: np.ndarray,
        error: NoiseSpectrum,
        grid_offset: tuple[int, int] | None = None,
        unsteady: float = 0.0,
    ) -> None:
        """Takes the noise through JPEG, or a codec like it.

        Args:
            quality: 1 to 100.
            halve: Whether the size of chroma is halved (4:2:0).
            content: (3, K, 8, 8) scales of the content's coefficients, see :func:`content_scales`.
            error: What codecs have changed so far; what this one changes is added.
            grid_offset: Where the blocks begin; None for other codecs than JPEG.
            unsteady: Share of all errors of rounding that are others as soon as there is noise, since the codec chooses
                other predictions; 0 for JPEG.
        """
        if not self._empty:
            # what rounding to 8 bits, before and behind, changes in an image that noise has changed
            rounding = _ROUNDING * min(2, 10 * 255 * self.deviation()[0])
            self._power[:2] += rounding
        maps, cross = _maps(halve), self._power[2]
        power = self._power.reshape(3, -1, len(FREQUENCIES) ** 2)
        coded = np.stack([power[0] @ maps.to_luma, power[1] @ maps.to_chroma]).reshape(2, -1, 8, 8)
        step = steps_of(round(quality, 1))
        changed, rounded = quantised(coded, content[:2], step)
        if grid_offset is not None:
            if self._last is not None and not self._empty:
                same = self._last.channels_on(grid_offset, halve)
                changed[same] = self._last.quantised_again(changed[same], step[same], content[same])
            self._last = LastJpeg(changed, step, np.sqrt(_ROUNDING), grid_offset, halve)
        if unsteady:
            changed += unsteady * np.maximum(coded + 2 * rounded - changed, 0)
        if error._power.shape[1] != rounded.shape[1]:
            error._power = np.repeat(error._power, rounded.shape[1], axis=1)
        decoded = maps.decode(np.concatenate([changed, rounded], axis=1))
        classes = changed.shape[1]
        error._power[:2] += decoded[:, classes:] + 2 * _ROUNDING
        error._empty = False
        if halve:
            color = 2 * content[2].reshape(-1, 64) ** 2  # a Laplacian has twice its scale's square as variance
            error._power[1] += (power[1] @ maps.lost + color @ maps.lost_content).reshape(error._power[1].shape)
            cross = cross * maps.kept
        if not self._empty:
            # luma and chroma stay correlated as far as noise passes
            luma, chroma = np.minimum(changed.sum(axis=(2, 3)) / coded.sum(axis=(2, 3)), 1)[..., None, None]
            error._power[2] += cross * ((1 - luma) * (1 - chroma))
            self._power = np.concatenate([decoded[:, :classes] + rounding, (cross * (luma * chroma))[None]])

    def deviation(self) -> tuple[float, float]:
        """Returns the standard deviations of the noise over R, G and B together, and in luma, both in 0..1."""
        if self._empty:
            return 0.0, 0.0
        luma, chroma, cross = (self._power.sum(axis=1).reshape(3, -1) @ _SHARE.ravel() / self._power.shape[1]).tolist()
        total = max(luma + _IN_RGB[1] * chroma + cross, 0.0)
        return math.sqrt(total + self._shift), math.sqrt(luma + self._shift)

    def correlation(self) -> float:
        """Returns the correlation of the luma noise of neighbouring pixels, the mean of both directions."""
        luma = self._power[0].sum(axis=0) * _SHARE
        total = luma.sum()
        if not total:
            return 0.0
        return float((luma.sum(axis=0) + luma.sum(axis=1)) @ np.cos(FREQUENCIES) / (2 * total))


def content_scales(
    gradients: tuple[float, float], activity: tuple[float, ...], luma: np.ndarray, chroma: np.ndarray
) -> np.ndarray:
    """Returns the scales of the Laplacian DCT coefficients of a photo's content, (3, K, 8, 8).

    They are those of luma, of Cb or Cr as coded, and of Cb or Cr at full size.

    Args:
        gradients: Mean absolute difference of pixels four apart in the clean photo, in luma and in chroma, 0..1.
        activity: (K,) gradients of K equally large classes of blocks, relative to their mean.
        luma: (8, 8) what the chain before has left of the content at :data:`DCT_FREQUENCIES`.
        chroma: The same at those of chroma, which are half as high if its size is halved.
    """
    color = gradients[1] * _CHROMA_CONTENT
    scales = np.empty((3, len(activity), 8, 8))
    classes = np.array(activity)[:, None, None]
    of_luma = classes * (luma * _falloff())
    np.multiply(of_luma, gradients[0] * _CONTENT, out=scales[0])
    np.multiply(classes, color * (chroma * _falloff()), out=scales[1])
    np.multiply(of_luma, color, out=scales[2])
    return scales


@lru_cache(maxsize=1)
def _falloff() -> np.ndarray:
    """What coefficients of photos fall with: 1 / r at index r."""
    index = DCT_FREQUENCIES / np.pi * 8
    return 1 / np.hypot(index[:, None], index[None, :])


@lru_cache(maxsize=1)
def _dct() -> tuple[np.ndarray, np.ndarray]:
    """Matrices from a spectrum to the variances of DCT coefficients (8, N), and from these back (N, 8).

    The second is exact for coefficients without correlation, on average over the places in a block.
    """
    index = np.arange(8)
    basis = np.cos(np.pi / 8 * index[:, None] * (index + 0.5)) * np.sqrt(np.where(index == 0, 1, 2) / 8)[:, None]
    response = np.abs(basis @ np.exp(1j * np.outer(index, FREQUENCIES))) ** 2
    return response * _ENDS, response.T / 8


@dataclass(frozen=True)
class _Maps:
    """What a codec does to spectra before and behind the quantiser: matrices that flat spectra are multiplied with.

    Attributes:
        to_luma: From a spectrum to the variances of coefficients of luma.
        to_chroma: The same of chroma.
        from_luma: From these variances back to a spectrum.
        from_chroma: The same of chroma.
        lost: From a spectrum of chroma to that of what is lost by halving its size.
        lost_content: The same from variances of coefficients of chroma at full size.
        kept: (N, N) what is left of a wave.
    """

    to_luma: np.ndarray
    to_chroma: np.ndarray
    from_luma: np.ndarray
    from_chroma: np.ndarray
    lost: np.ndarray
    lost_content: np.ndarray
    kept: np.ndarray

    def decode(self, variance: np.ndarray) -> np.ndarray:
        """Returns spectra of luma and chroma, (2, K, N, N), from variances of their coefficients, (2, K, 8, 8)."""
        luma, chroma = variance.reshape(2, -1, 64)
        count = len(FREQUENCIES)
        return np.stack([luma @ self.from_luma, chroma @ self.from_chroma]).reshape(2, -1, count, count)


@lru_cache(maxsize=2)
def _maps(halve: bool) -> _Maps:
    to_dct, from_dct = _dct()
    smaller = larger = np.eye(len(FREQUENCIES))
    kept = np.ones_like(FREQUENCIES)
    if halve:
        smaller, larger = resize_noise('area', False, 2, 1), resize_noise('bilinear', False, 1, 2)
        kept = np.cos(FREQUENCIES / 2) ** 3

    def both(along: np.ndarray) -> np.ndarray:
        matrix = np.kron(along, along).T
        return np.where(np.abs(matrix) < 1e-12, 0, matrix)  # products of tiny numbers would take much longer

    lost = both(larger @ smaller) + np.diag(1 - 2 * np.outer(kept, kept).ravel())
    return _Maps(
        to_luma=both(to_dct),
        to_chroma=both(to_dct @ smaller),
        from_luma=both(from_dct),
        from_chroma=both(larger @ from_dct),
        lost=lost,
        lost_content=both(from_dct) @ lost,
        kept=np.outer(kept, kept),
    )
