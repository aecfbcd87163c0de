from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.recipes import RealESRGANRecipe, SemanticRecipe, draw, read_recipe
from deplsr_data.degradation.records import (
    Blur,
    ChromaNoise,
    Codec,
    Jpeg,
    Noise,
    Record,
    Resize,
    Sharpen,
    Sinc,
    from_json,
    to_json,
)
from deplsr_data.degradation.sampling import rng_for

TWO_ORDERS = Record(
    4,
    (
        Blur(21, 0.2, 3.0, -0.1, 'generalized', 0.5),
        Resize(150, 151, 'area', antialias=False),
        Noise('poisson', 0.05, True, 2**32 - 1),
        Jpeg(math.pi * 10),
        Blur(7, 1.1, 0.7, 0.3, 'plateau', 2.0),
        Resize(64, 64, 'bilinear'),
        Noise('gaussian', 25.0, False, 0),
        Sinc(21, math.pi / 3),
        Jpeg(95.0),
    ),
)


@pytest.mark.parametrize('recipe', [SemanticRecipe(second_order=True), RealESRGANRecipe()])
def test_a_record_survives_its_text_exactly(recipe):
    assert from_json(to_json(TWO_ORDERS)) == TWO_ORDERS
    for index in range(300):
        record = draw(recipe, 4, rng_for(0, 0, index, 0, 'degradation'), (64, 64))
        text = to_json(record)
        assert from_json(text) == record
        assert to_json(from_json(text)) == text
        assert '\n' not in text


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'op': 'smear'}, 'smear'),
        ({'quality': 101.0}, '1 to 100'),
        ({'quality': '95'}, 'number'),
        ({'qualty': 1.0}, 'qualty'),
        ({'quality': None}, 'number'),
    ],
)
def test_text_that_is_not_a_record_is_refused_with_the_wrong_part_named(change, message):
    step = {'op': 'jpeg', 'quality': 95.0, **change}
    with pytest.raises(ValueError, match=message) as caught:
        from_json(json.dumps({'scale': 4, 'steps': [step]}))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'text', ['', '{', '[]', '{"scale": 4}', '{"scale": 0, "steps": []}', '{"scale": NaN, "steps": []}']
)
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(ValueError, match='record'):
        from_json(text)


@pytest.mark.parametrize(
    'make',
    [
        lambda: Blur(4, 1, 1),
        lambda: Blur(5, 1, 0),
        lambda: Blur(5, 1, 1, beta=0),
        lambda: Noise('gaussian', -1, False, 0),
        lambda: Noise('gaussian', 1, False, -1),
        lambda: Jpeg(0.5),
        lambda: Jpeg(50, grid_offset=(0, 16)),
        lambda: Sharpen(4, 1, 1),
        lambda: Sharpen(5, 0, 1),
        lambda: Sharpen(5, 1, -1),
        lambda: ChromaNoise(-1, 1, 0),
        lambda: ChromaNoise(1, 0.5, 0),
        lambda: ChromaNoise(1, 1, -1),
        lambda: Codec('webp', 101),
        lambda: Sinc(7, 4.0),
        lambda: Resize(0, 4),
    ],
)
def test_a_step_out_of_range_cannot_be_made(make):
    with pytest.raises(ValueError, match='expected'):
        make()


def test_a_jpeg_as_before_is_written_as_before():
    assert to_json(Record(1, (Jpeg(57.4),))) == '{"scale":1,"steps":[{"quality":57.4,"op":"jpeg"}],"named":"first"}'
    steps = (Jpeg(57.4, '4:4:4', (3, 0)), Codec('avif', 40), Sharpen(7, 1.0, 0.5), ChromaNoise(3.0, 2.0, 9))
    assert from_json(to_json(Record(1, steps))) == Record(1, steps)
    assert '"subsampling":"4:4:4","grid_offset":[3,0]' in to_json(Record(1, steps))


def _records_of_version_0_1():
    path = Path(__file__).parents[2] / 'golden' / 'v0_1' / 'records.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_of_version_0_1_have_the_same_captions_and_levels():
    rows = _records_of_version_0_1()
    assert len(rows) == 24
    for row in rows:
        record = from_json(row['record'])
        assert '"kind"' in row['record']
        levels = level_table('nominal').levels(record)
        assert level_table('nominal').captions(levels) == row['captions']
        assert list(levels) == row['levels']
        assert to_json(record) == row['record'].replace('"kind"', '"distribution"')


def test_records_of_version_0_1_are_drawn_again_from_the_same_seed():
    for row in _records_of_version_0_1():
        rng = rng_for(3, 0, row['index'], 0, 'degradation')
        assert draw(read_recipe(row['recipe'], 'recipe'), 4, rng, (64, 96)) == from_json(row['record'])


def test_the_sigma_that_names_a_blur_is_the_geometric_mean():
    assert Blur(21, 3.0, 0.75).sigma == pytest.approx(1.5)
    assert Blur(1, 0.0, 0.0).sigma == 0
    assert np.isclose(Blur(9, 1.3, 1.3).sigma, 1.3)
