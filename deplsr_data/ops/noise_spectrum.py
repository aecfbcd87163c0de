"""Noise as a power spectrum, taken through filters, resizes and JPEG without an image.

Linear steps are exact on average over phases (:mod:`deplsr_data.ops.transfer`). JPEG is a model: a DCT coefficient of
the content is Laplacian, its scale falls with frequency, and what a noise of a given strength changes behind the
quantiser follows from that scale and the step. Noise below half a step vanishes where the content is flat and is
amplified to whole steps where it is not.

How near this comes to images degraded with and without noise: ``python -m benchmarks.degradation.effective``.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from deplsr_data.ops.jpeg import quantisation_tables
from deplsr_data.ops.transfer import kernel_transfer, resize_noise

__all__ = ['FREQUENCIES', 'NoiseSpectrum', 'clipped_variance']

_COUNT = 16
#: Frequencies of a spectrum along each axis, in radians per pixel.
FREQUENCIES = 2 * np.pi * np.fft.fftfreq(_COUNT)
#: Variance of luma, Cb and Cr for equal independent noise in R, G and B.
_WHITE = (0.447, 0.388, 0.432)
#: Mean variance of R, G and B for a unit of variance in Cb and Cr, such that white noise comes back unchanged.
_CHROMA_GAIN = (3 - 3 * _WHITE[0]) / (_WHITE[1] + _WHITE[2])
#: Fitted to photos: scale of the Laplacian DCT coefficients of luma and chroma at frequency index 1, in mean absolute
#: gradients.
_CONTENT, _CHROMA_CONTENT = 6.5, 8.0
_HALVING = np.cos(FREQUENCIES / 2) ** 2  # of chroma, and its enlargement again
_COARSE = (np.abs(FREQUENCIES) <= np.pi / 2 + 1e-9).astype(float)


def clipped_variance(sigma: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """Returns the mean square of what normal noise changes once the image is clipped to 0..1.

    Args:
        sigma: Standard deviations of the noise, of the scale of ``brightness``.
        brightness: Clean values in 0..1, broadcast with ``sigma``.
    """
    sigma = np.maximum(sigma, 1e-6)
    low, high = -brightness / sigma, (1 - brightness) / sigma
    below, above = ndtr(low), 1 - ndtr(high)
    inside = 1 - below - above + low * _density(low) - high * _density(high)
    return sigma**2 * inside + brightness**2 * below + (1 - brightness) ** 2 * above


def _density(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


class NoiseSpectrum:
    """Power spectra (luma, Cb, Cr) of the noise in an image that takes one step of a chain after the other."""

    def __init__(self) -> None:
        self._power = np.zeros((3, _COUNT, _COUNT))

    def add(self, variance: float, gray: bool) -> None:
        """Adds white noise of a variance per channel, the same field in all channels if ``gray``."""
        self._power += np.array((1.0, 0.0, 0.0) if gray else _WHITE)[:, None, None] * variance

    def add_chroma(self, variance: float, size: float) -> None:
        """Adds smooth noise in chroma alone.

        Args:
            variance: Mean over R, G and B.
            size: Standard deviation in pixels of the Gaussian that white noise was smoothed with.
        """
        along = np.exp(-((size * FREQUENCIES) ** 2))
        shape = np.outer(along, along) / along.mean() ** 2
        self._power[1:] += 1.5 * variance / _CHROMA_GAIN * shape

    def filter(self, kernel: np.ndarray) -> None:
        """Takes the noise through a point symmetric kernel (k, k)."""
        if self._power.any():
            self._power *= kernel_transfer(kernel, FREQUENCIES, FREQUENCIES) ** 2

    def resize(self, mode: str, antialias: bool, size_in: tuple[int, int], size_out: tuple[int, int]) -> None:
        """Takes the noise through a resize; sizes are height and width."""
        if self._power.any():
            rows, columns = (
                resize_noise(_COUNT, mode, antialias, n_in, n_out)
                for n_in, n_out in zip(size_in, size_out, strict=True)
            )
            self._power = rows @ self._power @ columns.T

    def jpeg(self, quality: float, gradients: tuple[float, float], transfer: np.ndarray) -> None:
        """Takes the noise through JPEG with halved chroma.

        Args:
            quality: 1 to 100.
            gradients: Mean absolute difference of neighbouring pixels of the clean photo, in luma and in chroma, 0..1.
            transfer: (N, N) what the chain before has left of the content at :data:`FREQUENCIES`.
        """
        if not self._power.any():
            return
        luma, chroma = _steps(quality)
        fine, coarse = _contents(gradients, transfer)
        self._power[0] = _quantised(self._power[0], fine, luma)
        halved = self._power[1:] * np.outer(_HALVING * _COARSE, _HALVING * _COARSE)
        changed = _quantised(halved / 4, coarse, chroma) * 4
        self._power[1:] = changed * np.outer(_COARSE * _HALVING**2, _COARSE * _HALVING**2)

    def add_rounding(
        self, quality: float, gradients: tuple[float, float], transfer: np.ndarray, noise: NoiseSpectrum
    ) -> None:
        """Adds what JPEG takes from the content, and from a noise in it, by rounding coefficients to whole steps.

        Args:
            quality: See :meth:`jpeg`.
            gradients: See :meth:`jpeg`.
            transfer: See :meth:`jpeg`.
            noise: The noise in the image before the codec.
        """
        contents = _contents(gradients, transfer)
        for channel, step in enumerate(np.stack([_steps(quality)[0], *[_steps(quality)[1]] * 2])):
            power, own = noise._power[channel], contents[min(channel, 1)]
            if channel:  # halved chroma: the finer half of its noise is lost, the coarser is rounded
                kept = np.outer(_HALVING * _COARSE, _HALVING * _COARSE)
                self._power[channel] += power * (1 - kept)
                power = power * kept / 4
            scale = np.sqrt(own**2 + power / 2) / step  # a Laplacian of that scale has twice its square as variance
            place, share = _place(np.log(np.maximum(scale, 1e-9)), _SCALE)
            table = _rounding_table()
            rounded = (table[place] * (1 - share) + table[place + 1] * share) * step**2
            if channel:
                rounded = rounded * 4 * np.outer(_COARSE * _HALVING**2, _COARSE * _HALVING**2)
            self._power[channel] += rounded

    def deviation(self) -> tuple[float, float]:
        """Returns the standard deviations of the noise over R, G and B together, and in luma, both in 0..1."""
        luma, cb, cr = self._power.mean(axis=(1, 2))
        return math.sqrt(luma + _CHROMA_GAIN / 3 * (cb + cr)), math.sqrt(luma)

    def correlation(self) -> float:
        """Returns the correlation of the luma noise of neighbouring pixels, the mean of both directions."""
        luma = self._power[0]
        if not luma.any():
            return 0.0
        weight = (np.cos(FREQUENCIES)[:, None] + np.cos(FREQUENCIES)[None, :]) / 2
        return float((luma * weight).sum() / luma.sum())


def _contents(gradients: tuple[float, float], transfer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales of the Laplacian coefficients of luma, and of halved chroma, at the frequencies of the image."""
    left = np.abs(transfer) * _falloff()
    return gradients[0] * _CONTENT * left, gradients[1] * _CHROMA_CONTENT * left


