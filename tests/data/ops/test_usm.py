from __future__ import annotations

import numpy as np
import pytest
import torch
from basicsr.utils.img_process_util import USMSharp, usm_sharp

from deplsr_data.ops.usm import sharpen, sharpen_batch


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]


def test_an_image_is_sharpened_as_by_basicsr(photo):
    out = sharpen(photo)
    np.testing.assert_allclose(out, usm_sharp(photo), atol=1e-5)
    assert out.dtype == np.float32
    assert np.abs(out - photo).max() > 0.05


@pytest.mark.parametrize('size', [(96, 128), (70, 96), (60, 60)])
def test_a_batch_is_sharpened_as_by_basicsr(photo, size):
    gt = _tensor(photo[: size[0], : size[1]])
    out = sharpen_batch(gt)
    torch.testing.assert_close(out, USMSharp()(gt), atol=2e-3, rtol=0)
    torch.testing.assert_close(out, _tensor(sharpen(photo[: size[0], : size[1]])), atol=2e-3, rtol=0)


@pytest.mark.parametrize('threads', [1, 2])
def test_images_of_a_batch_do_not_affect_each_other(photo, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        gt = torch.cat([_tensor(photo[y : y + 64, y : y + 64]) for y in range(0, 30, 3)])
        out = sharpen_batch(gt)
        for b in range(len(gt)):
            torch.testing.assert_close(out[b : b + 1], sharpen_batch(gt[b : b + 1]), atol=1e-5, rtol=0)
    finally:
        torch.set_num_threads(before)


def test_a_tiny_image_can_be_sharpened():
    assert sharpen_batch(torch.rand(1, 3, 4, 1)).isfinite().all()
