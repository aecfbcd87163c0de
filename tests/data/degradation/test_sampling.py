from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.recipes import RealESRGANRecipe, SemanticRecipe, draw
from deplsr_data.degradation.records import Blur, Jpeg, Noise, Resize, Sinc
from deplsr_data.degradation.sampling import rng_for

NOMINAL = level_table('nominal')


def _draws(recipe, count=2000, seed=0):
    return [draw(recipe, 4, rng_for(seed, 0, index, 0, 'degradation'), (64, 96)) for index in range(count)]


def _step_classes(record):
    return [type(step) for step in record.steps]


def test_the_default_order_is_blur_shrink_noise_jpeg_sinc():
    record = draw(SemanticRecipe(sinc_prob=1), 4, np.random.default_rng(0), (64, 96))
    assert _step_classes(record) == [Blur, Resize, Noise, Jpeg, Sinc]
    assert record.steps[1] == Resize(16, 24, 'bicubic', True)


def test_the_published_order_shrinks_last():
    record = draw(SemanticRecipe(sinc_prob=1, resize='last'), 4, np.random.default_rng(0), (64, 96))
    assert _step_classes(record) == [Blur, Noise, Jpeg, Sinc, Resize]


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


DRAWS = 20_000
# there are some eighty such tests; the seeds are fixed all the same
ALARM = 1e-4


@pytest.fixture(scope='module')
def semantic():
    return _draws(SemanticRecipe(), DRAWS)


@pytest.fixture(scope='module')
def realesrgan():
    return _draws(RealESRGANRecipe(), DRAWS)


def _is_uniform(numbers, low, high):
    numbers = np.asarray(numbers)
    assert numbers.min() >= low
    assert numbers.max() <= high
    assert stats.kstest(numbers, 'uniform', (low, high - low)).pvalue > ALARM


def _is_uniform_on_tenths(numbers, low, high):
    places = np.rint(np.asarray(numbers) * 10).astype(int)
    np.testing.assert_allclose(places / 10, numbers, atol=1e-9)
    counts = np.bincount(places - round(low * 10), minlength=round((high - low) * 10) + 1)
    assert len(counts) == round((high - low) * 10) + 1
    assert stats.chisquare(counts).pvalue > ALARM


def _has_share(hits, share):
    hits = list(hits)
    assert stats.binomtest(sum(hits), len(hits), share).pvalue > ALARM


def _has_shares(names, shares):
    names = list(names)
    assert set(names) == set(shares)
    expected = np.array(list(shares.values())) / sum(shares.values()) * len(names)
    assert stats.chisquare([names.count(name) for name in shares], expected).pvalue > ALARM


def test_semantic_draws_match_the_stated_ranges_and_probabilities(semantic):
    table = np.array([NOMINAL.levels(record) for record in semantic])
    np.testing.assert_array_equal(table, table.round(1))
    noises = [record.steps[2] for record in semantic]
    _is_uniform_on_tenths(table[:, 0], 0, 2.9)
    _is_uniform_on_tenths([noise.level for noise in noises if noise.distribution == 'gaussian'], 0, 30)
    _is_uniform_on_tenths([noise.level for noise in noises if noise.distribution == 'poisson'], 0, 3)
    _is_uniform_on_tenths(table[:, 3], 30, 95)
    _has_share((noise.distribution == 'gaussian' for noise in noises), 0.5)
    _has_share(table[:, 4] == 1, 0.2)
    assert not any(noise.gray for noise in noises)
    assert len({noise.seed for noise in noises}) > DRAWS - 5
    _is_uniform([noise.seed for noise in noises], 0, 2**32)
    blurs = [record.steps[0] for record in semantic if record.steps[0].sigma]
    elliptic = [blur for blur in blurs if blur.sigma_x != blur.sigma_y]
    _has_share((blur.sigma_x != blur.sigma_y for blur in blurs), 0.5)
    _is_uniform([math.log(blur.sigma_x / blur.sigma_y) for blur in elliptic], 0, math.log(4))
    _is_uniform([blur.angle for blur in elliptic], 0, math.pi)
    assert all(blur.kernel_size == 2 * math.ceil(3 * max(blur.sigma_x, blur.sigma_y)) + 1 for blur in blurs)
    sincs = [step for record in semantic for step in record.steps if isinstance(step, Sinc)]
    _has_shares((sinc.kernel_size for sinc in sincs), dict.fromkeys(range(7, 22, 2), 1))
    _is_uniform([sinc.omega_c for sinc in sincs], math.pi / 3, math.pi)


