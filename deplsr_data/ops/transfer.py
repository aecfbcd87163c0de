"""What linear operators do to frequencies: transfer functions, width of a point spread function, spectrum of noise.

A chain of filters and resizes is described by its mean over the phases of its sampling grids: the transfer functions of
its steps multiply, also where a resize without antialiasing aliases. So the width of the chain's point spread function
and the strength of noise behind it follow from the parameters of its steps; no image is needed.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

__all__ = [
    'FREQUENCIES',
    'kernel_power',
    'kernel_transfer',
    'point_spread',
    'point_spread_along',
    'resize_noise',
    'resize_transfer',
]

_PASSES = 12
_TOLERANCE = 1e-3
_PHASES = 64  # of output pixels between input pixels, of which an area resize is the mean
_SIMPLE = 64  # output pixels after which the phases of a resize repeat, up to which its ratio stays exact
_STEPS = 100  # other ratios are rounded to multiples of 1%
_PRIME = 997
#: Frequencies of a power spectrum along one axis in radians per pixel; the other half is equal.
FREQUENCIES = np.linspace(0, np.pi, 9)


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
    transfer = np.cos(down) @ kernel @ np.cos(across)
    if _is_slanted(kernel):
        transfer -= np.sin(down) @ kernel @ np.sin(across)
    return transfer


def kernel_power(kernel: np.ndarray) -> np.ndarray:
    """Returns by what a point symmetric kernel multiplies a power spectrum, (N, N) at :data:`FREQUENCIES`.

    The mean of the four quadrants: a spectrum is kept for frequencies from 0 on.
    """
    cosine, sine = _waves(len(kernel))
    power = (cosine @ kernel @ cosine.T) ** 2
    if _is_slanted(kernel):
        power += (sine @ kernel @ sine.T) ** 2
    return power


def _is_slanted(kernel: np.ndarray) -> bool:
    return bool(np.abs(kernel - kernel[::-1]).max() > 1e-6)


@lru_cache(maxsize=64)
def _waves(taps: int) -> tuple[np.ndarray, np.ndarray]:
    phase = np.outer(FREQUENCIES, np.arange(taps) - taps // 2)
    return np.cos(phase), np.sin(phase)


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
    if n_in % n_out == 0:
        offset, weight = _fixed_taps(mode, antialias, n_in // n_out)
        return np.cos(frequency[..., None] * offset) @ weight
    if mode == 'area':
        offset, weight = _area_kernel(*_ratio(n_in, n_out))
        return np.cos(frequency[..., None] * offset) @ weight
    return _interpolation(frequency, mode, antialias, n_in, n_out)


@lru_cache(maxsize=256)
def _fixed_taps(mode: str, antialias: bool, shrink: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and weights of the input pixels of any output pixel, which are the same in a shrink by a whole factor."""
    centre = (shrink - 1) / 2
    if mode == 'area':
        return np.arange(shrink) - centre, np.full(shrink, 1 / shrink)
    width = float(shrink) if antialias else 1.0
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


