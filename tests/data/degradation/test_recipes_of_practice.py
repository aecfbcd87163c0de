"""The recipes clean, bsrgan and camera: what they draw, how often, and how wrong options are refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from basicsr_plugin.errors import UserError
from deplsr_data.degradation import camera
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.packing import ROUNDS, pack
from deplsr_data.degradation.recipes import BSRGANRecipe, CameraRecipe, CleanRecipe, draw, read_recipe, rounds_of
from deplsr_data.degradation.records import (
    Blur,
    ChromaNoise,
    Codec,
    Jpeg,
    Noise,
    Record,
    Resize,
    Sharpen,
    from_json,
    to_json,
)
from deplsr_data.degradation.sampling import rng_for

DRAWS = 6000
SIZE = (64, 96)
ALARM = 1e-4  # of a test; the seeds are fixed all the same
RECIPES = {'clean': CleanRecipe(), 'bsrgan': BSRGANRecipe(), 'camera': CameraRecipe()}


@pytest.fixture(scope='module')
def drawn():
    return {name: _draws(recipe) for name, recipe in RECIPES.items()}


def _draws(recipe, count=DRAWS, size=SIZE, scale=4):
    return [draw(recipe, scale, rng_for(0, 0, index, 0, 'degradation'), size) for index in range(count)]


def _of(records, step_class):
    return [step for record in records for step in record.steps if isinstance(step, step_class)]


def _is_uniform(numbers, low, high):
    numbers = np.asarray(numbers)
    assert numbers.min() >= low
    assert numbers.max() <= high
    assert stats.kstest(numbers, 'uniform', (low, high - low)).pvalue > ALARM


def _has_share(hits, share):
    hits = list(hits)
    assert stats.binomtest(int(sum(hits)), len(hits), share).pvalue > ALARM


@pytest.mark.parametrize('name', RECIPES)
def test_records_end_at_the_lr_size_and_survive_their_text(drawn, name):
    for record in drawn[name][:300]:
        resizes = [step for step in record.steps if isinstance(step, Resize)]
        assert (resizes[-1].height, resizes[-1].width) == (16, 24)
        assert from_json(to_json(record)) == record
        assert all(
            math.isfinite(level) for name in ('effective', 'nominal') for level in level_table(name).levels(record)
        )


@pytest.mark.parametrize('name', RECIPES)
@pytest.mark.parametrize('scale', [1, 2, 3, 4])
def test_every_record_can_be_packed_at_every_scale(name, scale):
    recipe = RECIPES[name]
    for record in _draws(recipe, 150, (48, 60), scale):
        packed = pack(record, (48, 60), recipe.largest_kernel, rounds_of(recipe))
        assert packed['sizes'][-1].tolist() == [48 // scale, 60 // scale]


def test_a_share_of_clean_photos_is_only_shrunk_and_the_others_are_nearly_clean(drawn):
    records = drawn['clean']
    _has_share((len(record.steps) == 1 for record in records), 0.5)
    touched = [record for record in records if len(record.steps) > 1]
    _has_share((len(record.steps) == 3 for record in touched), 1 / 3)
    _has_share((not _of([record], Jpeg) for record in touched), 1 / 3)
    resizes = [record.steps[0] for record in records]
    _has_share((resize.mode == 'area' for resize in resizes), 1 / 3)
    _has_share((resize.antialias for resize in resizes if resize.mode != 'area'), 0.8)
    _is_uniform([noise.level for noise in _of(records, Noise)], 0, 2)
    _is_uniform([jpeg.quality for jpeg in _of(records, Jpeg)], 90, 100)
    _has_share((jpeg.subsampling == '4:4:4' for jpeg in _of(records, Jpeg)), 0.3)


def test_bsrgan_draws_the_published_shares_and_ranges(drawn):
    records = drawn['bsrgan']
    assert all(isinstance(record.steps[-1], Jpeg) for record in records)
    _has_share((len(_of([record], Jpeg)) == 2 for record in records), 0.9)
    _is_uniform([jpeg.quality for jpeg in _of(records, Jpeg)], 30, 95)
    noises = _of(records, Noise)
    assert len(noises) == DRAWS
    _is_uniform([noise.level for noise in noises], 2, 25)
    _has_share((noise.gray for noise in noises), 0.5)
    _has_share((len(_of([record], Resize)) == 3 for record in records), 0.25)
    plain = [record for record in records if len(_of([record], Resize)) == 2]
    by_kernel = [record for record in plain if len(_of([record], Blur)) == 3]
    _has_share((len(_of([record], Blur)) == 3 for record in plain), 0.25)
    assert all(_of([record], Resize)[0] == Resize(16, 24, 'bilinear', antialias=False) for record in by_kernel)
    blurs = _of([record for record in plain if record not in by_kernel], Blur)
    round_ = [blur for blur in blurs if blur.sigma_x == blur.sigma_y]
    _has_share((blur.sigma_x != blur.sigma_y for blur in blurs), 0.5)
    _is_uniform([blur.sigma_x for blur in round_ if blur.sigma_x > 0.01], 0.01, 2.8)
    oval = [blur for blur in blurs if blur.sigma_x != blur.sigma_y]
    _is_uniform([blur.sigma_y**2 for blur in oval], 0, 8)
    _is_uniform([blur.angle for blur in oval], 0, math.pi)
    assert {blur.kernel_size for blur in blurs} == set(range(7, 26, 2))


def test_bsrgan_shrinks_by_one_to_twice_the_scale_and_then_reaches_the_lr_size():
    records = _draws(BSRGANRecipe(halve_prob=0, random_shrink_prob=1), 2000, (4096, 4096))
    first, second = zip(*(_of([record], Resize) for record in records), strict=True)
    _is_uniform([4096 / resize.height for resize in first], 1, 8.01)
    assert {(resize.height, resize.width) for resize in second} == {(1024, 1024)}
    enlarging = [two for one, two in zip(first, second, strict=True) if one.height < two.height]
    assert {resize.mode for resize in enlarging} == {'bilinear', 'bicubic'}
    assert {resize.mode for resize in second} == {'area', 'bilinear', 'bicubic'}


def test_all_of_bsrgans_orders_are_drawn_and_fit_into_its_rounds():
    shrink = (Blur(25, 1.0, 1.0), Resize(16, 24, 'bilinear', antialias=False))
    parts = {
        'a': (Blur(7, 1.0, 1.0),),
        'b': (Blur(9, 1.0, 1.0),),
        's': shrink,
        'r': (Resize(16, 24),),
        'n': (Noise('gaussian', 2.0, False, 1),),
        'j': (Jpeg(50.0),),
    }
    orders = [order for order in itertools.permutations('absrnj') if order.index('s') < order.index('r')]
    for order in orders:
        steps = (Resize(32, 48), *(step for name in order for step in parts[name]), Jpeg(60.0))
        pack(Record(4, steps), SIZE, 25, rounds_of(BSRGANRecipe()))
    plain = BSRGANRecipe(halve_prob=0, jpeg_prob=1, random_shrink_prob=1)
    found = {tuple(step.op for step in record.steps) for record in _draws(plain)}
    wanted = {tuple({'a': 'b', 's': 'r'}.get(name, name) for name in order) for order in orders}
    assert {tuple(name[0] for name in order[:-1]) for order in found} == wanted


def test_only_a_shuffled_recipe_needs_more_rounds(drawn):
    assert rounds_of(CleanRecipe()) == rounds_of(CameraRecipe()) == ROUNDS
    assert rounds_of(BSRGANRecipe()) == 5


def test_the_halving_is_published_for_scale_4_only():
    assert all(len(_of([record], Resize)) == 2 for record in _draws(BSRGANRecipe(halve_prob=1), 50, (48, 48), 3))


def test_a_camera_draws_its_shares_and_ranges(drawn):
    records = drawn['camera']
    _has_share((len(_of([record], Resize)) == 1 for record in records), 0.5 + 0.5 * math.log(25 / 24) / math.log(2))
    _has_share((bool(_of([record], Noise)) for record in records), 0.7)
    _has_share((bool(_of([record], ChromaNoise)) for record in records), 0.4)
    noises = _of(records, Noise)
    _has_share((noise.distribution == 'gaussian' for noise in noises), 0.3)
    _is_uniform([noise.level for noise in noises if noise.distribution == 'gaussian'], 0.5, 8)
    _is_uniform([noise.level for noise in noises if noise.distribution == 'poisson'], 0.05, 0.8)
    found = _of(records, ChromaNoise)
    _is_uniform([step.level for step in found], 1, 10)
    _is_uniform([math.log(step.size) for step in found], 0, math.log(5))
    sharpens = _of(records, Sharpen)
    _is_uniform([sharpen.amount for sharpen in sharpens], 0.2, 1.2)
    _is_uniform([sharpen.sigma for sharpen in sharpens], 0.5, 2)
    assert all(sharpen.kernel_size == 2 * math.ceil(3 * sharpen.sigma) + 1 for sharpen in sharpens)
    _has_share((jpeg.subsampling == '4:4:4' for jpeg in _of(records, Jpeg)), 0.3)


def test_the_web_recodes_with_each_codec_as_often_as_stated(drawn):
    records = _draws(CameraRecipe(jpeg_prob=0))
    last = [record.steps[-1] for record in records]
    codecs = [step.codec for step in last if isinstance(step, Codec)]
    shares = [sum(isinstance(step, Jpeg) for step in last), codecs.count('webp'), codecs.count('avif')]
    expected = np.array([0.5, 0.25, 0.1, 0.15]) * DRAWS
    assert stats.chisquare([*shares, DRAWS - sum(shares)], expected).pvalue > ALARM
    jpegs = [step for step in last if isinstance(step, Jpeg)]
    _is_uniform([jpeg.quality for jpeg in jpegs], 40, 95)
    _has_share((jpeg.grid_offset != (0, 0) for jpeg in jpegs), 0.5 * 255 / 256)
    assert {row for jpeg in jpegs for row in jpeg.grid_offset} == set(range(16))
    assert {step.quality for step in last if isinstance(step, Codec) and step.codec == 'webp'} == set(range(30, 96))


def test_photos_at_the_lr_size_are_compressed_twice_without_a_resize_between():
    records = _draws(CameraRecipe(same_size_prob=1, jpeg_prob=1, codec_list=('jpeg',), codec_prob=(1,)), 50)
    assert all([type(step) for step in record.steps[-2:]] == [Jpeg, Jpeg] for record in records)


def test_a_codec_that_pillow_lacks_is_never_drawn_and_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(camera, 'is_available', lambda codec: codec != 'avif')
    codecs = {step.codec for step in _of(_draws(CameraRecipe(), 500), Codec)}
    assert codecs == {'webp'}
    assert isinstance(read_recipe({'type': 'camera'}, 'recipe'), CameraRecipe)
    with pytest.raises(UserError) as caught:
        read_recipe({'type': 'camera', 'codec_list': ['jpeg', 'avif'], 'codec_prob': [1, 1]}, 'datasets.train.recipe')
    assert str(caught.value) == (
        "datasets.train.recipe.codec_list: expected codecs that the installed Pillow has, got 'avif', which it lacks; "
        'install Pillow 11.3 or later, or remove it'
    )


@pytest.mark.parametrize(
    ('opt', 'parts'),
    [
        ({'type': 'clean', 'identity_prob': 2}, ['.identity_prob', '2']),
        ({'type': 'clean', 'resize_modes': []}, ['.resize_modes', 'one name or more']),
        ({'type': 'clean', 'resize_modes': ['cubic']}, ['.resize_modes', 'cubic']),
        ({'type': 'clean', 'jpeg_range': [100, 90]}, ['.jpeg_range', 'swap them']),
        ({'type': 'bsrgan', 'blur_factor': 0}, ['.blur_factor', '0']),
        ({'type': 'bsrgan', 'noise_range': [25, 2]}, ['.noise_range', 'swap them']),
        ({'type': 'bsrgan', 'rounds': 3}, ["unknown key 'rounds'"]),
        ({'type': 'camera', 'codec_list': ['jpeg', 'gif']}, ['.codec_list', 'gif']),
        ({'type': 'camera', 'codec_list': ['jpeg']}, ['as many numbers in codec_prob', '4 and 1']),
        ({'type': 'camera', 'codec_list': []}, ['.codec_list', 'one codec or more']),
        ({'type': 'camera', 'resize_range': [0.5, 2]}, ['.resize_range', 'sizes relative to LR 1 <= low']),
        ({'type': 'camera', 'chroma_noise_size': [0, 2]}, ['.chroma_noise_size', 'sizes in pixels']),
        ({'type': 'camera', 'sharpen_amount': [-1, 2]}, ['.sharpen_amount', 'amounts']),
    ],
)
def test_a_wrong_block_is_one_clear_line(opt, parts):
    with pytest.raises(UserError) as caught:
        read_recipe(opt, 'datasets.train.recipe')
    text = str(caught.value)
    assert text.startswith('datasets.train.recipe')
    assert '\n' not in text
    for part in parts:
        assert part in text
