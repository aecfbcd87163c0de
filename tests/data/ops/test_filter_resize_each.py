from __future__ import annotations

import numpy as np
import pytest
import torch

from deplsr_data.ops.filter_resize_batch import Plan, separable_terms, transform
from deplsr_data.ops.filter_resize_each import filter_resize_each, is_fused_faster
from deplsr_data.ops.kernels import blur_kernel, convolve, sinc_kernel
from deplsr_data.ops.resize import resize
from deplsr_data.ops.resize_batch import mode_of

KERNELS = [
    None,
    blur_kernel(9, 1.2, 1.2),
    blur_kernel(21, 3.0, 1.0, 0.5),
    sinc_kernel(9, 1.3),
    sinc_kernel(21, 1.1),
    blur_kernel(7, 0.8, 2.0, 1.0, 'generalized', 0.7),
]
RESIZES = [(None, True), ('area', True), ('bilinear', False), ('bicubic', False), ('bilinear', True), ('bicubic', True)]
SIZES_OUT = [(57, 70), (28, 35), (57, 90), (80, 61), (29, 71), (19, 14)]


def _setting(photo):
    images = [np.ascontiguousarray(photo[3 * b : 57 + 3 * b, 2 * b : 70 + 2 * b]) for b in range(6)]
    x = torch.zeros(6, 64, 3, 80)
    filters = torch.zeros(6, 21, 2, 21)
    terms, taps, modes, sizes = [], [], [], []
    for b, (image, kernel) in enumerate(zip(images, KERNELS, strict=True)):
        x[b, : image.shape[0], :, : image.shape[1]] = torch.from_numpy(image.transpose(0, 2, 1).copy())
        parts = np.zeros((0, 2, 1)) if kernel is None else separable_terms(kernel)
        margin = (21 - parts.shape[-1]) // 2
        filters[b, : len(parts), :, margin : 21 - margin] = torch.from_numpy(parts).float()
        terms.append(len(parts))
        taps.append(parts.shape[-1])
        modes.append(0 if RESIZES[b][0] is None else mode_of(*RESIZES[b]))
        sizes.append((image.shape[0], image.shape[1]))
    sizes_out = [sizes[0], *SIZES_OUT[1:]]
    return images, x, filters, Plan(terms, taps, modes, sizes, sizes_out)


def test_it_is_a_convolution_then_a_resize(photo):
    images, x, filters, plan = _setting(photo)
    out = filter_resize_each(x, filters, plan, (96, 96))
    for b, image in enumerate(images):
        expected = image if KERNELS[b] is None else convolve(image, KERNELS[b])
        expected = resize(expected, *plan.size_out[b], *RESIZES[b]) if RESIZES[b][0] else expected
        one = out[b, : plan.size_out[b][0], :, : plan.size_out[b][1]].permute(0, 2, 1).numpy()
        np.testing.assert_allclose(one, expected, atol=1e-3)
        assert np.abs(one - expected).mean() < 1e-4


def test_it_agrees_with_the_matrix_products(photo):
    _, x, filters, plan = _setting(photo)
    fused, each = transform(x, filters, plan, (96, 96)), filter_resize_each(x, filters, plan, (96, 96))
    torch.testing.assert_close(each, fused, atol=2e-5, rtol=0)


@pytest.mark.parametrize('size', [(9, 64), (1, 5), (40, 3)])
def test_a_kernel_may_be_wider_than_the_image(photo, size):
    image = np.ascontiguousarray(photo[: size[0], : size[1]])
    x = torch.from_numpy(image.transpose(0, 2, 1).copy())[None]
    for kernel in KERNELS[1:]:
        parts = torch.from_numpy(separable_terms(kernel)).float()[None]
        plan = Plan([parts.shape[1]], [parts.shape[3]], [0], [size], [size])
        out = filter_resize_each(x, parts, plan, size)[0].permute(0, 2, 1).numpy()
        np.testing.assert_allclose(out, transform(x, parts, plan, size)[0].permute(0, 2, 1).numpy(), atol=2e-5)


def test_other_samples_are_left_out(photo):
    _, x, filters, plan = _setting(photo)
    out = filter_resize_each(x, filters, plan, (96, 96), [1, 4])
    assert out[[0, 2, 3, 5]].abs().max() == 0
    assert torch.equal(out[[1, 4]], filter_resize_each(x, filters, plan, (96, 96))[[1, 4]])


@pytest.mark.parametrize(
    ('terms', 'size_out', 'fused'),
    [(2, (64, 64), True), (3, (64, 64), False), (0, (64, 64), False), (1, (256, 256), False), (1, (128, 64), True)],
)
def test_one_product_is_for_a_simple_blur_before_a_shrink_by_an_integer(terms, size_out, fused):
    assert is_fused_faster(terms, 5, (256, 256), size_out) == fused
