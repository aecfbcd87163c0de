from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from deplsr_data.ops.noise import batched_gaussian_noise, batched_poisson_noise
from deplsr_data.ops.noise_field import field, normal, shot_noise

NO = torch.tensor([False])


def _field(seed: int, height: int = 256, width: int = 256) -> np.ndarray:
    return field(torch.tensor([seed]), NO, height, width)[0].numpy()  # (H, 3, W)


def _mix(x: np.ndarray) -> np.ndarray:
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def _plain(seed: int, height: int, width: int) -> np.ndarray:
    """The field in numpy's unsigned numbers, place by place."""
    row, channel, column = np.mgrid[:height, :3, :width].astype(np.uint32)
    key = _mix(_mix(np.full(row.shape, seed, np.uint32)) + channel)
    key = _mix(key + row * np.uint32(0x9E3779B9))
    both = _mix(key + (column // 2) * np.uint32(0x85EBCA6B))
    return np.where(column % 2, both >> np.uint32(16), both & np.uint32(0xFFFF)).astype(np.int64)


@pytest.mark.parametrize('seed', [0, 1, 2**31, 2**32 - 1])
def test_torch_has_the_results_of_numpys_unsigned_integers(seed):
    np.testing.assert_array_equal(_field(seed, 13, 31), _plain(seed, 13, 31))


def test_only_the_lower_32_bits_of_a_seed_count():
    np.testing.assert_array_equal(_field(5), _field(5 + 2**32))


def test_a_larger_field_holds_the_smaller_one():
    np.testing.assert_array_equal(_field(3, 64, 70)[:20, :, :33], _field(3, 20, 33))


def test_a_batch_holds_the_fields_of_its_seeds():
    seeds = torch.tensor([9, 2, 2**32 - 7])
    batch = field(seeds, torch.zeros(3, dtype=torch.bool), 21, 22).numpy()
    for one, seed in zip(batch, seeds.tolist(), strict=True):
        np.testing.assert_array_equal(one, _field(seed, 21, 22))


def test_gray_is_the_first_channel_three_times():
    gray = field(torch.tensor([4]), torch.tensor([True]), 16, 16)[0].numpy()
    assert (gray == _field(4, 16, 16)[:, :1]).all()


@pytest.mark.parametrize('seed', range(8))
def test_the_numbers_are_uniform(seed):
    numbers = _field(seed, 512, 512)
    for bits in (numbers >> 8, numbers & 0xFF):
        assert stats.chisquare(np.bincount(bits.ravel(), minlength=256)).pvalue > 1e-4
    for bit in range(16):
        assert stats.binomtest(int((numbers >> bit & 1).sum()), numbers.size, 0.5).pvalue > 1e-5


def _correlation(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.corrcoef(left.ravel(), right.ravel())[0, 1])


def test_neighbours_channels_and_seeds_are_independent():
    numbers = _field(11, 512, 512).astype(np.float64)
    limit = 4.5 / np.sqrt(512 * 512)
    for down in range(4):
        for across in range(4):
            if down or across:
                shifted = numbers[down:, :, across:]
                same = numbers[: 512 - down, :, : 512 - across]
                assert abs(_correlation(shifted, same)) < limit
    assert abs(_correlation(numbers[:, 0], numbers[:, 1])) < limit
    assert abs(_correlation(numbers[:, 1], numbers[:, 2])) < limit
    for other in (12, 10, 11 + 2**16, 11 + 2**31):
        assert abs(_correlation(numbers, _field(other, 512, 512))) < limit


def test_pairs_of_neighbours_fill_the_square_evenly():
    numbers = _field(21, 512, 512) >> 12  # 16 levels
    for left, right in (
        (numbers[..., 0::2], numbers[..., 1::2]),
        (numbers[..., 1:-1:2], numbers[..., 2::2]),
        (numbers[:-1], numbers[1:]),
    ):
        counts = np.bincount((left * 16 + right).ravel(), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-4


def test_the_spectrum_is_flat():
    power = np.abs(np.fft.fft2(normal(torch.from_numpy(_field(2))).numpy()[:, 0])) ** 2 / 256**2
    assert power[16:-16].mean() == pytest.approx(1, abs=0.03)
    assert power.max() < 20  # of exponential numbers the largest of 65,536 is about 11


def test_normal_numbers_are_normal():
    numbers = normal(torch.from_numpy(_field(5, 512, 512))).numpy().ravel()
    assert numbers.mean() == pytest.approx(0, abs=0.005)
    assert numbers.var() == pytest.approx(1, abs=0.01)
    assert stats.kstest(numbers, 'norm').pvalue > 1e-3
    every = normal(torch.arange(65536, dtype=torch.int32)).double()
    assert every.mean().item() == pytest.approx(0, abs=1e-6)
    assert every.var(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_shot_noise_has_the_mean_and_variance_of_poissons_at_every_grey_value():
    grey = torch.arange(256, dtype=torch.int32)[:, None].expand(256, 65536)
    uniform = torch.arange(65536, dtype=torch.int32).expand(256, 65536)
    shot = shot_noise(uniform, grey).double() * 256
    rates = np.arange(256) / 255 * 256
    assert (np.abs(shot.mean(1).numpy()[1:] / rates[1:]) < 1e-3).all()
    np.testing.assert_allclose(shot.var(1, correction=0).numpy()[1:], rates[1:], rtol=0.01)
    assert shot[0].abs().max() == 0


@pytest.mark.parametrize('grey', [2, 40, 200])
def test_shot_noise_is_distributed_as_numpys_poisson(grey):
    counts = (shot_noise(torch.from_numpy(_field(8, 300, 300)), torch.full((300, 3, 300), grey).int()) * 256).numpy()
    counts = np.rint(counts.ravel() + grey / 255 * 256).astype(int)
    expected = np.random.default_rng(0).poisson(grey / 255 * 256, counts.size)
    assert stats.ks_2samp(counts, expected).statistic < 0.006


@pytest.mark.parametrize('add', [batched_gaussian_noise, batched_poisson_noise])
def test_each_sample_has_its_own_level_in_gray_or_colour(add, photo):
    x = torch.from_numpy(photo.transpose(0, 2, 1).copy())[None].repeat(4, 1, 1, 1)
    level, gray = torch.tensor([0.0, 2.0, 2.0, 6.0]), torch.tensor([False, True, False, False])
    seed = torch.tensor([1, 2, 2, 4])
    out = add(x, level, gray, seed)
    assert torch.equal(out[0], x[0])
    for b in range(4):
        one = slice(b, b + 1)
        assert torch.equal(out[one], add(x[one], level[one], gray[one], seed[one]))
    assert (out[3] - x[3]).std() > (out[2] - x[2]).std()
    assert torch.equal(out[1, :, 0] - x[1, :, 0] > 0, out[1, :, 0] > x[1, :, 0])
