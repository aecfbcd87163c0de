from __future__ import annotations

import jsonschema
import numpy as np
import pytest
from scipy import stats

import deplsr_data  # noqa: F401  registers the data sets
from basicsr_plugin.errors import UserError
from basicsr_plugin.schema import parts_schema
from deplsr_data.degradation.recipes import (
    BSRGANRecipe,
    CleanRecipe,
    MixturePart,
    MixtureRecipe,
    RealESRGANRecipe,
    SemanticRecipe,
    draw,
    read_recipe,
    rounds_of,
)
from deplsr_data.degradation.sampling import rng_for

WHERE = 'datasets.train.recipe'


def mixture(*recipes, **keys):
    return read_recipe({'type': 'mixture', 'recipes': list(recipes), **keys}, WHERE)


def test_each_part_is_read_as_the_recipe_that_it_is():
    read = mixture({'weight': 3, 'type': 'semantic', 'jpeg_range': [40, 50]}, {'weight': 0.5, 'type': 'clean'})
    assert read == MixtureRecipe(
        (MixturePart(3.0, SemanticRecipe(jpeg_range=(40.0, 50.0))), MixturePart(0.5, CleanRecipe()))
    )


def test_a_part_without_a_type_is_semantic_as_a_recipe_without_one_is():
    assert mixture({'weight': 1}).recipes[0].recipe == SemanticRecipe()


@pytest.mark.parametrize(
    ('opt', 'line'),
    [
        ({}, f"{WHERE}: missing key 'recipes'; expected a list of recipes, each with a weight"),
        ({'recipes': []}, f'{WHERE}.recipes: expected recipes, got an empty list'),
        ({'recipes': 'clean'}, f"{WHERE}.recipes: expected a list, got 'clean'"),
        ({'recipes': [3]}, f'{WHERE}.recipes[0]: expected a mapping'),
        ({'recipes': [{'type': 'clean'}]}, f"{WHERE}.recipes[0]: missing key 'weight'; expected a number > 0"),
        ({'recipes': [{'weight': 0}]}, f'{WHERE}.recipes[0].weight: expected a number greater than 0, got 0'),
        ({'recipes': [{'weight': 1, 'type': 'cleen'}]}, f'{WHERE}.recipes[0].type: expected one of'),
        (
            {'recipes': [{'weight': 1}, {'weight': 1, 'jpeg_range': [95, 30]}]},
            f'{WHERE}.recipes[1].jpeg_range: expected two quality factors 1 <= low <= high <= 100, got [95, 30]; swap',
        ),
        (
            {'recipes': [{'weight': 1, 'jpg_range': [30, 95]}]},
            f"{WHERE}.recipes[0]: unknown key 'jpg_range'; did you mean 'jpeg_range'?",
        ),
        (
            {'recipes': [{'weight': 1, 'gt_size': 64}]},
            f"{WHERE}.recipes[0]: expected keys of a degradation, got 'gt_size'; move it to 'datasets.train'",
        ),
        (
            {'recipes': [{'weight': 1, 'type': 'mixture', 'recipes': []}]},
            f'{WHERE}.recipes[0].type: expected a recipe that is no mixture, got one; list its recipes here instead',
        ),
        (
            {'recipes': [{'weight': 1, 'type': 'clean'}, {'weight': 1, 'type': 'realesrgan'}]},
            f'{WHERE}: expected gt_usm, since recipes[0] (clean) has false and recipes[1] (realesrgan) has true',
        ),
        (
            {'recipes': [{'weight': 1}, {'weight': 1, 'gt_usm': True}], 'gt_usm': False},
            f'{WHERE}.recipes[1].gt_usm: expected false as in the mixture, got true; remove it here',
        ),
        ({'recipies': []}, f'{WHERE}: missing key'),
        ({'recipes': [{'weight': 1}], 'gt_ums': True}, f"{WHERE}: unknown key 'gt_ums'; did you mean 'gt_usm'?"),
    ],
)
def test_a_wrong_mixture_is_one_clear_line(opt, line):
    with pytest.raises(UserError) as caught:
        read_recipe({'type': 'mixture', **opt}, WHERE)
    assert str(caught.value).startswith(line)
    assert '\n' not in str(caught.value)