def _orders(record):
    """Splits Real-ESRGAN's steps: first order, second order, what is last."""
    steps = list(record.steps)
    first, steps = steps[:4], steps[4:]
    count = 3 if isinstance(steps[0], (Blur, Sinc)) else 2
    return first, steps[:count], steps[count:]


def _kernels_match(kernels, sigmas):
    small = [kernel.omega_c for kernel in kernels if isinstance(kernel, Sinc) and kernel.kernel_size < 13]
    large = [kernel.omega_c for kernel in kernels if isinstance(kernel, Sinc) and kernel.kernel_size >= 13]
    blurs = [kernel for kernel in kernels if isinstance(kernel, Blur)]
    _has_share((isinstance(kernel, Sinc) for kernel in kernels), 0.1)
    _has_shares((kernel.kernel_size for kernel in kernels), dict.fromkeys(range(7, 22, 2), 1))
    _is_uniform(small, math.pi / 3, math.pi)
    _is_uniform(large, math.pi / 5, math.pi)
    shares = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    names = [(family, round_) for family in ('gaussian', 'generalized', 'plateau') for round_ in (True, False)]
    families = [(blur.family, blur.sigma_x == blur.sigma_y) for blur in blurs]
    _has_shares(families, dict(zip(names, shares, strict=True)))
    elliptic = [blur for blur in blurs if blur.sigma_x != blur.sigma_y]
    _is_uniform([blur.sigma_x for blur in blurs], *sigmas)
    _is_uniform([blur.sigma_y for blur in elliptic], *sigmas)
    _is_uniform([blur.angle for blur in elliptic], -math.pi, math.pi)
    generalized = [blur.beta for blur in blurs if blur.family == 'generalized']
    _has_share((beta < 1 for beta in generalized), 0.5)
    _is_uniform([beta for beta in generalized if beta < 1], 0.5, 1)
    _is_uniform([beta for beta in generalized if beta > 1], 1, 4)
    plateau = [blur.beta for blur in blurs if blur.family == 'plateau']
    _has_share((beta == 1 for beta in plateau), 0.5)  # the lower half of 1..2 around 1 is 1 itself
    _is_uniform([beta for beta in plateau if beta > 1], 1, 2)


def _resizes_match(resizes, side, shares, factors):
    heights = np.array([resize.height for resize in resizes])
    _has_shares(np.sign(heights - side).tolist(), dict(zip((1, -1, 0), shares, strict=True)))
    part = np.random.default_rng(0).random(len(heights))  # an integer size represents all sizes up to the next one
    _is_uniform((heights + part)[heights < side] / side, factors[0] - 1 / side, 1)
    _is_uniform((heights + part)[heights > side] / side, 1 + 1 / side, factors[1] + 1 / side)
    _has_shares((resize.mode for resize in resizes), dict.fromkeys(('area', 'bilinear', 'bicubic'), 1))
    assert not any(resize.antialias for resize in resizes)
    assert all(
        resize.width * 2 == resize.height * 3 or abs(resize.width - resize.height * 1.5) < 1.5 for resize in resizes
    )


def _noises_match(noises, sigmas, scales):
    _has_share((noise.distribution == 'gaussian' for noise in noises), 0.5)
    _has_share((noise.gray for noise in noises), 0.4)
    _is_uniform([noise.level for noise in noises if noise.distribution == 'gaussian'], *sigmas)
    _is_uniform([noise.level for noise in noises if noise.distribution == 'poisson'], *scales)
    _is_uniform([noise.seed for noise in noises], 0, 2**32)


