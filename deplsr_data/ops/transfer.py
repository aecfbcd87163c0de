"""What linear operators do to frequencies: transfer functions, width of a point spread function, spectrum of noise.

A chain of filters and resizes is described by its mean over the phases of its sampling grids: the transfer functions of
its steps multiply, also where a resize without antialiasing aliases. So the width of the chain's point spread function
and the strength of noise behind it follow from the parameters of its steps; no image is needed.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

__all__ = ['kernel_transfer', 'point_spread', 'resize_noise', 'resize_transfer']

_PASSES = 12
_TOLERANCE = 1e-3
_WINDOWS = 24  # output pixels of an area resize whose windows are averaged


def kernel_transfer(kernel: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the transfer function of a point symmetric kernel, which is real.

    Args:
        kernel: (k, k), k odd, sum 1.
        rows: (M,) vertical frequencies in radians per pixel.
        columns: (N,) horizontal frequencies in radians per pixel.

    Returns:
        (M, N) float64; 1 at frequency 0.
    """
    place = np.arange(len(kernel)) - len(kernel) // 2
    down, across = np.outer(rows, place), np.outer(place, columns)
    return np.cos(down) @ kernel @ np.cos(across) - np.sin(down) @ kernel @ np.sin(across)


def resize_transfer(frequency: np.ndarray, mode: str, antialias: bool, n_in: int, n_out: int) -> np.ndarray:
    """Returns the transfer function of a resize along one axis, averaged over its output pixels.

    Args:
        frequency: In radians per input pixel, any shape.
        mode: ``area``, ``bilinear`` or ``bicubic`` as in :func:`torch.nn.functional.interpolate`.
        antialias: Whether the kernel widens when the image shrinks; ``area`` always averages.
        n_in: Input pixels.
        n_out: Output pixels.

    Returns:
        Float64 in the shape of ``frequency``; 1 at frequency 0.
    """
    if n_in == n_out:
        return np.ones_like(frequency)
    if mode == 'area':
        offset, length = _windows(n_in, n_out)
        return (_mean_of(length, frequency) * np.cos(frequency[..., None] * offset)).mean(axis=-1)
    if n_in % n_out == 0:
        offset, weight = _fixed_taps(mode, antialias, n_in // n_out)
        return np.cos(frequency[..., None] * offset) @ weight
    return _interpolation(frequency, mode, antialias, n_in, n_out)


@lru_cache(maxsize=256)
def _fixed_taps(mode: str, antialias: bool, shrink: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and weights of the input pixels of any output pixel, which are the same in a shrink by a whole factor."""
    width = float(shrink) if antialias else 1.0
    centre = (shrink - 1) / 2
    offset = np.arange(-2 * shrink - 3, 3 * shrink + 3) - centre
    weight = np.maximum(1 - np.abs(offset / width), 0) if mode == 'bilinear' else _cubic(offset / width, antialias)
    return offset[weight != 0], weight[weight != 0] / weight.sum()


def _cubic(x: np.ndarray, antialias: bool) -> np.ndarray:
    """Keys' cubic convolution kernel with the constant that torch takes with and without antialiasing."""
    a, x = (-0.5 if antialias else -0.75), np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _interpolation(frequency: np.ndarray, mode: str, antialias: bool, n_in: int, n_out: int) -> np.ndarray:
    """Fourier transform of the kernel of a bilinear or bicubic resize."""
    scaled = frequency * (max(n_in / n_out, 1.0) if antialias else 1.0)
    if mode == 'bilinear':
        return np.sinc(scaled / (2 * np.pi)) ** 2
    at, values = _cubic_transform(antialias)
    return np.interp(np.abs(scaled), at, values, right=0.0)


@lru_cache(maxsize=2)
def _cubic_transform(antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Fourier transform of the cubic kernel at frequencies up to 8 pi, beyond which it is below 1e-4."""
    x = np.linspace(0, 2, 513)
    frequency = np.linspace(0, 8 * np.pi, 1025)
    waves = _cubic(x, antialias) * np.cos(frequency[:, None] * x)
    return frequency, (waves[:, 1:] + waves[:, :-1]).sum(axis=1) * (x[1] - x[0])


@lru_cache(maxsize=4096)
def _windows(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Offset of the middle of an area window from the centre of its output pixel, and its length, for some windows."""
    out = np.unique(np.linspace(0.2 * n_out, 0.8 * n_out, _WINDOWS).astype(int))
    first, end = out * n_in // n_out, ((out + 1) * n_in + n_out - 1) // n_out
    return (first + end - 1) / 2 - ((out + 0.5) * n_in / n_out - 0.5), end - first


def _mean_of(length: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Transfer function of the mean over ``length`` pixels: frequency (...) and length (K,) to (..., K)."""
    half = frequency[..., None] / 2
    below = np.sin(half)
    safe = np.where(np.abs(below) < 1e-9, 1.0, below)
    return np.where(np.abs(below) < 1e-9, 1.0, np.sin(half * length) / (length * safe))


@lru_cache(maxsize=4096)
def resize_noise(count: int, mode: str, antialias: bool, n_in: int, n_out: int) -> np.ndarray:
    """Returns the matrix that takes the power spectrum of noise along one axis through a resize.

    Args:
        count: Frequencies of a spectrum, those of :func:`numpy.fft.fftfreq`.
        mode: See :func:`resize_transfer`.
        antialias: See :func:`resize_transfer`.
        n_in: Input pixels.
        n_out: Output pixels.

    Returns:
        (count, count) float64: spectrum before to spectrum after; the mean of a spectrum is the noise's variance.
    """
    if n_in == n_out:
        return np.eye(count)
    shrink = n_in / n_out
    base = 2 * np.pi * np.fft.fftfreq(count)
    on_pixels = mode == 'area' or n_in % n_out == 0  # weights of input pixels, which no higher frequency reaches
    highest = math.pi if on_pixels else 8 * np.pi
    matrix = np.zeros((count, count))
    for alias in range(-math.ceil(highest * shrink / (2 * np.pi)) - 1, math.ceil(highest * shrink / (2 * np.pi)) + 2):
        frequency = (base + 2 * np.pi * alias) / shrink
        inside = np.abs(frequency) <= highest + 1e-9
        if not inside.any():
            continue
        if mode == 'area':
            power = (_mean_of(_windows(n_in, n_out)[1], frequency) ** 2).mean(axis=-1)
        else:
            power = resize_transfer(frequency, mode, antialias, n_in, n_out) ** 2
        place = frequency / (2 * np.pi) * count
        below = np.floor(place).astype(int)
        share = place - below
        weight = np.where(inside, power / shrink, 0.0)
        np.add.at(matrix, (np.arange(count), below % count), weight * (1 - share))
        np.add.at(matrix, (np.arange(count), (below + 1) % count), weight * share)
    return matrix


def point_spread(transfer: np.ndarray, rows: np.ndarray, columns: np.ndarray, probe: float) -> np.ndarray:
    """Returns the covariance of a point spread function, as it blurs a Gaussian spot of standard deviation ``probe``.

    Second moments would be dominated by the faint far lobes of sinc filters and bicubic kernels. These are adaptive
    moments (moments under a Gaussian weight of the spot's own shape, as astronomers measure the shapes of stars), which
    are exact for Gaussians. In the frequency domain one pass is ``S^-1 - C``, with S the mean of the outer product of
    the frequency under the weighted spectrum and C the covariance of the weight.

    Source: Bernstein and Jarvis, Astronomical Journal 123, 583 (2002), section 3.

    Args:
        transfer: (M, N) transfer function.
        rows: (M,) vertical frequencies in radians per pixel, evenly spaced and symmetric about 0.
        columns: (N,) horizontal frequencies; these may be those from 0 on alone, as the other half is equal.
        probe: Standard deviation of the spot in pixels; the frequencies should reach 4 / ``probe``.

    Returns:
        (2, 2) float64 in square pixels, vertical axis first, without the spot's own; it may be negative where the
        chain sharpens, and standard deviations end at 4 times ``probe``.
    """
    y, x = rows[:, None], columns[None, :]
    spot = transfer * np.exp(-0.5 * probe**2 * (y**2 + x**2))
    if columns[0] == 0:
        spot[:, 1:] *= 2
    own = np.eye(2) * probe**2
    covariance = own + np.eye(2)
    for _ in range(_PASSES):
        (a, b), (_, c) = covariance
        weighted = spot * np.exp(-0.5 * (a * y * y + 2 * b * y * x + c * x * x))
        along, across, total = weighted * y, weighted * x, weighted.sum()
        moments = np.array([[(along * y).sum(), (along * x).sum()], [(along * x).sum(), (across * x).sum()]])
        if total <= 0 or np.linalg.eigvalsh(moments / total)[0] <= 1e-9:
            covariance = (
                np.minimum(2, 16 * probe**2 / np.trace(covariance)) * covariance
            )  # lobes outweigh the centre: look at lower frequencies, where there are none
            continue
        values, axes = np.linalg.eigh(np.linalg.inv(moments / total) - covariance)
        # bounds: a weight that is a proper one, and no wider than the frequencies resolve
        new = (axes * np.clip(values, 0.1 * probe**2, 16 * probe**2)) @ axes.T
        change = np.abs(new - covariance).max()
        covariance = new
        if change < _TOLERANCE * probe**2:
            break
    return covariance - own
