from __future__ import annotations

import pytest

from basicsr_plugin.errors import UserError
from deplsr_data.recipes import SemanticRecipe, read_recipe

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


def test_a_recipe_that_is_no_block_is_refused():
    with pytest.raises(UserError, match='expected a mapping'):
        read_recipe('semantic', WHERE)
