"""Nominal levels and their captions: what was set at the steps, as published."""

from __future__ import annotations

import math
import re

import cv2
import numpy as np
import pytest

from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.nominal import kernel_standard_deviation
from deplsr_data.degradation.recipes import RealESRGANRecipe, SemanticRecipe, draw
from deplsr_data.degradation.records import Blur, ChromaNoise, Codec, Jpeg, Noise, Record, Resize, Sharpen, Sinc
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.ops.kernels import blur_kernel

NOMINAL = level_table('nominal')
RECORD = Record(4, (Blur(9, 1.2, 1.2), Noise('gaussian', 12.3, False, 1), Jpeg(57.4), Sinc(7, 2.0)))
LEVELS = NOMINAL.levels(RECORD)
RANGES = {'blur': range(51), 'gaussian': range(501), 'poisson': range(51), 'jpeg': range(10, 1001), 'ringing': (0, 10)}


@pytest.mark.parametrize('degradation_type', NOMINAL.types, ids=lambda degradation_type: degradation_type.name)
def test_every_level_survives_its_caption(degradation_type):
    for tenths in RANGES[degradation_type.name]:
        assert NOMINAL.parse_caption(degradation_type.caption(tenths / 10)) == (degradation_type.name, tenths / 10)


def test_another_codec_is_named_as_the_jpeg_that_changes_photos_as_much():
    record = Record(4, (Jpeg(30.0, '4:4:4'), Resize(16, 16), Codec('webp', 50)))
    assert NOMINAL.levels(record)[3] == 68
    assert NOMINAL.levels(Record(4, (Codec('webp', 50), Jpeg(30.0, grid_offset=(1, 2)))))[3] == 30
    assert NOMINAL.whole_caption(NOMINAL.levels(record)) == 'jpeg with quality factor:68.0'


def test_chroma_noise_counts_as_gaussian_noise():
    chroma = ChromaNoise(4.0, 2.0, 1)
    assert NOMINAL.levels(Record(4, (chroma, Sharpen(7, 1.0, 0.5))))[1:3] == (4, 0)
    assert (
        NOMINAL.levels(Record(4, (Noise('gaussian', 9.0, False, 1), Noise('gaussian', 3.0, False, 1), chroma)))[1] == 5
    )
    assert NOMINAL.levels(Record(4, (Noise('poisson', 1.5, False, 1), chroma)))[1:3] == (4, 1.5)


def test_captions_are_those_of_the_paper():
    assert NOMINAL.fine_captions(LEVELS) == (
        'blur with sigma:1.2',
        'gaussian noise with sigma:12.3',
        'poisson noise with scale:0.0',
        'jpeg with quality factor:57.4',
        'ringing and overshoot artifacts',
    )
    assert NOMINAL.whole_caption(LEVELS) == (
        'blur with sigma:1.2, gaussian noise with sigma:12.3, jpeg with quality factor:57.4, '
        'ringing and overshoot artifacts'
    )


def test_a_type_that_does_not_occur_has_its_zero_level_and_is_not_in_the_whole_caption():
    clean = Record(4, (Blur(1, 0.0, 0.0), Noise('poisson', 0.0, False, 1)))
    assert NOMINAL.fine_captions(NOMINAL.levels(clean)) == (
        'blur with sigma:0.0',
        'gaussian noise with sigma:0.0',
        'poisson noise with scale:0.0',
        'jpeg with quality factor:100.0',
        'no ringing and overshoot artifacts',
    )
    assert NOMINAL.whole_caption(NOMINAL.levels(clean)) == 'no degradation'


def test_a_photo_without_a_title_gets_the_fallback():
    assert NOMINAL.captions(LEVELS)[0] == NOMINAL.captions(LEVELS, '')[0] == 'a photo'
    assert NOMINAL.captions(LEVELS, 'a cat')[0] == 'a cat'
    assert len(NOMINAL.captions(LEVELS)) == 7


@pytest.mark.parametrize('resize', ['last', 'before_noise'])
@pytest.mark.parametrize('second_order', [False, True])
def test_captions_describe_what_was_applied(resize, second_order):
    recipe = SemanticRecipe(resize=resize, second_order=second_order)
    for index in range(200):
        record = draw(recipe, 4, rng_for(5, 0, index, 0, 'degradation'), (64, 64))
        read = dict(NOMINAL.parse_caption(text) for text in NOMINAL.fine_captions(NOMINAL.levels(record)))
        assert tuple(read.values()) == NOMINAL.levels(record)
        blur = next(step for step in record.steps if isinstance(step, Blur))
        assert read['blur'] == pytest.approx(blur.sigma)
        for noise in (step for step in record.steps if isinstance(step, Noise)):
            assert read[noise.distribution] == noise.level
            assert read['gaussian' if noise.distribution == 'poisson' else 'poisson'] == 0
        assert [read['jpeg']] == [step.quality for step in record.steps if isinstance(step, Jpeg)]
        assert read['ringing'] == any(isinstance(step, Sinc) for step in record.steps)
        assert all(
            NOMINAL.parse_caption(text)[1] == read[NOMINAL.parse_caption(text)[0]]
            for text in NOMINAL.whole_caption(NOMINAL.levels(record)).split(', ')
        )


