"""The regressor: numbers estimated from photos of any size, and the prior made of them."""

from __future__ import annotations

import pytest
import torch

from basicsr_plugin.errors import OptionError
from deplsr_arch import LevelRegressor
from deplsr_arch.number_tokens import number_tokens


@pytest.mark.parametrize('shape', [(2, 3, 16, 24), (1, 1, 5, 40), (1, 3, 1, 1)])
def test_it_estimates_five_numbers_from_photos_of_any_size_colour_or_grey(shape):
    levels = LevelRegressor(prior_dim=8, num_feat=16).eval()(torch.rand(shape))
    assert levels.shape == (shape[0], 5)
    assert levels.min() > 0
    assert levels.max() < 1


def test_it_is_built_for_another_number_of_degradation_types():
    network = LevelRegressor(prior_dim=8, num_feat=16, num_degradation_types=6).eval()
    content, degradation = network.prior(torch.rand(2, 3, 16, 24))
    assert (network.num_degradation_types, content.shape, degradation.shape) == (6, (2, 1, 8), (2, 6, 8))


def test_each_number_has_an_entry_of_its_own_token():
    tokens = number_tokens(torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0]]), 16)
    assert tokens.shape == (1, 5, 16)
    torch.testing.assert_close(tokens[0, :, :5] * 4, torch.diag(torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'prior_dim': 4}, 'prior_dim: expected at least 5'),
        ({'num_feat': 0}, 'num_feat: expected a whole number'),
        ({'num_degradation_types': 0}, 'num_degradation_types: expected a whole number'),
        ({'stride': 6}, 'stride: expected a power of 2'),
    ],
)
def test_a_wrong_argument_is_named(change, message):
    with pytest.raises(OptionError, match=f'^{message}'):
        LevelRegressor(**change)


def test_it_costs_no_more_than_an_adaptor_of_the_same_width():
    from torch.utils.flop_counter import FlopCounterMode

    from deplsr_arch import DegradationAdaptor

    vision = {'image_size': 64, 'patch_size': 8, 'width': 96, 'layers': 3, 'head_width': 32}
    text = {'context_length': 64, 'vocab_size': 49408, 'width': 64, 'heads': 2, 'layers': 2}
    clip = {'embed_dim': 64, 'vision_cfg': vision, 'text_cfg': text}
    spent = []
    for net in (LevelRegressor(prior_dim=64), DegradationAdaptor(clip, stem='conv', view='native')):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net.eval().prior(torch.rand(1, 3, 64, 64))
        spent.append(counter.get_total_flops())
    assert spent[0] <= spent[1]
