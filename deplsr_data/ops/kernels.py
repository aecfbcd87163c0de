"""Blur, sharpening and ringing kernels from given parameters, and the convolution that applies them."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.special import j1

__all__ = ['blur_kernel', 'convolve', 'sharpening_kernel', 'sinc_kernel']


def blur_kernel(
    kernel_size: int, sigma_x: float, sigma_y: float, angle: float = 0.0, family: str = 'gaussian', beta: float = 1.0
) -> np.ndarray:
    """Returns a bell-shaped kernel that sums to 1.

    Source: generalized and plateau kernels as in Real-ESRGAN (ICCVW 2021), section 3.1.

    Args:
        kernel_size: Odd width of the kernel.
        sigma_x: Standard deviation in pixels along the first axis of the ellipse; 0 (for both) is the identity.
        sigma_y: The same along the second axis.
        angle: Radians from the image's x axis to the first axis of the ellipse.
        family: ``gaussian``; ``generalized`` (exponent to the power ``beta``); ``plateau`` (flat, 1 / (1 + q^beta)).
        beta: Shape of the latter two; a generalized Gaussian of beta 1 is a Gaussian.

    Returns:
        (kernel_size, kernel_size) float32; a single 1 in the middle if sigma is 0.
    """
    if sigma_x == 0 and sigma_y == 0:
        kernel = np.zeros((kernel_size, kernel_size), np.float32)
        kernel[kernel_size // 2, kernel_size // 2] = 1
        return kernel
    x, y = _grid(kernel_size)
    along = (np.cos(angle) * x + np.sin(angle) * y) / sigma_x
    across = (np.cos(angle) * y - np.sin(angle) * x) / sigma_y
    distance = along**2 + across**2
    if family == 'gaussian':
        bell = np.exp(-0.5 * distance)
    elif family == 'generalized':
        bell = np.exp(-0.5 * distance**beta)
    elif family == 'plateau':
        bell = 1 / (1 + distance**beta)
    else:
        raise ValueError(f"expected family 'gaussian', 'generalized' or 'plateau', got {family!r}")
    return (bell / bell.sum()).astype(np.float32)


def sinc_kernel(kernel_size: int, omega_c: float) -> np.ndarray:
    """Returns the circular low-pass kernel with cutoff ``omega_c`` (radians per pixel), cut to ``kernel_size``, sum 1.

    Source: inverse Fourier transform of a disc, omega_c J1(omega_c r) / (2 pi r), and omega_c^2 / (4 pi) at r = 0.

    Returns:
        (kernel_size, kernel_size) float32.
    """
    x, y = _grid(kernel_size)
    radius = np.hypot(x, y)
    middle = kernel_size // 2
    radius[middle, middle] = 1  # the limit is set below
    kernel = omega_c * j1(omega_c * radius) / (2 * np.pi * radius)
    kernel[middle, middle] = omega_c**2 / (4 * np.pi)
    return (kernel / kernel.sum()).astype(np.float32)


def sharpening_kernel(kernel_size: int, sigma: float, amount: float) -> np.ndarray:
    """Returns the kernel of an unsharp mask, which adds ``amount`` of what a Gaussian blur removes; it sums to 1.

    Args:
        kernel_size: Odd width of the kernel.
        sigma: Standard deviation of the Gaussian in pixels, above 0.
        amount: 0 is the identity.

    Returns:
        (kernel_size, kernel_size) float32.
    """
    kernel = -amount * blur_kernel(kernel_size, sigma, sigma)
    kernel[kernel_size // 2, kernel_size // 2] += 1 + amount
    return kernel


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Filters each channel; the image is mirrored beyond its borders without repeating the last row.

    Shape:
        - image: (h, w, 3) float32. kernel: (k, k), k odd. Returns (h, w, 3) float32, not clipped.
    """
    if kernel.shape == (1, 1) and kernel[0, 0] == 1:
        return image
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y, both (size, size), counted from the middle; y points down."""
    axis = np.arange(size, dtype=np.float64) - size // 2
    x, y = np.meshgrid(axis, axis)
    return x, y
