from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deplsr_model.tiling import upscale_tiled


def nearest(x):
    return F.interpolate(x, scale_factor=3, mode='nearest')


@pytest.mark.parametrize('size', [(5, 7), (64, 31), (65, 97)])
@pytest.mark.parametrize('overlap', [0, 9])
def test_a_network_of_single_pixels_returns_the_same_in_tiles(size, overlap):
    x = torch.rand(2, 3, *size)
    assert torch.allclose(upscale_tiled(nearest, x, 3, 32, overlap), nearest(x), atol=1e-6)


def test_neighbouring_tiles_are_blended_without_a_seam():
    calls = iter(range(100))

    def constant_per_tile(x):
        return torch.full((1, 1, x.shape[2] * 2, x.shape[3] * 2), float(next(calls)))

    out = upscale_tiled(constant_per_tile, torch.zeros(1, 1, 16, 48), 2, 32, 16)
    steps = out[0, 0, 0].diff().abs()
    assert out.min() == 0
    assert out.max() == 1
    assert steps.max() < 0.05  # a hard seam would be a step of 1


def test_an_image_of_one_tile_is_passed_in_one_piece():
    seen = []
    upscale_tiled(lambda x: seen.append(x.shape) or nearest(x), torch.rand(1, 3, 20, 32), 3, 32)
    assert seen == [(1, 3, 20, 32)]


def test_an_overlap_as_large_as_the_tile_is_refused():
    with pytest.raises(ValueError, match='overlap: expected 0 <= overlap < tile'):
        upscale_tiled(nearest, torch.rand(1, 3, 40, 40), 3, 16, 16)
