"""Blur and resize of a batch on the CPU, one image after the other, by OpenCV and torch.

What :func:`deplsr_data.ops.filter_resize_batch.transform` does by matrix products, which is the faster way on a GPU,
and on a CPU where a blur comes before a shrink by an integer. Elsewhere this is: at 256 pixels a blur of 25 taps takes
1.2 instead of 2.2 ms a term, a resize in mixed modes 0.3 to 2.5 instead of 4 to 8 ms; at 64 pixels a blur takes 0.1
instead of 0.3 ms a term (one core, four images a batch).
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

_DIRECT_TAPS = 11  # up to here OpenCV's filter2D takes no Fourier transform: 1.6 ms at 256 pixels, as three terms


def is_fused_faster(terms: int, mode: int, size_in: tuple[int, int], size_out: tuple[int, int]) -> bool:
    """Whether one matrix for blur and resize beats one after the other: where the shrink skips most of the blur."""
    shrinks = all(before >= 2 * after for before, after in zip(size_in, size_out, strict=True))
    return terms > 0 and shrinks and not any(before % after for before, after in zip(size_in, size_out, strict=True))


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
    pixels, out = image.numpy(), torch.empty_like(image, memory_format=torch.contiguous_format)
    border = cv2.BORDER_REFLECT_101
    direct = len(terms) > 2 and terms.shape[2] <= _DIRECT_TAPS
    kernel = terms[:, 0].T @ terms[:, 1]
    for channel in range(3):
        plane, target = pixels[:, channel], out[:, channel].numpy()
        if direct:
            target[:] = cv2.filter2D(plane, -1, kernel, borderType=border)
            continue
        target[:] = cv2.sepFilter2D(plane, -1, terms[0, 1], terms[0, 0], borderType=border)
        for column, row in terms[1:]:
            target += cv2.sepFilter2D(plane, -1, row, column, borderType=border)
    return out


def _resized(image: Tensor, mode: int, size: tuple[int, int]) -> Tensor:
    name = MODES[mode].removeprefix('antialiased ')
    batch = image.transpose(0, 1)[None]
    return F.interpolate(batch, size, mode=name, antialias=name != MODES[mode])[0].transpose(0, 1)
