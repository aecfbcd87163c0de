"""Columns of one protocol, differences with their intervals, wins and losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from basicsr_plugin.errors import UserError
from deplsr_model.benchmark.measure import Row
from deplsr_model.benchmark.results import columns, compare, to_csv

PROTOCOL = 'PSNR, Y; border 4'


def rows(model: str, values, metric: str = 'psnr', protocol: str = PROTOCOL, degradation: str = '') -> list[Row]:
    return [Row(model, 'Set5', degradation, f'{i}', metric, protocol, float(one)) for i, one in enumerate(values)]


def test_protocols_are_not_mixed_in_a_column():
    mixed = [*rows('a', [1, 2]), *rows('b', [1, 2], protocol='PSNR, RGB; border 4')]
    with pytest.raises(
        UserError, match=r"expected one protocol in a column, got 'PSNR, Y; border 4' of a and 'PSNR, RGB"
    ):
        columns(mixed, {})
    apart = [*rows('a', [1, 2]), *rows('a', [1, 2], 'psnr_rgb', 'PSNR, RGB; border 4')]
    assert [one.protocol for one in columns(apart, {})] == [PROTOCOL, 'PSNR, RGB; border 4']


def test_models_with_different_images_are_not_compared():
    with pytest.raises(UserError, match='same images of all models, got 2 of a and 3 of b'):
        columns([*rows('a', [1, 2]), *rows('b', [1, 2, 3])], {})


def test_the_interval_of_a_difference_agrees_with_scipy():
    rng = np.random.default_rng(0)
    base = rng.normal(25, 5, 60)
    ours = base + rng.normal(0.2, 0.5, 60)
    found = compare(columns([*rows('a', base), *rows('b', ours)], {})[0], 'b', 'a')
    interval = bootstrap((ours - base,), np.mean, n_resamples=9999, method='percentile', rng=rng).confidence_interval
    assert found.mean == pytest.approx((ours - base).mean(), abs=1e-4)
    assert found.low == pytest.approx(interval.low, abs=0.01)
    assert found.high == pytest.approx(interval.high, abs=0.01)
    assert (found.wins, found.losses) == ((ours > base).sum(), (ours < base).sum())


def test_a_paired_interval_is_narrower_than_the_variation_of_the_images():
    base = np.linspace(15, 40, 20)
    found = compare(columns([*rows('a', base), *rows('b', base + 0.1)], {})[0], 'b', 'a')
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)
    assert found.wins == 20


def test_a_distance_is_won_by_the_lower_value():
    found = compare(
        columns([*rows('a', [1, 2, 3], 'lpips'), *rows('b', [0, 2, 1], 'lpips')], {'lpips': True})[0], 'b', 'a'
    )
    assert (found.wins, found.losses) == (2, 0)
    assert found.mean == -1


def test_intervals_are_over_images_and_not_over_their_degradations():
    rng = np.random.default_rng(0)
    gains = rng.normal(0, 1, 14)
    one = [*rows('a', np.zeros(14)), *rows('b', gains)]
    many = [
        row
        for k in range(50)
        for row in (*rows('a', np.zeros(14), degradation=f'{k}'), *rows('b', gains, degradation=f'{k}'))
    ]
    single, repeated = (compare(columns(found, {})[0], 'b', 'a') for found in (one, many))
    assert (repeated.low, repeated.high) == (single.low, single.high)
    assert repeated.wins == 50 * single.wins


def test_infinite_values_have_no_interval():
    found = compare(columns([*rows('a', [30, 31]), *rows('b', [math.inf, 32])], {})[0], 'b', 'a')
    assert found.mean == math.inf
    assert found.low is None
    assert 'inf' in to_csv(rows('b', [math.inf]))
    same = compare(columns([*rows('a', [math.inf, 31]), *rows('b', [math.inf, 32])], {})[0], 'b', 'a')
    assert (same.mean, same.wins) == (0.5, 1)
