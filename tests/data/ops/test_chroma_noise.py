from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from deplsr_data.ops.chroma_noise import add_chroma_noise, batched_chroma_noise

GRAY = np.full((160, 200, 3), 0.5, np.float32)


def _noise(level, size, seed):
    return (add_chroma_noise(GRAY, level, size, seed) - GRAY) * 255


@pytest.mark.parametrize('size', [1.0, 2.5, 6.0])
def test_it_is_as_strong_as_named_in_rgb_and_leaves_the_luma(size):
    fields = np.stack([_noise(10.0, size, seed) for seed in range(12)])
    assert np.sqrt(np.square(fields).mean()) == pytest.approx(10, rel=0.05)
    assert np.abs(fields @ [0.299, 0.587, 0.114]).max() < 1e-3
    cb_cr = np.stack([fields[..., 2] / 1.772, fields[..., 0] / 1.402])
    assert cb_cr[0].std() == pytest.approx(cb_cr[1].std(), rel=0.1)
    assert abs(np.corrcoef(cb_cr.reshape(2, -1))[0, 1]) < 0.1


def test_it_is_as_strong_at_the_borders_as_in_the_middle():
    fields = np.stack([_noise(10.0, 4.0, seed)[::13, ::11] for seed in range(150)])
    strength = fields.std(0).mean(-1)
    assert strength.min() > 0.8 * strength.mean()
    assert strength.max() < 1.2 * strength.mean()


@pytest.mark.parametrize('size', [1.0, 3.0])
def test_neighbours_agree_as_in_white_noise_after_a_gaussian_of_that_size(size):
    fields = np.concatenate([_noise(10.0, size, seed)[..., 0] for seed in range(8)])
    white = np.random.default_rng(0).normal(0, 1, (1280, 200)).astype(np.float32)
    smooth = cv2.GaussianBlur(white, (0, 0), size)

    def correlation(field, shift):
        return np.corrcoef(field[:, shift:].ravel(), field[:, :-shift].ravel())[0, 1]

    for shift in (1, 2, 4):
        assert correlation(fields, shift) == pytest.approx(correlation(smooth, shift), abs=0.08)


def test_equal_seeds_mean_equal_noise_and_others_do_not():
    np.testing.assert_array_equal(_noise(5.0, 2.0, 3), _noise(5.0, 2.0, 3 + 2**32))
    assert abs(np.corrcoef(_noise(5.0, 2.0, 3).ravel(), _noise(5.0, 2.0, 4).ravel())[0, 1]) < 0.05


def test_a_sample_does_not_depend_on_its_batch_or_canvas(photo):
    x = torch.zeros(3, 112, 3, 144)
    x[:, :96, :, :128] = torch.from_numpy(photo.transpose(0, 2, 1).copy())
    settings = torch.tensor([3.0, 9.0, 20.0]), torch.tensor([1.0, 2.2, 7.0]), torch.tensor([1, 2, 3])
    out = batched_chroma_noise(x, *settings)
    for place, (level, size, seed) in enumerate(zip(*(column.tolist() for column in settings), strict=True)):
        one = out[place, :96, :, :128].permute(0, 2, 1).numpy()
        np.testing.assert_allclose(one, add_chroma_noise(photo, level, size, seed), atol=2e-6)
    assert out.min() >= 0
    assert out.max() <= 1
