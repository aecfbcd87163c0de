from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deplsr_data.ops.resize_batch import MODES, mode_of, smoothing, taps, taps_width


def _matrix(mode: int, n_in: int, n_out: int, rows: int, width: int) -> torch.Tensor:
    first, weights = taps(torch.tensor([mode]), torch.tensor([n_in]), torch.tensor([n_out]), rows, width)
    matrix = torch.zeros(rows, n_in + width)
    return matrix.scatter_add_(1, first[0][:, None] + torch.arange(width), weights[0])


@pytest.mark.parametrize('mode', range(1, len(MODES)))
def test_weights_are_those_of_interpolate_at_all_sizes(mode):
    rng = random.Random(mode)
    for n_in in (1, 3, 5, 19, 64, 77, 256):
        for n_out in (1, 2, 7, 38, 64, rng.randrange(3, 400)):
            line = torch.rand(1, 1, n_in, 1)
            antialias = mode >= 4
            name = MODES[mode].split()[-1]
            expected = F.interpolate(line.repeat(1, 1, 1, 3), (n_out, 3), mode=name, antialias=antialias)[0, 0, :, 1]
            matrix = _matrix(mode, n_in, n_out, n_out + 3, taps_width([mode], [n_in], [n_out]))
            torch.testing.assert_close(matrix[:n_out, :n_in] @ line[0, 0, :, 0], expected, atol=3e-5, rtol=0)
            assert not matrix[:, n_in:].any()
            assert not matrix[n_out:].any()


def test_no_resize_is_the_identity():
    assert torch.equal(_matrix(0, 9, 9, 9, 4)[:, :9], torch.eye(9))


def test_samples_of_a_batch_have_their_own_sizes_and_modes():
    mode, n_in, n_out = [1, 3, 5, 0], [40, 17, 60, 12], [13, 33, 15, 12]
    width = taps_width(mode, n_in, n_out)
    first, weights = taps(torch.tensor(mode), torch.tensor(n_in), torch.tensor(n_out), 40, width)
    for b in range(4):
        one = taps(
            torch.tensor(mode[b : b + 1]), torch.tensor(n_in[b : b + 1]), torch.tensor(n_out[b : b + 1]), 40, width
        )
        assert torch.equal(first[b], one[0][0])
        assert torch.equal(weights[b], one[1][0])


@pytest.mark.parametrize(('mode', 'factor'), [(1, 3), (4, 2), (5, 4), (5, 3)])
def test_smoothing_is_what_a_shrink_averages_with(mode, factor):
    point = torch.zeros(1, 1, 48 * factor, 3)
    taps_ = smoothing(mode, factor)
    found = []
    for place in range(20 * factor, 30 * factor):
        point.zero_()[:, :, place] = 1
        name = MODES[mode].split()[-1]
        found.append(F.interpolate(point, (48, 3), mode=name, antialias=mode >= 4)[0, 0, 24, 1].item())
    assert np.trim_zeros(found) == pytest.approx(taps_.tolist(), abs=1e-5)


def test_modes_have_names():
    assert smoothing(2, 4).tolist() == smoothing(5, 1).tolist() == [1]
    assert MODES[mode_of('bicubic', True)] == 'antialiased bicubic'
    assert MODES[mode_of('bicubic', False)] == 'bicubic'
    assert MODES[mode_of('area', True)] == 'area'
