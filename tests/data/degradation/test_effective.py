"""Effective levels: what theory predicts, and what is measured on degraded images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr
from skimage import data

from benchmarks.degradation.effective import crop, measure
from deplsr_data.degradation.effective import TYPICAL, effective_levels, statistics_of
from deplsr_data.degradation.recipes import draw, read_recipe
from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize, Sinc
from deplsr_data.degradation.sampling import rng_for


def gaussian(sigma: float, sigma_y: float | None = None, angle: float = 0.0) -> Blur:
    return Blur(2 * math.ceil(4 * max(sigma, sigma_y or 0)) + 1, sigma, sigma_y or sigma, angle)


def shrink(side: int = 64, **changes) -> Resize:
    return Resize(side, side, **changes)


def noise(level: float, gray: bool = False) -> Noise:
    return Noise('gaussian', level, gray, 1)


@pytest.mark.parametrize('scale', [1, 2, 4])
def test_a_chain_that_only_shrinks_has_zero_levels(scale):
    levels = effective_levels(Record(scale, (shrink(),)))
    assert levels.blur == levels.noise == levels.compression == levels.ringing == 0
    assert levels.anisotropy == pytest.approx(1)
    assert levels.quality == 100


@pytest.mark.parametrize('sigma', [0.8, 1.5, 3.0])
def test_one_blur_before_an_antialiased_shrink_keeps_nearly_its_sigma(sigma):
    assert effective_levels(Record(4, (gaussian(sigma), shrink()))).blur == pytest.approx(sigma, rel=0.06)


def test_blurs_add_as_variances_in_any_order():
    one, other = gaussian(1.2), gaussian(2.0)
    levels = [effective_levels(Record(4, steps)).blur for steps in ((one, other, shrink()), (other, one, shrink()))]
    assert levels[0] == pytest.approx(levels[1])
    both = effective_levels(Record(4, (gaussian(math.hypot(1.2, 2.0)), shrink()))).blur
    assert levels[0] == pytest.approx(both, rel=0.01)


def test_a_blur_after_the_shrink_counts_in_gt_pixels():
    before = effective_levels(Record(4, (gaussian(3.2), shrink()))).blur
    after = effective_levels(Record(4, (shrink(), gaussian(0.8)))).blur
    assert after == pytest.approx(before, rel=0.06)


def test_twice_the_scale_and_twice_the_sigma_are_twice_the_level():
    small = effective_levels(Record(2, (gaussian(1.0), shrink()))).blur
    large = effective_levels(Record(4, (gaussian(2.0), shrink()))).blur
    assert large == pytest.approx(2 * small, rel=0.03)


def test_an_intermediate_resize_blurs():
    detour = (Resize(40, 40, 'bilinear', antialias=False), shrink(mode='bilinear', antialias=False))
    assert effective_levels(Record(4, detour)).blur > 2


def test_direction_and_anisotropy_are_those_of_the_blur():
    levels = effective_levels(Record(4, (gaussian(4.0, 1.0, angle=0.7), shrink())))
    assert levels.angle == pytest.approx(0.7, abs=0.05)
    assert levels.anisotropy > 1.2


def test_noise_fades_in_a_shrink_and_gray_noise_has_no_colour():
    after = effective_levels(Record(4, (shrink(), noise(10))))
    assert after.color_noise == pytest.approx(10, rel=0.05)
    assert after.noise == pytest.approx(10 * math.sqrt(0.447), rel=0.05)
    assert effective_levels(Record(4, (noise(10), shrink()))).noise < after.noise / 3
    gray = effective_levels(Record(4, (shrink(), noise(10, gray=True))))
    assert gray.noise == pytest.approx(gray.color_noise)
    assert gray.noise == pytest.approx(10, rel=0.05)


def test_a_blur_after_noise_correlates_it():
    plain, blurred = (Record(4, (shrink(), noise(10), *more)) for more in ((), (gaussian(1.0),)))
    assert effective_levels(plain).correlation == pytest.approx(0, abs=0.02)
    assert effective_levels(blurred).correlation > 0.6


def test_a_lower_quality_changes_more_and_takes_more_of_weak_noise():
    levels = [effective_levels(Record(4, (shrink(), noise(4), Jpeg(q)))) for q in (95, 70, 40)]
    assert levels[0].compression < levels[1].compression < levels[2].compression
    assert levels[0].noise > levels[2].noise
    assert [one.quality for one in levels] == [95, 70, 40]
    assert levels[0].codec_last
    assert not effective_levels(Record(4, (shrink(), Jpeg(50.0), Sinc(9, 2.0)))).codec_last


def test_ringing_counts_only_after_the_last_noise():
    assert effective_levels(Record(4, (shrink(), noise(5), Sinc(21, math.pi / 2)))).ringing == pytest.approx(0.5)
    assert effective_levels(Record(4, (Sinc(21, math.pi / 2), shrink(), noise(5)))).ringing == 0


def test_shot_noise_follows_the_brightness_of_the_photo():
    record = Record(4, (shrink(), Noise('poisson', 2.0, False, 1)))
    dark, bright = (statistics_of(np.full((64, 64, 3), value, np.float32)) for value in (0.1, 0.5))
    assert effective_levels(record, bright).noise > 1.8 * effective_levels(record, dark).noise
    assert effective_levels(record, bright).color_noise == pytest.approx(255 * 2 * math.sqrt(0.5 / 256), rel=0.05)
    assert TYPICAL.gradients[0] > TYPICAL.gradients[1]


@pytest.mark.parametrize('recipe', ['semantic', 'realesrgan'])
def test_computed_levels_agree_with_those_measured_on_images(recipe):
    drawn_from = read_recipe({'type': recipe}, 'recipe')
    photos = [np.asarray(getattr(data, name)(), np.float32) / 255 for name in ('astronaut', 'chelsea', 'coffee')]
    pairs = []
    for index in range(24):
        rng = np.random.default_rng(index)
        gt = crop(photos[index % 3], rng)
        record = draw(drawn_from, 4, rng_for(0, 0, index, 0, 'degradation'), (256, 256))
        measured, computed = measure(record, gt, rng), effective_levels(record, statistics_of(gt))
        pairs.append([(measured[key], getattr(computed, key)) for key in ('blur', 'noise')])
    for (measured, computed), error in zip(np.array(pairs).transpose(1, 2, 0), (0.04, 0.12), strict=True):
        assert spearmanr(measured, computed)[0] > 0.95
        assert np.median(np.abs(computed - measured) / np.maximum(measured, 0.5)) < error