def test_gt_usm_is_that_of_the_parts_or_set_for_all():
    sharpened = {'weight': 1, 'type': 'realesrgan'}
    assert mixture(sharpened, {'weight': 1, 'gt_usm': True}).gt_usm
    assert not mixture({'weight': 1}, {'weight': 1, 'type': 'clean'}).gt_usm
    assert not mixture(sharpened, {'weight': 1}, gt_usm=False).gt_usm
    assert mixture(sharpened, {'weight': 1}, gt_usm=True).gt_usm


def test_a_mixture_needs_what_the_most_demanding_part_needs():
    small = MixtureRecipe((MixturePart(1, CleanRecipe()), MixturePart(1, RealESRGANRecipe())))
    large = MixtureRecipe((MixturePart(1, BSRGANRecipe()), MixturePart(1, SemanticRecipe())))
    assert (small.largest_kernel, rounds_of(small)) == (21, 3)
    assert (large.largest_kernel, rounds_of(large)) == (37, 5)


def test_parts_are_drawn_as_often_as_they_weigh():
    recipe = MixtureRecipe(
        (
            MixturePart(1, CleanRecipe(identity_prob=1.0)),
            MixturePart(2, SemanticRecipe(resize='last')),
            MixturePart(3, RealESRGANRecipe()),
        )
    )
    drawn = [draw(recipe, 4, rng_for(0, 0, index, 0, 'degradation'), (64, 64)) for index in range(3000)]
    found = [
        sum(len(record.steps) == 1 for record in drawn),
        sum(len(record.steps) > 1 and record.named == 'first' for record in drawn),
        sum(record.named == 'total' for record in drawn),
    ]
    assert stats.chisquare(found, [500, 1000, 1500]).pvalue > 1e-4


def test_a_record_depends_on_its_own_generator_alone():
    recipe = mixture({'weight': 1}, {'weight': 1, 'type': 'clean'}, {'weight': 1, 'type': 'bsrgan'})
    there = [draw(recipe, 4, rng_for(5, 1, index, 0, 'degradation'), (64, 64)) for index in range(30)]
    back = [draw(recipe, 4, rng_for(5, 1, index, 0, 'degradation'), (64, 64)) for index in reversed(range(30))]
    assert there == back[::-1]
    assert len(set(there)) > 20


@pytest.mark.parametrize(
    ('recipe', 'fits'),
    [
        ({'type': 'mixture', 'recipes': [{'weight': 1, 'type': 'camera', 'jpeg_prob': 0.5}, {'weight': 2}]}, True),
        ({'type': 'mixture', 'recipes': [{'type': 'clean'}]}, False),
        ({'type': 'mixture', 'recipes': [{'weight': 0, 'type': 'clean'}]}, False),
        ({'type': 'mixture', 'recipes': [{'weight': 1, 'type': 'clean', 'sinc_prob': 0.1}]}, False),
        ({'type': 'mixture', 'recipes': [{'weight': 1, 'type': 'mixture', 'recipes': []}]}, False),
        ({'type': 'mixture'}, False),
    ],
)
def test_the_schema_describes_the_parts(recipe, fits):
    schema = parts_schema()
    block = {'$ref': '#/$defs/CaptionedDegradationDataset', '$defs': schema['$defs']}
    opt = {'name': 'x', 'type': 'CaptionedDegradationDataset', 'dataroot_gt': 'gt', 'recipe': recipe}
    assert jsonschema.Draft202012Validator(block).is_valid(opt) == fits


def test_a_mixture_of_one_part_draws_that_part():
    record = draw(mixture({'weight': 7, 'type': 'clean'}), 4, np.random.default_rng(1), (64, 64))
    rng = np.random.default_rng(1)
    rng.random()  # which part
    assert draw(CleanRecipe(), 4, rng, (64, 64)) == record
