from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from basicsr_plugin.errors import UserError
from deplsr_arch.degradation_adaptor_arch import AdaptorOutput
from deplsr_model.degradation_contrastive_loss import DegradationOrdinalLoss
from deplsr_model.functional import ordinal_cross_entropy
from deplsr_model.vocabulary import whiten_texts

LEVELS = torch.arange(5.0)


def texts(count=5, dim=8):
    return F.normalize(torch.randn(count, dim), dim=-1)


def test_a_very_narrow_target_is_plain_cross_entropy():
    image, text, levels = texts(3), texts(), torch.tensor([0.0, 3.0, 4.0])
    expected = F.cross_entropy(20 * image @ text.T, levels.long())
    got = ordinal_cross_entropy(image, text, LEVELS, levels, 20.0, softness=0.01)
    assert torch.allclose(got, expected)


def test_without_softness_the_two_neighbours_share_the_target_and_expectation_is_the_level():
    text, levels = torch.eye(5, 8), torch.tensor([1.25])
    weights = torch.tensor([0, 0.75, 0.25, 0, 0])
    image = weights @ text
    expected = -(weights * (10.0 * image @ text.T).log_softmax(0)).sum()
    assert torch.allclose(ordinal_cross_entropy(image[None], text, LEVELS, levels, 10.0, softness=0), expected)


def test_a_near_miss_costs_less_than_a_far_one():
    text = torch.eye(5, 8)
    loss = [ordinal_cross_entropy(text[i : i + 1], text, LEVELS, torch.tensor([1.0]), 10.0).item() for i in (1, 2, 4)]
    assert loss == sorted(loss)


def test_a_level_beyond_the_vocabulary_counts_as_its_end():
    image, text = texts(1), texts()
    beyond, end = (ordinal_cross_entropy(image, text, LEVELS, torch.tensor([level]), 10.0) for level in (9.0, 4.0))
    assert torch.equal(beyond, end)


def test_equal_levels_in_a_batch_do_no_harm():
    image, text = texts(1), texts()
    alone = ordinal_cross_entropy(image, text, LEVELS, torch.tensor([2.0]), 10.0)
    thrice = ordinal_cross_entropy(image.expand(3, -1), text, LEVELS, torch.full((3,), 2.0), 10.0)
    assert torch.allclose(alone, thrice)


def output(batch=2, dim=8):
    return AdaptorOutput(texts(batch, dim), texts(batch, dim), F.normalize(torch.randn(batch, 5, dim), dim=-1))


def test_the_total_is_the_weighted_sum_of_the_terms():
    cri = DegradationOrdinalLoss(weights=(0.0, 0.25, 0.75), loss_weight=2.0)
    vocabulary = [(LEVELS, texts())] * 5
    terms = cri(output(), torch.randn(2, 7, 8), torch.tensor(10.0), levels=torch.ones(2, 5), vocabulary=vocabulary)
    assert torch.allclose(terms['l_total'], 2 * (0.25 * terms['l_degradation'] + 0.75 * terms['l_fine']))


@pytest.mark.parametrize('arguments', [{'softness': -1}, {'weights': (1, 2)}])
def test_wrong_arguments_give_one_line(arguments):
    with pytest.raises(UserError, match='expected'):
        DegradationOrdinalLoss(**arguments)


def test_spread_texts_are_equally_far_apart_and_span_the_same_space():
    torch.manual_seed(0)
    near = F.normalize(torch.randn(1, 16) + 0.01 * torch.randn(5, 16), dim=-1)
    apart = whiten_texts(near)
    distances = torch.cdist(apart, apart)[~torch.eye(5, dtype=torch.bool)]
    assert torch.allclose(distances, torch.full_like(distances, 2**0.5), atol=1e-4)
    centred = near - near.mean(0)
    assert torch.linalg.matrix_rank(torch.cat([centred / centred.norm(), apart]), rtol=1e-3) == 4


def test_only_spread_texts_can_be_told_apart_sharply():
    torch.manual_seed(0)
    near = F.normalize(torch.randn(1, 16) + 0.01 * torch.randn(5, 16), dim=-1)
    for texts_, sharp in ((near, False), (whiten_texts(near), True)):
        image = F.normalize(texts_[2] - texts_.mean(0), dim=0)
        assert ((100 * image @ texts_.T).softmax(0)[2] > 0.99) == sharp
