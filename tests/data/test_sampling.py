from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from deplsr_data.captions import levels
from deplsr_data.recipes import SemanticRecipe
from deplsr_data.records import Blur, Jpeg, Noise, Resize, Sinc
from deplsr_data.sampling import draw, rng_for


def _draws(recipe, count=2000, seed=0):
    return [draw(recipe, 4, rng_for(seed, 0, index, 0, 'degradation'), (64, 96)) for index in range(count)]


def _kinds(record):
    return [type(step) for step in record.steps]


def test_the_default_order_is_blur_shrink_noise_jpeg_sinc():
    record = draw(SemanticRecipe(sinc_prob=1), 4, np.random.default_rng(0), (64, 96))
    assert _kinds(record) == [Blur, Resize, Noise, Jpeg, Sinc]
    assert record.steps[1] == Resize(16, 24, 'bicubic', True)


def test_the_published_order_shrinks_last():
    record = draw(SemanticRecipe(sinc_prob=1, resize='last'), 4, np.random.default_rng(0), (64, 96))
    assert _kinds(record) == [Blur, Noise, Jpeg, Sinc, Resize]


def test_the_second_order_repeats_the_levels_with_a_fresh_field():
    recipe = SemanticRecipe(second_order=True, resize='last')
    blur, noise, again, fresh, *_ = draw(recipe, 4, np.random.default_rng(1), (64, 96)).steps
    assert blur == again
    assert fresh.seed != noise.seed
    assert replace(fresh, seed=noise.seed) == noise


def test_the_second_blur_keeps_its_sigma_in_gt_pixels():
    recipe = SemanticRecipe(second_order=True, blur_sigma=(2.0, 2.9))
    blur, _, _, again, *_ = draw(recipe, 4, np.random.default_rng(1), (64, 96)).steps
    assert (again.sigma_x * 4, again.sigma_y * 4, again.angle) == (blur.sigma_x, blur.sigma_y, blur.angle)


def test_draws_match_the_stated_ranges_and_probabilities():
    drawn = _draws(SemanticRecipe())
    table = np.array([levels(record) for record in drawn])
    np.testing.assert_array_equal(table, table.round(1))
    gaussian = np.array([record.steps[2].kind == 'gaussian' for record in drawn])
    for column, (low, high) in ((table[:, 0], (0, 2.9)), (table[gaussian, 1], (0, 30)), (table[:, 3], (30, 95))):
        assert column.min() >= low
        assert column.max() <= high
        # each grid value stands for the tenth around it
        assert stats.kstest(column, 'uniform', (low - 0.05, high - low + 0.1)).statistic < 0.05
    assert stats.chisquare(np.bincount((table[:, 0] * 10).round().astype(int), minlength=30)).pvalue > 1e-3
    assert stats.binomtest(int(gaussian.sum()), len(drawn), 0.5).pvalue > 1e-3
    assert stats.binomtest(int(table[:, 4].sum()), len(drawn), 0.2).pvalue > 1e-3
    blurs = [record.steps[0] for record in drawn if record.steps[0].sigma]
    assert stats.binomtest(sum(blur.sigma_x != blur.sigma_y for blur in blurs), len(blurs), 0.5).pvalue > 1e-3
    assert all(blur.kernel_size == 2 * math.ceil(3 * max(blur.sigma_x, blur.sigma_y)) + 1 for blur in blurs)
    assert max(blur.sigma_x / blur.sigma_y for blur in blurs) <= 4 + 1e-9
    sincs = [step for record in drawn for step in record.steps if isinstance(step, Sinc)]
    assert {sinc.kernel_size for sinc in sincs} == {7, 9, 11, 13, 15, 17, 19, 21}
    assert math.pi / 3 <= min(sinc.omega_c for sinc in sincs)


def test_both_ends_of_a_range_are_drawn():
    drawn = _draws(SemanticRecipe(blur_sigma=(0.7, 0.9), jpeg_range=(30.0, 30.0)), 60)
    assert {levels(record)[0] for record in drawn} == {0.7, 0.8, 0.9}
    assert {levels(record)[3] for record in drawn} == {30.0}


def test_turning_one_operator_off_leaves_the_others_as_they_were():
    with_all, without = _draws(SemanticRecipe(sinc_prob=1), 20), _draws(SemanticRecipe(jpeg_prob=0, sinc_prob=1), 20)
    for left, right in zip(with_all, without, strict=True):
        assert tuple(step for step in left.steps if not isinstance(step, Jpeg)) == right.steps


def test_each_part_of_the_key_changes_the_draws():
    base = (7, 1, 2, 3, 'degradation')
    first = rng_for(*base).random(4)
    np.testing.assert_array_equal(first, rng_for(*base).random(4))
    others = [(8, *base[1:]), (7, 2, *base[2:]), (7, 1, 3, 3, base[4]), (7, 1, 2, 4, base[4]), (*base[:4], 'crop')]
    for other in others:
        assert not np.array_equal(first, rng_for(*other).random(4))


def test_a_size_that_the_scale_does_not_divide_is_refused():
    with pytest.raises(ValueError, match='multiple of scale 4'):
        draw(SemanticRecipe(), 4, np.random.default_rng(0), (64, 97))
