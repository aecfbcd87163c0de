"""Effective levels: what theory predicts, and what is measured on degraded images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr
from skimage import data

from benchmarks.degradation.effective import crop, measure
from deplsr_data.degradation.effective import TYPICAL, PhotoStatistics, effective_levels, statistics_of
from deplsr_data.degradation.recipes import draw, read_recipe
from deplsr_data.degradation.records import Blur, ChromaNoise, Jpeg, Noise, Record, Resize, Sharpen, Sinc
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


def test_a_lower_quality_changes_more_and_takes_more_of_weak_noise_where_the_photo_is_smooth():
    smooth = PhotoStatistics(TYPICAL.brightness, (0.005, 0.001))
    levels = [effective_levels(Record(4, (shrink(), noise(4), Jpeg(q))), smooth) for q in (95, 70, 40)]
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


def test_twice_the_noise_is_twice_the_level_until_a_codec_rounds_it():
    weak, strong = (effective_levels(Record(4, (noise(sigma), gaussian(1.0), shrink()))) for sigma in (3, 6))
    assert strong.noise == pytest.approx(2 * weak.noise, rel=0.02)
    assert strong.color_noise == pytest.approx(2 * weak.color_noise, rel=0.02)


def test_noises_add_as_variances():
    both = effective_levels(Record(4, (shrink(), noise(3), noise(4)))).color_noise
    assert both == pytest.approx(effective_levels(Record(4, (shrink(), noise(5)))).color_noise, rel=0.02)


def test_chroma_noise_is_not_in_luma_until_a_codec_rounds_it():
    plain = effective_levels(Record(4, (shrink(), ChromaNoise(6.0, 2.0, 1))))
    assert plain.noise == pytest.approx(0)
    assert plain.color_noise == pytest.approx(6, rel=0.02)
    assert effective_levels(Record(4, (shrink(), ChromaNoise(6.0, 2.0, 1), Jpeg(70.0)))).noise > 0.5


def test_a_chain_has_the_same_levels_after_a_quarter_turn():
    steps = (gaussian(3.0, 1.0, angle=0.4), shrink(), noise(10), Jpeg(60.0))
    turned = (gaussian(3.0, 1.0, angle=0.4 + math.pi / 2), *steps[1:])
    one, other = effective_levels(Record(4, steps)), effective_levels(Record(4, turned))
    assert one.blur == pytest.approx(other.blur, rel=0.01)
    assert one.noise == pytest.approx(other.noise, rel=0.02)
    assert (other.angle - one.angle) % math.pi == pytest.approx(math.pi / 2, abs=0.02)


def test_an_isotropic_blur_is_the_same_with_and_without_separation():
    bell = Blur(13, 1.5, 1.5)
    apart = effective_levels(Record(4, (bell, shrink(), noise(10), bell)))
    together = effective_levels(Record(4, (Blur(13, 1.5, 1.5 + 1e-9), shrink(), noise(10), Blur(13, 1.5, 1.5 + 1e-9))))
    for name in ('blur', 'noise', 'color_noise', 'correlation'):
        assert getattr(apart, name) == pytest.approx(getattr(together, name), rel=1e-3)


def test_sharpening_before_a_codec_amplifies_noise_no_more_than_the_kernel_does():
    sharpen = Sharpen(13, 1.6, 1.0)
    plain, coded = (effective_levels(Record(4, (shrink(), noise(3), sharpen, *more))) for more in ((), (Jpeg(90.0),)))
    assert plain.noise < coded.noise < 1.5 * plain.noise


def test_a_second_jpeg_with_finer_steps_on_the_same_grid_changes_noise_little():
    once, again, off_grid = (
        effective_levels(Record(4, (shrink(), noise(5), Jpeg(70.0), *more)))
        for more in ((), (Jpeg(80.0),), (Jpeg(80.0, '4:2:0', (3, 5)),))
    )
    assert again.noise == pytest.approx(once.noise, rel=0.15)
    assert off_grid.noise > 1.05 * again.noise


def test_the_mean_that_clipped_noise_has_in_the_dark_survives_a_blur():
    photo = np.zeros((64, 64, 3), np.float32)
    photo[:, 32:] = 0.5
    steps = (noise(20), gaussian(4.0), shrink())
    flat = statistics_of(np.full((64, 64, 3), 0.5, np.float32))
    assert effective_levels(Record(4, steps), statistics_of(photo)).noise > 3
    assert effective_levels(Record(4, steps), flat).noise < 1


def test_a_photo_of_one_pixel_has_statistics_and_blocks_of_a_larger_one_differ():
    assert statistics_of(np.full((3, 3, 3), 0.5, np.float32)).gradients == (0, 0)
    photo = np.full((64, 64, 3), 0.5, np.float32)
    photo[:, 32:] = np.random.default_rng(0).random((64, 32, 3))
    activity = statistics_of(photo).activity
    assert np.mean(activity) == pytest.approx(1, abs=0.05)
    assert activity[0] < 0.2 < 1.5 < activity[-1]


@pytest.mark.parametrize('recipe', ['semantic', 'realesrgan', 'bsrgan', 'camera'])
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
    levels = np.maximum(np.array(pairs), 0.5)  # below is what rounding to 8 bits and the places of the spots change
    for (measured, computed), error in zip(levels.transpose(1, 2, 0), (0.04, 0.12), strict=True):
        assert spearmanr(measured, computed)[0] > 0.92
        assert np.median(np.abs(computed - measured) / measured) < error
