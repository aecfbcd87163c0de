"""Effective and nominal levels, and the captions of both."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest

from deplsr_data.degradation.effective import PhotoStatistics, effective_levels
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.recipes import RECIPES, draw, read_recipe
from deplsr_data.degradation.records import Blur, ChromaNoise, Jpeg, Noise, Record, Resize, Sinc
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.degradation.types import EFFECTIVE_TYPES, NOMINAL_TYPES

EFFECTIVE, NOMINAL = level_table('effective'), level_table('nominal')
SHRINK = Resize(64, 64, 'bicubic')
MIXED = Record(4, (Blur(21, 2.0, 2.0), SHRINK, Noise('gaussian', 10.0, False, 1), Jpeg(60.0), Sinc(13, 2.0)))


def _named(table, *steps, scale=4):
    return table.named_levels(table.levels(Record(scale, steps)))


def test_the_first_five_types_of_both_tables_have_the_slots_of_the_published_networks():
    assert NOMINAL.names == ('blur', 'gaussian', 'poisson', 'jpeg', 'ringing')
    assert EFFECTIVE.names == (
        *('blur', 'noise', 'grain', 'jpeg', 'ringing'),
        *('compression', 'color_noise', 'codec_last'),
    )


def test_a_photo_that_was_only_shrunk_has_no_degradation():
    for table in (EFFECTIVE, NOMINAL):
        levels = table.levels(Record(4, (SHRINK,)))
        assert levels == table.zero_levels
        assert table.captions(levels) == ['a photo', 'no degradation', *table.fine_captions(table.zero_levels)]
    assert EFFECTIVE.fine_captions(EFFECTIVE.zero_levels) == (
        'blur with sigma:0.0',
        'noise with sigma:0.0',
        'noise correlation in percent:0.0',
        'jpeg with quality factor:100.0',
        'ringing in percent:0.0',
        'compression error with sigma:0.0',
        'color noise with sigma:0.0',
        'no compression as the last step',
    )


def test_effective_levels_describe_the_lr_image_and_nominal_ones_the_steps():
    noise = Noise('gaussian', 20.0, False, 1)
    before = _named(EFFECTIVE, noise, SHRINK)
    after = _named(EFFECTIVE, SHRINK, noise)
    assert before['noise'] < 0.4 * after['noise']
    assert after['noise'] < after['color_noise']  # gray noise alone has both alike
    assert after['color_noise'] == pytest.approx(20, rel=0.1)
    assert _named(NOMINAL, noise, SHRINK)['gaussian'] == _named(NOMINAL, SHRINK, noise)['gaussian'] == 20


def test_each_effective_level_is_that_of_its_name_in_the_units_of_its_caption():
    shown, named = effective_levels(MIXED), EFFECTIVE.named_levels(EFFECTIVE.levels(MIXED))
    expected = {
        'blur': shown.blur,
        'noise': shown.noise,
        'grain': 100 * shown.correlation,
        'jpeg': 60,
        'ringing': 100 * (1 - 2.0 / np.pi),
        'compression': shown.compression,
        'color_noise': shown.color_noise,
        'codec_last': 0,
    }
    assert named == {name: pytest.approx(level, abs=0.051) for name, level in expected.items()}
    assert min(named['blur'], named['noise'], named['grain'], named['compression']) > 0.5
    last = Record(4, (SHRINK, Jpeg(60.0)))
    assert EFFECTIVE.whole_caption(EFFECTIVE.levels(last)).endswith('compression as the last step')


def test_the_correlation_of_noise_that_cannot_be_seen_is_zero_and_none_is_negative():
    smooth = Blur(13, 2.0, 2.0)
    visible, weak = (_named(EFFECTIVE, SHRINK, Noise('gaussian', level, False, 1), smooth) for level in (20.0, 1.0))
    assert visible['grain'] > 70
    assert weak['grain'] == 0
    for index in range(200):
        recipe = read_recipe({'type': 'camera'}, 'recipe')
        record = draw(recipe, 4, rng_for(1, 0, index, 0, 'degradation'), (64, 96))
        assert 0 <= EFFECTIVE.named_levels(EFFECTIVE.levels(record))['grain'] <= 100


def test_chroma_noise_is_color_noise():
    named = _named(EFFECTIVE, SHRINK, ChromaNoise(10.0, 2.0, 1))
    assert named['color_noise'] > 5
    assert named['noise'] < 0.5 * named['color_noise']


def test_shot_noise_depends_on_the_photo_and_only_effective_levels_follow():
    record = Record(4, (SHRINK, Noise('poisson', 2.0, False, 1)))
    gradients = (0.02, 0.004)
    dark, bright = PhotoStatistics((0.05,) * 8, gradients), PhotoStatistics((0.5,) * 8, gradients)
    assert EFFECTIVE.levels(record, bright)[1] > 1.8 * EFFECTIVE.levels(record, dark)[1]
    assert NOMINAL.levels(record, bright) == NOMINAL.levels(record, dark)
    assert EFFECTIVE.statistics(np.full((16, 16, 3), 0.5, np.float32)).brightness == (0.5,) * 8


@pytest.mark.parametrize('table', [EFFECTIVE, NOMINAL], ids=lambda table: table.name)
@pytest.mark.parametrize('name', ['semantic', 'realesrgan', 'bsrgan', 'camera', 'clean'])
def test_captions_name_the_levels_and_are_parsed_back(table, name):
    assert name in RECIPES
    recipe = read_recipe({'type': name}, 'recipe')
    for index in range(50):
        record = draw(recipe, 4, rng_for(3, 0, index, 0, 'degradation'), (64, 96))
        levels = table.levels(record)
        fine = table.fine_captions(levels)
        assert dict(table.parse_caption(text) for text in fine) == table.named_levels(levels)
        present = [text for text, level, zero in zip(fine, levels, table.zero_levels, strict=True) if level != zero]
        assert table.captions(levels, 'a cat') == ['a cat', ', '.join(present) or 'no degradation', *fine]


@pytest.mark.parametrize('table', [EFFECTIVE, NOMINAL], ids=lambda table: table.name)
def test_evaluation_levels_have_captions_and_lie_in_the_range_of_training(table):
    for one in table.types:
        assert np.ptp(np.diff(one.training_levels)) < 1e-9
        low, high = one.training_levels[0], one.training_levels[-1]
        for level in one.evaluation_levels:
            assert low <= level <= high
            assert table.parse_caption(one.caption(level)) == (one.name, level)


def test_the_caption_of_another_table_is_refused_with_the_name_of_the_table():
    line = "expected a fine caption of effective levels, such as 'noise with sigma:12.5', got 'poisson noise with scale"
    with pytest.raises(ValueError, match=re.escape(line)):
        EFFECTIVE.parse_caption('poisson noise with scale:1.0')
    line = 'expected a fine caption of nominal levels, such as '
    with pytest.raises(ValueError, match=line):
        NOMINAL.parse_caption('ringing in percent:12.0')


def test_prompts_are_distinct_within_a_table():
    for types in (EFFECTIVE_TYPES, NOMINAL_TYPES):
        assert len({one.prompt for one in types}) == len({one.name for one in types}) == len(types)


def test_levels_that_are_not_named_are_at_their_zero_level():
    assert EFFECTIVE.ordered_levels({'jpeg': 50.0}) == (0, 0, 0, 50, 0, 0, 0, 0)


def test_a_spawned_worker_finds_the_same_table():
    assert pickle.loads(pickle.dumps(EFFECTIVE)) is EFFECTIVE