@lru_cache(maxsize=1024)
def _area_kernel(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of an area resize by a reduced ratio: distances from the centre of an output pixel and weights.

    An output pixel is the mean of all input pixels that it touches. How many these are follows from where it begins
    between two of them, and so do the distances of their centres.
    """
    width, phases = n_in / n_out, min(n_out, _PHASES)
    begin = np.arange(phases)[:, None] / phases
    count = np.ceil(begin + width - 1e-9)
    pixel = np.arange(count.max())
    offset, weight = pixel + 0.5 - begin - width / 2, 1 / (count * phases) * (pixel < count)
    return offset[weight > 0], weight[weight > 0]


def resize_noise(mode: str, antialias: bool, n_in: int, n_out: int) -> np.ndarray:
    """Returns the matrix that takes the power spectrum of noise along one axis through a resize.

    Args:
        mode: See :func:`resize_transfer`.
        antialias: See :func:`resize_transfer`.
        n_in: Input pixels.
        n_out: Output pixels.

    Returns:
        (N, N) float64: spectrum at :data:`FREQUENCIES` before to spectrum after.
    """
    if n_in == n_out:
        return np.eye(len(FREQUENCIES))
    return _resize_noise(mode, antialias, *_ratio(n_in, n_out))


def _ratio(n_in: int, n_out: int) -> tuple[int, int]:
    """A ratio of sizes with few different values, so that what follows from it is cached: exact where it is simple."""
    shared = math.gcd(n_in, n_out)
    if n_out <= _SIMPLE * shared:
        return n_in // shared, n_out // shared
    places = round(_STEPS * math.log(n_in / n_out))
    return round(_PRIME * math.exp(places / _STEPS)), _PRIME


@lru_cache(maxsize=4096)
def _resize_noise(mode: str, antialias: bool, n_in: int, n_out: int) -> np.ndarray:
    last = len(FREQUENCIES) - 1
    shrink = n_in / n_out
    # a kernel on few phases repeats in frequency
    highest = math.pi * (1 if n_in % n_out == 0 else min(n_out, 8) if mode == 'area' else 8)
    aliases = math.ceil(highest * shrink / (2 * np.pi)) + 1
    frequency = (FREQUENCIES[:, None] + 2 * np.pi * np.arange(-aliases, aliases + 1)) / shrink
    power = resize_transfer(frequency, mode, antialias, n_in, n_out) ** 2
    weight = np.where(np.abs(frequency) <= highest + 1e-9, power / shrink, 0.0)
    place = np.abs(frequency) / np.pi * last % (2 * last)  # the spectrum is even and repeats
    below = np.minimum(np.floor(place).astype(int), 2 * last - 1)
    rows = np.broadcast_to(np.arange(last + 1)[:, None], place.shape)
    matrix = np.zeros((last + 1, 2 * last + 1))
    np.add.at(matrix, (rows, below), weight * (1 - (place - below)))
    np.add.at(matrix, (rows, below + 1), weight * (place - below))
    matrix[:, :last] += matrix[:, :last:-1]
    return matrix[:, : last + 1]


def point_spread(transfer: np.ndarray, rows: np.ndarray, columns: np.ndarray, probe: float) -> np.ndarray:
    """Returns the covariance of a point spread function, as it blurs a Gaussian spot of standard deviation ``probe``.

    Second moments would be dominated by the faint far lobes of sinc filters and bicubic kernels. These are adaptive
    moments (moments under a Gaussian weight of the spot's own shape, as astronomers measure the shapes of stars), which
    are exact for Gaussians. In the frequency domain one pass is ``S^-1 - C``, with S the mean of the outer product of
    the frequency under the weighted spectrum and C the covariance of the weight.

    Source: Bernstein and Jarvis, Astronomical Journal 123, 583 (2002), section 3.

    Args:
        transfer: (M, N) transfer function.
        rows: (M,) vertical frequencies in radians per pixel, symmetric about 0; they may be denser towards 0.
        columns: (N,) horizontal frequencies; these may be those from 0 on alone, as the other half is equal.
        probe: Standard deviation of the spot in pixels; the frequencies should reach 3 / ``probe``.

    Returns:
        (2, 2) float64 in square pixels, vertical axis first, without the spot's own; it may be negative where the
        chain sharpens, and standard deviations end at 8 times ``probe``.
    """
    products, half, weight = _products(tuple(rows.tolist()), tuple(columns.tolist()))
    spot = transfer.ravel() * np.exp(-(probe**2) * (half[0] + half[2])) * weight
    lowest, highest = 0.1 * probe**2, 64 * probe**2  # of the axes: a proper weight, no wider than frequencies resolve
    a, b, c = probe**2 + 1, 0.0, probe**2 + 1
    for _ in range(_PASSES):
        total, yy, yx, xx = (products @ (spot * np.exp(np.array((-a, -b, -c)) @ half))).tolist()
        smaller = 0.5 * (yy + xx - math.hypot(yy - xx, 2 * yx))
        if total <= 0 or smaller <= 1e-9 * total:
            # lobes outweigh the centre: look at lower frequencies, where there are none
            wider = min(2.0, highest / (a + c))
            a, b, c = a * wider, b * wider, c * wider
            continue
        scale = total / (yy * xx - yx * yx)
        new = _bounded(scale * xx - a, -scale * yx - b, scale * yy - c, lowest, highest)
        change = max(abs(new[0] - a), abs(new[1] - b), abs(new[2] - c))
        a, b, c = new
        if change < _TOLERANCE * probe**2:
            break
    return np.array([[a - probe**2, b], [b, c - probe**2]])


def point_spread_along(transfer: np.ndarray, frequency: np.ndarray, probe: float) -> float:
    """Returns the variance of a point spread function along one axis, as :func:`point_spread` does if it is separable.

    Args:
        transfer: (N,) transfer function along the axis.
        frequency: (N,) frequencies from 0 on in radians per pixel; they may be denser towards 0.
        probe: Standard deviation of the spot in pixels.
    """
    products, half, weight = _products((0.0,), tuple(frequency.tolist()))
    products, half = products[::3], half[2]
    spot = transfer * np.exp(-(probe**2) * half) * weight
    lowest, highest = 0.1 * probe**2, 64 * probe**2
    variance = probe**2 + 1
    for _ in range(_PASSES):
        total, square = (products @ (spot * np.exp(-variance * half))).tolist()
        if total <= 0 or square <= 1e-9 * total:
            variance = min(2 * variance, highest / 2)
            continue
        new = min(max(total / square - variance, lowest), highest)
        change, variance = abs(new - variance), new
        if change < _TOLERANCE * probe**2:
            break
    return variance - probe**2


@lru_cache(maxsize=16)
def _products(rows: tuple[float, ...], columns: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1, yy, yx and xx of all frequencies, (4, M N); halves of yy, 2 yx and xx; and what each stands for, (M N,)."""
    y, x = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing='ij'))
    shares = [np.gradient(np.array(one)) if len(one) > 1 else np.ones(1) for one in (rows, columns)]
    if columns[0] == 0:
        shares[1][0] /= 2
    weight = np.outer(*shares).ravel()
    return np.stack([np.ones_like(y), y * y, y * x, x * x]), np.stack([0.5 * y * y, y * x, 0.5 * x * x]), weight


def _bounded(a: float, b: float, c: float, lowest: float, highest: float) -> tuple[float, float, float]:
    """Clips the eigenvalues of the matrix [[a, b], [b, c]]."""
    mean, radius = 0.5 * (a + c), math.hypot(0.5 * (a - c), b)
    large, small = (min(max(value, lowest), highest) for value in (mean + radius, mean - radius))
    factor = (large - small) / (2 * radius) if radius > 1e-12 else 0.0
    middle = 0.5 * (large + small)
    return middle + factor * (a - mean), factor * b, middle + factor * (c - mean)
