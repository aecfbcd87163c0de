from __future__ import annotations

import pytest
import torch
from torch.utils.data import default_collate

from deplsr_data.degradation.packing import ROUNDS, pack
from deplsr_data.degradation.recipes import RealESRGANRecipe, SemanticRecipe, draw
from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize, Sinc
from deplsr_data.degradation.sampling import rng_for

SIZE = (64, 96)
RECIPES = [
    SemanticRecipe(sinc_prob=0.5),
    SemanticRecipe(second_order=True, sinc_prob=0.5),
    SemanticRecipe(resize='last', sinc_prob=0.5, jpeg_prob=0.5),
    SemanticRecipe(resize='last', second_order=True, sinc_prob=0.5, aniso_ratio=(1.0, 9.0)),
    RealESRGANRecipe(),
    RealESRGANRecipe(blur_kernel_size=13, second_blur_prob=0.5),
]


@pytest.mark.parametrize('recipe', RECIPES)
def test_every_record_of_every_recipe_can_be_packed_and_collated(recipe):
    packed = [
        pack(draw(recipe, 4, rng_for(1, 0, index, 0, 'degradation'), SIZE), SIZE, recipe.largest_kernel)
        for index in range(150)
    ]
    batch = default_collate(packed)
    assert all(tensor.shape[:2] == (150, *packed[0][name].shape)[:2] for name, tensor in batch.items())
    assert (batch['sizes'][:, 0] == torch.tensor(SIZE)).all()
    assert (batch['sizes'][:, -1] == torch.tensor([16, 24])).all()
    assert batch['filters'].dtype == batch['noise.level'].dtype == batch['jpeg.tables'].dtype == torch.float32


def test_the_two_orders_of_sinc_and_jpeg_share_the_slots():
    first = (Blur(7, 1.0, 1.0), Resize(30, 30), Noise('gaussian', 1.0, False, 1), Jpeg(40.0))
    second = (Blur(7, 1.0, 1.0), Resize(20, 20), Noise('poisson', 1.0, False, 1))
    last = (Resize(16, 16, 'area'), Sinc(7, 2.0))
    sinc_last = pack(Record(4, (*first, *second, Jpeg(60.0), *last)), (64, 64))
    jpeg_last = pack(Record(4, (*first, *second, *last, Jpeg(60.0))), (64, 64))
    assert sinc_last['jpeg'].tolist() == [1, 1, 0]
    assert jpeg_last['jpeg'].tolist() == [1, 0, 1]
    for name in ('filters', 'sizes', 'modes', 'noise', 'terms'):
        assert torch.equal(sinc_last[name], jpeg_last[name])
    assert (sinc_last['terms'] > 0).tolist() == [[True, False], [True, False], [False, True]]


def test_an_identity_needs_no_filter():
    packed = pack(Record(1, (Blur(1, 0.0, 0.0), Blur(9, 0.0, 0.0))), SIZE)
    assert not packed['terms'].any()


def test_only_the_lower_32_bits_of_a_seed_are_packed():
    packed = pack(Record(1, (Noise('gaussian', 1.0, True, 2**40 + 5),)), SIZE)
    assert packed['noise.seed'].tolist() == [5, 0, 0]
    assert packed['noise.gray'].tolist() == [True, False, False]


def test_more_steps_than_slots_are_refused():
    with pytest.raises(ValueError, match=f'fit into {ROUNDS} rounds'):
        pack(Record(1, (Jpeg(50.0),) * (ROUNDS + 1)), SIZE)


def test_a_kernel_larger_than_kernel_size_is_refused():
    with pytest.raises(ValueError, match='raise kernel_size'):
        pack(Record(1, (Blur(23, 3.0, 3.0),)), SIZE, kernel_size=21)