def test_of_two_orders_the_first_blur_and_the_last_noise_and_jpeg_are_named():
    record = Record(
        4,
        (
            *(Blur(9, 1.2, 1.2), Noise('gaussian', 12.0, False, 1), Jpeg(40.0)),
            *(Blur(9, 0.3, 0.3), Noise('gaussian', 8.0, False, 1), Jpeg(80.0)),
        ),
    )
    assert NOMINAL.levels(record) == (1.2, 8.0, 0.0, 80.0, 0.0)


def _blur_level(*steps, scale=4):
    return NOMINAL.levels(Record(scale, steps, named='total'))[0]


def test_blurs_in_a_row_are_named_by_the_standard_deviation_of_all_in_gt_pixels():
    half, lr = Resize(128, 128), Resize(64, 64)  # of 256 GT pixels
    assert _blur_level(Blur(21, 2.0, 2.0), lr) == 2.0
    assert _blur_level(Blur(21, 2.0, 2.0), half, Blur(15, 1.0, 1.0), lr) == round(math.sqrt(4 + 4), 1)
    assert _blur_level(half, Blur(15, 1.0, 1.0), lr) == 2.0
    assert _blur_level(Resize(384, 384), Blur(21, 3.0, 3.0), lr) == 2.0
    assert _blur_level(lr) == 0


def test_the_standard_deviation_of_blurs_in_a_row_is_that_of_a_blurred_point():
    record = Record(4, (Blur(13, 2.5, 1.0, 0.4), Blur(9, 1.2, 1.2, 0.0, 'plateau', 1.5), Resize(16, 16)), named='total')
    point = np.zeros((65, 65), np.float32)
    point[32, 32] = 1
    for step in record.steps[:2]:
        kernel = blur_kernel(step.kernel_size, step.sigma_x, step.sigma_y, step.angle, step.family, step.beta)
        point = cv2.filter2D(point, -1, kernel)
    y, x = np.mgrid[-32:33, -32:33]
    expected = ((point * x * x).sum() * (point * y * y).sum() - (point * x * y).sum() ** 2) ** 0.25
    assert NOMINAL.levels(record)[0] == pytest.approx(expected, abs=0.15)


def test_a_kernel_too_small_for_its_sigma_has_a_smaller_standard_deviation():
    assert kernel_standard_deviation(Blur(31, 3.0, 3.0)) == pytest.approx(3.0, rel=0.01)
    assert 1.5 < kernel_standard_deviation(Blur(7, 3.0, 3.0)) < 2.0
    assert kernel_standard_deviation(Blur(7, 0.0, 0.0)) == 0


def test_an_early_sinc_counts_as_blur_and_a_final_one_as_ringing():
    noise, lr = Noise('gaussian', 5.0, False, 1), Resize(64, 64)
    early, final = Sinc(21, math.pi / 3), Sinc(21, math.pi / 2)
    first = NOMINAL.levels(Record(4, (early, lr, noise, Jpeg(50.0)), named='total'))
    assert first[0] == pytest.approx(math.sqrt(2 * math.log(2)) / (math.pi / 3), abs=0.05)
    assert first[4] == 0
    for last in ((final, Jpeg(50.0)), (Jpeg(50.0), final)):
        assert NOMINAL.levels(Record(4, (lr, noise, *last), named='total'))[::4] == (0.0, 1.0)
    assert NOMINAL.levels(Record(4, (lr, noise, Sinc(21, math.pi)), named='total'))[4] == 0


def test_captions_of_real_esrgan_describe_what_was_applied():
    for index in range(300):
        record = draw(RealESRGANRecipe(), 4, rng_for(5, 0, index, 0, 'degradation'), (64, 64))
        read = dict(NOMINAL.parse_caption(text) for text in NOMINAL.fine_captions(NOMINAL.levels(record)))
        assert tuple(read.values()) == NOMINAL.levels(record)
        for degradation_type in ('gaussian', 'poisson'):
            of_type = [
                step.level for step in record.steps if isinstance(step, Noise) and step.distribution == degradation_type
            ]
            assert read[degradation_type] == (round(of_type[-1], 1) if of_type else 0)
        assert read['jpeg'] == round([step.quality for step in record.steps if isinstance(step, Jpeg)][-1], 1)
        assert read['ringing'] == any(isinstance(step, Sinc) for step in record.steps[-3:])
        assert 0 <= read['blur'] < 25


@pytest.mark.parametrize(
    'text', ['', 'a photo', 'blur with sigma:', 'blur with sigma:x', 'blur with sigma', 'no blur with sigma:1.0']
)
def test_text_that_is_not_a_fine_caption_is_refused(text):
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        NOMINAL.parse_caption(text)


def test_evaluation_levels_are_the_published_ones_and_have_captions():
    expected = {
        'blur': (0, 1, 2, 3),
        'gaussian': (0, 15, 30),
        'poisson': (0, 1, 2, 3),
        'jpeg': (30, 50, 70, 90),
        'ringing': (0, 1),
    }
    for degradation_type in NOMINAL.types:
        assert tuple(degradation_type.evaluation_levels) == expected[degradation_type.name]
        for level in degradation_type.evaluation_levels:
            assert NOMINAL.parse_caption(degradation_type.caption(level)) == (degradation_type.name, level)
