from __future__ import annotations

from dataclasses import fields

import pytest
import yaml

from basicsr_plugin.errors import UserError
from deplsr_data.degradation.recipes import RealESRGANRecipe, SemanticRecipe, read_recipe

WHERE = 'datasets.train.recipe'


def test_without_a_block_the_recipe_has_the_research_ranges():
    recipe = read_recipe(None, WHERE)
    assert recipe == read_recipe({'type': 'semantic'}, WHERE) == SemanticRecipe()
    assert (recipe.blur_sigma, recipe.noise_range, recipe.poisson_scale_range) == ((0, 2.9), (0, 30), (0, 3))
    assert (recipe.jpeg_range, recipe.sinc_prob, recipe.resize, recipe.second_order) == (
        (30, 95),
        0.2,
        'before_noise',
        False,
    )


def test_lists_of_whole_numbers_are_read_as_ranges():
    recipe = read_recipe({'type': 'semantic', 'jpeg_range': [40, 90], 'sinc_kernel_size': [7, 9]}, WHERE)
    assert recipe.jpeg_range == (40.0, 90.0)
    assert recipe.sinc_kernel_size == (7, 9)


@pytest.mark.parametrize(
    ('opt', 'parts'),
    [
        (
            {'jpeg_range': [95, 30]},
            ['.jpeg_range', 'two quality factors 1 <= low <= high <= 100, got [95, 30]; swap them'],
        ),
        ({'jpeg_range': [0, 95]}, ['.jpeg_range', 'got [0, 95]']),
        ({'jpg_range': [30, 95]}, ["unknown key 'jpg_range'", "did you mean 'jpeg_range'"]),
        ({'blur_sigma': [0.31, 0.38]}, ['.blur_sigma', 'multiple of 0.1']),
        ({'blur_sigma': [-1, 2]}, ['.blur_sigma', 'got [-1, 2]']),
        ({'noise_range': [0, 300]}, ['.noise_range', '255']),
        ({'noise_range': 'high'}, ['.noise_range', 'high']),
        ({'sinc_prob': 1.5}, ['.sinc_prob', '1.5']),
        ({'sinc_kernel_size': [7, 8]}, ['.sinc_kernel_size', 'odd']),
        ({'resize': 'first'}, ['.resize', 'first']),
        ({'type': 'semntic'}, ['.type', "did you mean 'semantic'"]),
    ],
)
def test_a_wrong_recipe_is_one_clear_line(opt, parts):
    with pytest.raises(UserError) as caught:
        read_recipe({'type': 'semantic', **opt}, WHERE)
    text = str(caught.value)
    assert text.startswith(WHERE)
    assert '\n' not in text
    for part in parts:
        assert part in text


# The degradation keys of Real-ESRGAN's published option files, from their two places.
TOP_LEVEL = """
gt_usm: True
resize_prob: [0.2, 0.7, 0.1]
resize_range: [0.15, 1.5]
gaussian_noise_prob: 0.5
noise_range: [1, 30]
poisson_scale_range: [0.05, 3]
gray_noise_prob: 0.4
jpeg_range: [30, 95]
second_blur_prob: 0.8
resize_prob2: [0.3, 0.4, 0.3]
resize_range2: [0.3, 1.2]
gaussian_noise_prob2: 0.5
noise_range2: [1, 25]
poisson_scale_range2: [0.05, 2.5]
gray_noise_prob2: 0.4
jpeg_range2: [30, 95]
"""
DATA_SET = """
blur_kernel_size: 21
kernel_list: ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
kernel_prob: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
sinc_prob: 0.1
blur_sigma: [0.2, 3]
betag_range: [0.5, 4]
betap_range: [1, 2]
blur_kernel_size2: 21
kernel_list2: ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
kernel_prob2: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
sinc_prob2: 0.1
blur_sigma2: [0.2, 1.5]
betag_range2: [0.5, 4]
betap_range2: [1, 2]
final_sinc_prob: 0.8
"""


def test_real_esrgans_keys_can_be_pasted_and_are_the_defaults():
    pasted = yaml.safe_load(TOP_LEVEL + DATA_SET)
    assert read_recipe({'type': 'realesrgan', **pasted}, WHERE) == RealESRGANRecipe()
    assert set(pasted) == {field.name for field in fields(RealESRGANRecipe)} - {'type'}


@pytest.mark.parametrize(
    ('opt', 'parts'),
    [
        ({'gt_size': 256}, ["got 'gt_size'", "one level up, to 'datasets.train'"]),
        ({'use_hflip': True}, ["got 'use_hflip'", "to 'datasets.train'"]),
        ({'queue_size': 180}, ["got 'queue_size'", 'top level']),
        ({'l1_gt_usm': True}, ["got 'l1_gt_usm'", 'DePLSRGANModel has it at the top level']),
        ({'jpg_range': [30, 95]}, ["did you mean 'jpeg_range'"]),
        ({'kernel_list': ['iso', 'skew'], 'kernel_prob': [0.5, 0.5]}, ['.kernel_list', 'skew']),
        ({'kernel_prob': [0.5, 0.5]}, ['as many numbers in kernel_prob', '2 and 6']),
        ({'kernel_prob2': [0, 0, 0, 0, 0, 0]}, ['.kernel_prob2', 'not all 0']),
        ({'resize_prob': [0.5, 0.5]}, ['.resize_prob']),
        ({'resize_prob': [0.5, -0.5, 1]}, ['.resize_prob', 'weights of 0 or more']),
        ({'resize_range': [1.5, 0.15]}, ['.resize_range', '0 < low <= 1 <= high']),
        ({'betag_range2': [1.5, 4]}, ['.betag_range2', 'include 1']),
        ({'blur_kernel_size': 20}, ['.blur_kernel_size', 'take 21']),
        ({'blur_sigma': [3, 0.2]}, ['.blur_sigma', 'swap them']),
        ({'jpeg_range2': [30, 101]}, ['.jpeg_range2', 'got [30, 101]']),
        ({'final_sinc_prob': -0.1}, ['.final_sinc_prob', '-0.1']),
    ],
)
def test_a_wrong_real_esrgan_block_is_one_clear_line(opt, parts):
    with pytest.raises(UserError) as caught:
        read_recipe({'type': 'realesrgan', **opt}, WHERE)
    text = str(caught.value)
    assert text.startswith(WHERE)
    assert '\n' not in text
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ('recipe', 'largest'),
    [
        (SemanticRecipe(), 37),
        (SemanticRecipe(blur_sigma=(0.0, 1.0)), 21),
        (RealESRGANRecipe(), 21),
        (RealESRGANRecipe(blur_kernel_size2=25), 25),
    ],
)
def test_a_recipe_states_its_largest_kernel(recipe, largest):
    assert recipe.largest_kernel == largest


def test_a_recipe_that_is_not_a_mapping_is_refused():
    with pytest.raises(UserError, match='expected a mapping'):
        read_recipe('semantic', WHERE)