def test_realesrgan_draws_match_the_first_order(realesrgan):
    first = [_orders(record)[0] for record in realesrgan]
    _kernels_match([steps[0] for steps in first], (0.2, 3))
    _noises_match([steps[2] for steps in first], (1, 30), (0.05, 3))
    _is_uniform([steps[3].quality for steps in first], 30, 95)


def test_realesrgan_draws_match_the_second_order(realesrgan):
    second = [_orders(record)[1] for record in realesrgan]
    _has_share((len(steps) == 3 for steps in second), 0.8)
    _kernels_match([steps[0] for steps in second if len(steps) == 3], (0.2, 1.5))
    _noises_match([steps[-1] for steps in second], (1, 25), (0.05, 2.5))


def test_realesrgan_draws_match_the_last_steps(realesrgan):
    last = [_orders(record)[2] for record in realesrgan]
    jpegs = [step for steps in last for step in steps if isinstance(step, Jpeg)]
    sincs = [step for steps in last for step in steps if isinstance(step, Sinc)]
    _is_uniform([jpeg.quality for jpeg in jpegs], 30, 95)
    _has_share((isinstance(steps[0], Jpeg) for steps in last), 0.5)
    _has_share((len(steps) == 3 for steps in last), 0.8)
    _has_shares((sinc.kernel_size for sinc in sincs), dict.fromkeys(range(7, 22, 2), 1))
    _is_uniform([sinc.omega_c for sinc in sincs], math.pi / 3, math.pi)
    resizes = [step for steps in last for step in steps if isinstance(step, Resize)]
    assert {(resize.height, resize.width) for resize in resizes} == {(16, 24)}
    _has_shares((resize.mode for resize in resizes), dict.fromkeys(('area', 'bilinear', 'bicubic'), 1))


def test_realesrgan_resizes_match_their_factors():
    drawn = [draw(RealESRGANRecipe(), 4, rng_for(3, 0, n, 0, 'degradation'), (4096, 6144)) for n in range(DRAWS // 2)]
    _resizes_match([_orders(record)[0][1] for record in drawn], 4096, (0.2, 0.7, 0.1), (0.15, 1.5))
    seconds = [next(step for step in _orders(record)[1] if isinstance(step, Resize)) for record in drawn]
    _resizes_match(seconds, 1024, (0.3, 0.4, 0.3), (0.3, 1.2))


def test_draws_of_one_record_are_independent(realesrgan):
    table = []
    for record in realesrgan:
        (blur, resize, noise, jpeg), second, last = _orders(record)
        table.append(
            [blur.kernel_size, resize.height, noise.gray, jpeg.quality, second[-1].gray, len(second), len(last)]
        )
    correlation = np.corrcoef(np.array(table, float).T) - np.eye(7)
    assert np.abs(correlation).max() < 5 / math.sqrt(DRAWS)


def test_realesrgan_sides_follow_real_esrgans_rounding():
    keep = RealESRGANRecipe(resize_prob=(0, 0, 1), resize_prob2=(0, 1, 0), resize_range2=(0.5, 1))
    record = draw(keep, 2, np.random.default_rng(0), (50, 70))
    first, second, last = _orders(record)
    assert (first[1].height, first[1].width) == (50, 70)
    assert 12 <= second[-2].height <= 25
    assert [(step.height, step.width) for step in last if isinstance(step, Resize)] == [(25, 35)]


def test_turning_the_second_blur_off_leaves_the_others_as_they_were():
    for left, right in zip(
        _draws(RealESRGANRecipe(second_blur_prob=1), 20), _draws(RealESRGANRecipe(second_blur_prob=0), 20), strict=True
    ):
        assert left.steps[:4] + left.steps[5:] == right.steps


def test_both_ends_of_a_range_are_drawn():
    drawn = _draws(SemanticRecipe(blur_sigma=(0.7, 0.9), jpeg_range=(30.0, 30.0)), 60)
    assert {NOMINAL.levels(record)[0] for record in drawn} == {0.7, 0.8, 0.9}
    assert {NOMINAL.levels(record)[3] for record in drawn} == {30.0}


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