@lru_cache(maxsize=1)
def _falloff() -> np.ndarray:
    """What coefficients of photos fall with: 1 / r at r eighths of half the sampling rate."""
    index = np.maximum(np.abs(FREQUENCIES) / np.pi * 8, 0.5)
    return 1 / np.hypot(index[:, None], index[None, :])


@lru_cache(maxsize=1024)
def _steps(quality: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantisation steps of luma and chroma at each frequency of the spectrum, in 0..1."""
    luma, chroma = (np.array(table, float).reshape(8, 8) / 255 for table in quantisation_tables(quality))
    index = np.abs(FREQUENCIES) / np.pi * 8
    fine = np.minimum(np.rint(index), 7).astype(int)
    coarse = np.minimum(np.rint(2 * index), 7).astype(int)
    return luma[np.ix_(fine, fine)], chroma[np.ix_(coarse, coarse)]


def _quantised(power: np.ndarray, content: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Mean square of what noise changes in coefficients that are rounded to whole steps."""
    noise = np.log(np.maximum(np.sqrt(power) / step, 1e-9))
    change = _change(noise, np.log(np.maximum(content / step, 1e-9)))
    # stronger noise than in the table passes as it is, plus the error of rounding twice
    return np.where(noise > _NOISE[-1], power + step**2 / 6, change * step**2)


#: Logarithms of the standard deviation of noise and of the scale of the content, in quantisation steps.
_NOISE, _SCALE = np.linspace(-3, 1.5, 19), np.linspace(-3, 4, 29)


def _change(noise: np.ndarray, scale: np.ndarray) -> np.ndarray:
    table = _change_table()
    (i, u), (j, v) = _place(noise, _NOISE), _place(scale, _SCALE)
    low = table[i, j] * (1 - v) + table[i, j + 1] * v
    high = table[i + 1, j] * (1 - v) + table[i + 1, j + 1] * v
    return np.exp(low * (1 - u) + high * u + np.minimum(noise - _NOISE[0], 0.0))


def _place(value: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the entry below, and the share of the one above it."""
    place = np.clip((value - grid[0]) / (grid[1] - grid[0]), 0, len(grid) - 1.001)
    return place.astype(int), place - place.astype(int)


@lru_cache(maxsize=1)
def _change_table() -> np.ndarray:
    """Logarithm of the mean of (round(c + n) - round(c))^2, for normal n and Laplacian c; in whole steps.

    By quadrature over c, with n integrated in closed form: a change by k steps has the probability that n falls between
    the borders of that step.
    """
    content = np.exp(_SCALE)[:, None] * _laplacian(160)  # (S, C)
    borders = np.arange(-20, 22) - 0.5 - (content - np.rint(content))[..., None]
    squares = np.arange(-20, 21.0) ** 2
    table = [np.diff(ndtr(borders / noise), axis=-1) @ squares for noise in np.exp(_NOISE)]
    return np.log(np.maximum(np.mean(table, axis=-1), 1e-7))


@lru_cache(maxsize=1)
def _rounding_table() -> np.ndarray:
    """Mean of (round(c) - c)^2 for Laplacian c of the scales of :data:`_SCALE`; in whole steps."""
    content = np.exp(_SCALE)[:, None] * _laplacian(4000)
    return ((np.rint(content) - content) ** 2).mean(axis=1)


def _laplacian(count: int) -> np.ndarray:
    """Evenly spaced quantiles of the magnitude of a Laplacian of scale 1."""
    return -np.log(1 - (np.arange(count) + 0.5) / count)
