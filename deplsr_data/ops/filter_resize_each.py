"""Blur and resize of a batch on the CPU, one image after the other, by OpenCV and torch.

What :func:`deplsr_data.ops.filter_resize_batch.transform` does by matrix products, which is the faster way on a GPU,
and on a CPU for a simple blur before a shrink by an integer. Elsewhere this is. Per image, on one core, in ms:

- a blur of 21 taps at 256 (64) pixels: separable 0.8 a term (0.1), by Fourier transform 1.3 (0.2) whatever its terms;
  by matrix products 2.2 (0.3) a term;
- a resize whose mode and size differ from those of the other images: 0.3 to 2.5, by matrix products 4 to 8.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deplsr_data.ops.filter_resize_batch import Plan
from deplsr_data.ops.resize_batch import MODES

__all__ = ['filter_resize_each', 'is_fused_faster']

_DIRECT_TAPS = 9  # up to here a plain convolution with the complete kernel takes as long as two or three terms
_BORDER = cv2.BORDER_REFLECT_101
_FOURIER = 36  # taps of all terms together, from which a Fourier transform is faster


def is_fused_faster(terms: int, mode: int, size_in: tuple[int, int], size_out: tuple[int, int]) -> bool:
    """Whether one matrix for blur and resize beats one after the other: where a shrink skips most of a simple blur."""
    shrinks = all(before >= 2 * after for before, after in zip(size_in, size_out, strict=True))
    return (
        terms in (1, 2) and shrinks and not any(before % after for before, after in zip(size_in, size_out, strict=True))
    )


def filter_resize_each(
    x: Tensor, filters: Tensor, plan: Plan, canvas: tuple[int, int], members: list[int] | None = None
) -> Tensor:
    """Blurs (mirroring borders without repeating the last pixel), then resizes each image of a batch.

    Args:
        x: (B, H, 3, W) float32 on the CPU, rows of three channels, each image in the upper left corner.
        filters: (B, T, 2, k) float32, separable kernels; those of a sample beyond ``plan.terms`` are not read.
        plan: Sizes, modes and how many terms; a sample with 0 terms is not blurred.
        canvas: Rows and columns of the output, at least the largest ``plan.size_out``.
        members: Which samples; default: all.

    Returns:
        (B, *canvas[0], 3, canvas[1]) float32, each image in the upper left corner, 0 beyond and in other samples.
    """
    out = x.new_zeros(len(x), canvas[0], 3, canvas[1])
    for b in range(len(x)) if members is None else members:
        (height, width), size = plan.size_in[b], plan.size_out[b]
        image = x[b, :height, :, :width]
        if plan.terms[b]:
            margin = (filters.shape[-1] - plan.taps[b]) // 2
            image = _blurred(image, filters[b, : plan.terms[b], :, margin : filters.shape[-1] - margin].numpy())
        if (height, width) != size:
            image = _resized(image, plan.mode[b], size)
        out[b, : size[0], :, : size[1]] = image
    return out


def _blurred(image: Tensor, terms: np.ndarray) -> Tensor:
    """Blurs one image (H, 3, W) by kernels (T, 2, k)."""
    taps = terms.shape[2]
    if len(terms) >= 2 and len(terms) * taps >= _FOURIER and taps > _DIRECT_TAPS:
        return _blurred_by_fourier(image, terms[:, 0].T @ terms[:, 1])
    out = torch.empty_like(image, memory_format=torch.contiguous_format)
    for channel in range(3):
        plane, target = image[:, channel].numpy(), out[:, channel].numpy()
        if len(terms) >= 3 and taps <= _DIRECT_TAPS:
            target[:] = cv2.filter2D(plane, -1, terms[:, 0].T @ terms[:, 1], borderType=_BORDER)
            continue
        target[:] = cv2.sepFilter2D(plane, -1, terms[0, 1], terms[0, 0], borderType=_BORDER)
        for column, row in terms[1:]:
            target += cv2.sepFilter2D(plane, -1, row, column, borderType=_BORDER)
    return out


def _blurred_by_fourier(image: Tensor, kernel: np.ndarray) -> Tensor:
    """Correlates one image (H, 3, W) with a kernel (k, k)."""
    (height, _, width), reach = image.shape, len(kernel) // 2
    sides = [cv2.getOptimalDFTSize(side + 2 * reach) for side in (height, width)]
    padded = image.new_zeros(3, *sides)
    for channel in range(3):
        plane = cv2.copyMakeBorder(image[:, channel].numpy(), reach, reach, reach, reach, _BORDER)
        padded[channel, : plane.shape[0], : plane.shape[1]] = torch.from_numpy(plane)
    weights = torch.fft.rfft2(torch.from_numpy(np.ascontiguousarray(kernel[::-1, ::-1])), sides)
    out = torch.fft.irfft2(torch.fft.rfft2(padded).mul_(weights), sides)
    return out[:, 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width].transpose(0, 1)


def _resized(image: Tensor, mode: int, size: tuple[int, int]) -> Tensor:
    name = MODES[mode].removeprefix('antialiased ')
    batch = image.transpose(0, 1)[None]
    return F.interpolate(batch, size, mode=name, antialias=name != MODES[mode])[0].transpose(0, 1)
