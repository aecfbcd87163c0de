"""Statistics against theory: intervals, shares, rank correlations, linear regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from benchmarks.figures import bootstrap_ranks, bootstrap_share, ridge
from deplsr_model.statistics import bootstrap


def test_the_interval_of_a_mean_is_as_wide_as_theory_states():
    gains = np.random.default_rng(0).normal(0.1, 1.0, 400)
    mean, low, high = bootstrap(gains)
    error = gains.std() / 20
    assert mean == pytest.approx(gains.mean(), abs=1e-3)
    assert low == pytest.approx(gains.mean() - 1.96 * error, abs=0.01)
    assert high == pytest.approx(gains.mean() + 1.96 * error, abs=0.01)


def test_the_interval_contains_the_mean_and_narrows_with_more_photos():
    rng = np.random.default_rng(0)
    few, many = (bootstrap(rng.normal(0.5, 1, count)) for count in (30, 3000))
    for mean, low, high in (few, many):
        assert low < mean < high
    assert many[2] - many[1] == pytest.approx(2 * 1.96 / 3000**0.5, rel=0.1)
    assert few[2] - few[1] > 5 * (many[2] - many[1])


def test_the_share_of_a_gain_is_within_its_interval():
    whole = np.random.default_rng(0).normal(1.0, 0.3, 50)
    share, low, high = bootstrap_share(0.8 * whole + np.random.default_rng(1).normal(0, 0.1, 50), whole)
    assert low < 0.8 < high
    assert share == pytest.approx(0.8, abs=0.05)
    assert bootstrap_share(whole / 2, whole) == [0.5, 0.5, 0.5]


def test_a_difference_of_rank_correlations_agrees_with_scipy():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 3, (30, 20))
    near, far = (true + rng.normal(0, noise, true.shape) for noise in (0.3, 1.0))
    correlation = spearmanr(near.ravel(), true.ravel()).statistic
    mean, low, high = bootstrap_ranks(true, near, far)
    assert mean == pytest.approx(correlation - spearmanr(far.ravel(), true.ravel()).statistic, abs=1e-3)
    assert 0 < low < mean < high
    assert bootstrap_ranks(true, near, 2 * near + 1) == [0.0, 0.0, 0.0]
    constant = np.ones_like(near)  # has no order: counts as a correlation of 0
    assert bootstrap_ranks(true, near, constant)[0] == pytest.approx(correlation, abs=1e-3)


def test_the_interval_of_ranks_is_over_photos_and_not_over_single_draws():
    rng = np.random.default_rng(0)
    true, offset = rng.uniform(0, 3, (30, 20)), rng.normal(0, 1, (30, 1))
    near, far = true + rng.normal(0, 0.3, true.shape), true + offset  # one error for all draws of a photo
    _, low, high = bootstrap_ranks(true, near, far)
    mixed = rng.permutation(600)
    shuffled = [values.ravel()[mixed].reshape(30, 20) for values in (true, near, far)]
    assert high - low > 1.5 * np.ptp(bootstrap_ranks(*shuffled)[1:])


def test_the_linear_probe_finds_a_linear_relation():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(300, 12, generator=rng)
    y = x @ torch.arange(12.0) + 3
    torch.testing.assert_close(ridge(x[:200], y[:200], x[200:]), y[200:], atol=0.2, rtol=0)
