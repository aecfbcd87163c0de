"""Transfer functions against the operators themselves, applied to waves."""

from __future__ import annotations

import numpy as np
import pytest

from deplsr_data.ops.kernels import blur_kernel, convolve, sinc_kernel
from deplsr_data.ops.resize import resize
from deplsr_data.ops.transfer import (
    FREQUENCIES,
    kernel_power,
    kernel_transfer,
    point_spread,
    point_spread_along,
    resize_noise,
    resize_transfer,
)

SIDE = 240
MODES = [('bilinear', False), ('bicubic', False), ('bicubic', True), ('area', True)]


def wave(frequency: float, side: int = SIDE) -> np.ndarray:
    """A horizontal cosine, (side, side, 3) float32; ``frequency`` in radians per pixel."""
    line = np.cos(frequency * (np.arange(side) - (side - 1) / 2))
    return np.repeat(np.tile(line, (side, 1))[..., None], 3, axis=2).astype(np.float32)


@pytest.mark.parametrize(
    'kernel',
    [blur_kernel(9, 1.3, 0.7, 0.5), blur_kernel(21, 3, 3, 0, 'plateau', 1.5), sinc_kernel(13, 1.2)],
    ids=['gaussian', 'plateau', 'sinc'],
)
@pytest.mark.parametrize('frequency', [0.0, 0.3, 1.0, 2.0])
def test_a_kernel_scales_a_wave_by_its_transfer_function(kernel, frequency):
    image = wave(frequency)
    part = slice(40, 200)
    measured = convolve(image, kernel)[120, part, 0] @ image[120, part, 0] / (image[120, part, 0] @ image[120, part, 0])
    expected = kernel_transfer(kernel, np.zeros(1), np.array([frequency]))[0, 0]
    assert measured == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ('mode', 'antialias'), [('bilinear', False), ('bicubic', False), ('bicubic', True), ('area', True)]
)
@pytest.mark.parametrize('n_out', [60, 170, 300])
def test_a_resize_scales_a_slow_wave_by_its_transfer_function(mode, antialias, n_out):
    frequency = 0.25
    out = resize(wave(frequency), SIDE, n_out, mode, antialias)[120, :, 0]
    place = (np.arange(n_out) + 0.5) * SIDE / n_out - 0.5
    reference = np.cos(frequency * (place - (SIDE - 1) / 2))
    part = slice(n_out // 6, -n_out // 6)
    measured = out[part] @ reference[part] / (reference[part] @ reference[part])
    expected = resize_transfer(np.array([frequency]), mode, antialias, SIDE, n_out)[0]
    assert measured == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ('mode', 'antialias'), [('bilinear', False), ('bicubic', False), ('bicubic', True), ('area', True)]
)
@pytest.mark.parametrize('n_out', [60, 133, 240, 300])
def test_white_noise_leaves_a_resize_as_strong_as_its_spectrum(mode, antialias, n_out):
    noise = np.random.default_rng(0).standard_normal((SIDE, SIDE, 3)).astype(np.float32)
    measured = resize(noise, n_out, n_out, mode, antialias).var()
    along = resize_noise(mode, antialias, SIDE, n_out) @ np.ones(9)
    expected = np.trapezoid(along, dx=1 / 8) ** 2
    assert measured == pytest.approx(expected, rel=0.06)


def test_the_point_spread_of_a_gaussian_is_its_covariance():
    frequency = np.linspace(-1.4, 1.4, 27)
    sigma, angle = (2.0, 0.8), 0.6
    direction = np.array([np.sin(angle), np.cos(angle)])  # vertical axis first
    across = np.array([direction[1], -direction[0]])
    covariance = sigma[0] ** 2 * np.outer(direction, direction) + sigma[1] ** 2 * np.outer(across, across)
    y, x = frequency[:, None], frequency[None, 13:]
    power = covariance[0, 0] * y**2 + 2 * covariance[0, 1] * y * x + covariance[1, 1] * x**2
    found = point_spread(np.exp(-0.5 * power), frequency, frequency[13:], probe=3.0)
    np.testing.assert_allclose(found, covariance, atol=0.02)


def test_the_identity_spreads_nothing():
    frequency = np.linspace(-1.4, 1.4, 27)
    np.testing.assert_allclose(point_spread(np.ones((27, 27)), frequency, frequency, 3.0), 0, atol=0.05)


@pytest.mark.parametrize('sigma', [0.5, 2.0, 10.0])
def test_the_point_spread_along_an_axis_is_that_of_both_together(sigma):
    frequency = 1.1 * np.sinh(2 * np.arange(-11, 12) / 11) / np.sinh(2)
    half = frequency[11:]
    along = np.exp(-0.5 * (sigma * half) ** 2)
    both = np.outer(np.concatenate([along[:0:-1], along]), along)
    variance = point_spread_along(along, half, 3.0)
    np.testing.assert_allclose(point_spread(both, frequency, half, 3.0), variance * np.eye(2), atol=0.02)
    assert variance == pytest.approx(sigma**2, abs=0.02)


def test_the_power_of_a_kernel_is_that_of_its_transfer_function_in_all_quadrants():
    kernel = blur_kernel(15, 3.0, 1.0, 0.6)
    quadrants = [kernel_transfer(kernel, FREQUENCIES, sign * FREQUENCIES) ** 2 for sign in (1, -1)]
    np.testing.assert_allclose(kernel_power(kernel), np.mean(quadrants, axis=0), atol=1e-9)


@pytest.mark.parametrize(('n_in', 'n_out'), [(256, 97), (171, 64), (96, 64), (37, 64)])
def test_an_area_resize_keeps_a_constant_and_little_of_fast_waves(n_in, n_out):
    transfer = resize_transfer(np.array([0.0, 2.5]), 'area', True, n_in, n_out)
    assert transfer[0] == pytest.approx(1)
    assert abs(transfer[1]) < 0.75
