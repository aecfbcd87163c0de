from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from deplsr_data.ops import filter_resize_batch as separable
from deplsr_data.ops.filter_resize_batch import TERMS_TOLERANCE, Plan, separable_terms, transform
from deplsr_data.ops.kernels import blur_kernel, sinc_kernel
from deplsr_data.ops.resize import resize
from deplsr_data.ops.resize_batch import MODES

KERNELS = {
    'identity': blur_kernel(7, 0, 0),
    'gaussian': blur_kernel(13, 2.0, 2.0),
    'elliptic': blur_kernel(21, 3.0, 0.7, 0.6),
    'wide': blur_kernel(37, 5.8, 1.4, -0.8),
    'generalized': blur_kernel(15, 2.0, 2.0, 0.0, 'generalized', 0.6),
    'plateau': blur_kernel(9, 1.5, 0.4, 1.0, 'plateau', 1.4),
    'sinc': sinc_kernel(21, 1.3),
    'small': sinc_kernel(7, 3.0),
}


@pytest.mark.parametrize('name', KERNELS)
def test_terms_sum_to_their_kernel(name):
    kernel = KERNELS[name]
    terms = separable_terms(kernel)
    total = np.einsum('ty,tx->yx', terms[:, 0], terms[:, 1])
    assert np.abs(total - kernel).sum() <= TERMS_TOLERANCE + 1e-5
    assert len(terms) == 1 or name not in ('identity', 'gaussian')


@pytest.mark.parametrize('name', ['elliptic', 'wide', 'plateau', 'sinc'])
def test_before_an_antialiased_shrink_fewer_terms_suffice_for_the_same_image(name):
    kernel, mode = KERNELS[name], MODES.index('antialiased bicubic')
    all_terms, terms = separable_terms(kernel), separable_terms(kernel, mode, 4)
    assert len(terms) < len(all_terms)
    image = np.random.default_rng(0).random((96, 96, 3), dtype=np.float32)
    expected = resize(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101), 24, 24)
    total = np.einsum('ty,tx->yx', terms[:, 0], terms[:, 1])
    out = resize(cv2.filter2D(image, -1, total, borderType=cv2.BORDER_REFLECT_101), 24, 24)
    np.testing.assert_allclose(out, expected, atol=TERMS_TOLERANCE)


def test_kernels_need_few_terms():
    assert len(separable_terms(KERNELS['sinc'])) <= 11
    assert len(separable_terms(KERNELS['elliptic'])) < 16


def _packed(kernels: list[np.ndarray | None], size: int) -> tuple[torch.Tensor, list[int], list[int]]:
    filters = np.zeros((len(kernels), size, 2, size), np.float32)
    terms, taps = [0] * len(kernels), [1] * len(kernels)
    for b, kernel in enumerate(kernels):
        if kernel is not None:
            made, margin = separable_terms(kernel), (size - len(kernel)) // 2
            filters[b, : len(made), :, margin : size - margin] = made
            terms[b], taps[b] = len(made), len(kernel)
    return torch.from_numpy(filters), terms, taps


def _random_batch(seed: int) -> tuple[list[np.ndarray], list[np.ndarray | None], list[int], list[tuple[int, int]]]:
    rng = np.random.default_rng(seed)
    sizes = [tuple(int(v) for v in rng.integers(12, 90, 2)) for _ in range(6)]
    images = [rng.random((*size, 3), dtype=np.float32) for size in sizes]
    names = list(KERNELS)
    kernels = [KERNELS[names[rng.integers(len(names))]] for _ in range(5)]
    modes = [int(mode) for mode in rng.integers(1, len(MODES), 6)]
    return images, [*kernels, None], modes, [tuple(int(v) for v in rng.integers(8, 120, 2)) for _ in range(6)]


@pytest.mark.parametrize('seed', range(6))
def test_blur_and_resize_are_opencvs_and_interpolates(seed):
    images, kernels, modes, sizes = _random_batch(seed)
    x = torch.full((6, 96, 3, 96), 7.0)  # what lies beyond an image must not be read
    for b, image in enumerate(images):
        x[b, : image.shape[0], :, : image.shape[1]] = torch.from_numpy(image.transpose(0, 2, 1))
    filters, terms, taps = _packed(kernels, 37)
    out = transform(x, filters, Plan(terms, taps, modes, [p.shape[:2] for p in images], sizes), (128, 128)).numpy()
    for b, (image, kernel) in enumerate(zip(images, kernels, strict=True)):
        if kernel is not None:
            image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        expected = resize(image, *sizes[b], MODES[modes[b]].split()[-1], modes[b] >= 4)
        height, width = sizes[b]
        np.testing.assert_allclose(out[b, :height, :, :width].transpose(0, 2, 1), expected, atol=TERMS_TOLERANCE + 1e-4)
        assert not out[b, height:].any()
        assert not out[b, :, :, width:].any()


def test_blocks_leave_nothing_out(monkeypatch):
    x, (filters, terms, taps) = torch.rand(3, 100, 3, 120), _packed([KERNELS['elliptic'], KERNELS['sinc'], None], 21)
    plan = Plan(terms, taps, [2, 1, 5], [(100, 120)] * 3, [(140, 77), (60, 130), (33, 30)])
    results = []
    for blocks in (1, 3, 8):
        monkeypatch.setattr(separable, '_BLOCKS', blocks)
        results.append(transform(x, filters, plan, (144, 144)))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(results[0], results[2], atol=1e-6, rtol=0)


def test_an_image_smaller_than_the_kernel_is_mirrored_repeatedly():
    image = np.random.default_rng(0).random((6, 5, 3), dtype=np.float32)
    filters, terms, taps = _packed([KERNELS['elliptic']], 21)
    x = torch.from_numpy(image.transpose(0, 2, 1).copy())[None]
    out = transform(x, filters, Plan(terms, taps, [0], [(6, 5)], [(6, 5)]), (6, 5))[0].numpy().transpose(0, 2, 1)
    padded = np.pad(image, ((10, 10), (10, 10), (0, 0)), mode='reflect')
    expected = cv2.filter2D(padded, -1, KERNELS['elliptic'])[10:-10, 10:-10]
    np.testing.assert_allclose(out, expected, atol=TERMS_TOLERANCE)
