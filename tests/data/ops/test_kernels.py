from __future__ import annotations

import cv2
import numpy as np
import pytest
from basicsr.data import degradations
from scipy import ndimage

from deplsr_data.ops.kernels import blur_kernel, convolve, sharpening_kernel, sinc_kernel


def test_an_isotropic_kernel_is_opencvs_gaussian():
    row = cv2.getGaussianKernel(11, 1.7)
    np.testing.assert_allclose(blur_kernel(11, 1.7, 1.7), row @ row.T, atol=1e-7)


def test_sharpening_adds_what_a_gaussian_blur_removes(photo):
    blurred = cv2.GaussianBlur(photo, (13, 13), 1.8, borderType=cv2.BORDER_REFLECT_101)
    sharpened = convolve(photo, sharpening_kernel(13, 1.8, 0.7))
    np.testing.assert_allclose(sharpened, photo + 0.7 * (photo - blurred), atol=1e-5)


def test_an_anisotropic_kernel_is_basicsrs():
    expected = degradations.bivariate_Gaussian(15, 2.4, 0.9, 0.6, isotropic=False)
    np.testing.assert_allclose(blur_kernel(15, 2.4, 0.9, 0.6), expected, atol=1e-7)


def test_an_anisotropic_kernel_has_its_two_sigmas_along_its_angle():
    kernel = blur_kernel(41, 3.0, 1.5, 0.5).astype(np.float64)
    y, x = np.mgrid[-20:21, -20:21]
    covariance = [[(kernel * x * x).sum(), (kernel * x * y).sum()], [(kernel * x * y).sum(), (kernel * y * y).sum()]]
    values, vectors = np.linalg.eigh(covariance)
    np.testing.assert_allclose(np.sqrt(values), [1.5, 3.0], rtol=1e-3)
    assert np.arctan(vectors[1, 1] / vectors[0, 1]) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ('family', 'oracle'),
    [
        ('generalized', degradations.bivariate_generalized_Gaussian),
        ('plateau', degradations.bivariate_plateau),
    ],
)
def test_the_other_families_are_basicsrs(family, oracle):
    expected = oracle(21, 2.4, 0.9, 0.6, 1.5, isotropic=False)
    np.testing.assert_allclose(blur_kernel(21, 2.4, 0.9, 0.6, family, 1.5), expected, atol=1e-7)


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match='family'):
        blur_kernel(3, 1, 1, family='box')


def test_sigma_zero_is_the_identity(photo):
    np.testing.assert_array_equal(convolve(photo, blur_kernel(7, 0, 0)), photo)
    np.testing.assert_array_equal(convolve(photo, blur_kernel(1, 0, 0)), photo)


@pytest.mark.parametrize(('size', 'omega_c'), [(7, 1.1), (21, 2.0), (13, np.pi)])
def test_the_sinc_kernel_is_basicsrs(size, omega_c):
    expected = degradations.circular_lowpass_kernel(omega_c, size)
    np.testing.assert_allclose(sinc_kernel(size, omega_c), expected, atol=1e-6)


def test_the_sinc_kernel_passes_what_is_below_its_cutoff_and_stops_what_is_above():
    kernel = np.zeros((256, 256))
    kernel[:101, :101] = sinc_kernel(101, np.pi / 2)
    response = np.abs(np.fft.fft2(kernel))[0, :129]  # 0 to pi
    assert abs(response[:55] - 1).max() < 0.15
    assert response[75:].max() < 0.15


def test_convolution_mirrors_at_the_borders_without_repeating_them(photo):
    kernel = blur_kernel(13, 3.0, 1.0, 0.4)
    expected = np.stack(
        [ndimage.correlate(photo[..., c].astype(np.float64), kernel, mode='mirror') for c in range(3)], -1
    )
    out = convolve(photo, kernel)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, atol=1e-5)
