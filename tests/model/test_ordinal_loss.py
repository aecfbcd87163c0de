from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from basicsr_plugin.errors import UserError
from deplsr_arch.degradation_adaptor_arch import AdaptorOutput
from deplsr_model.degradation_contrastive_loss import DegradationOrdinalLoss
from deplsr_model.functional import ContrastiveBatch, ordinal_cross_entropy
from deplsr_model.level_text import neighbour_target

LEVELS = torch.arange(5.0)


def texts(count=5, dim=8):
    return F.normalize(torch.randn(count, dim), dim=-1)


def loss(image, text, levels, scale):
    return ordinal_cross_entropy(image, text, neighbour_target(torch.tensor(levels), LEVELS), scale)


def test_at_levels_of_the_vocabulary_it_is_plain_cross_entropy():
    image, text = texts(3), texts()
    expected = F.cross_entropy(20 * image @ text.T, torch.tensor([0, 3, 4]))
    assert torch.allclose(loss(image, text, [0.0, 3.0, 4.0], 20.0), expected)


def test_the_two_neighbours_share_the_target_and_its_expectation_is_the_level():
    target = neighbour_target(torch.tensor([1.25]), LEVELS)
    assert torch.allclose(target, torch.tensor([[0, 0.75, 0.25, 0, 0]]))
    assert torch.allclose(target @ LEVELS, torch.tensor([1.25]))


def test_a_near_miss_costs_less_than_a_far_one():
    text = torch.eye(5, 8)
    between = text[1:2] + text[2:3]
    losses = [loss(image, text, [1.25], 10.0).item() for image in (between, text[2:3], text[4:5])]
    assert losses == sorted(losses)


def test_a_level_beyond_the_vocabulary_counts_as_its_end():
    image, text = texts(1), texts()
    assert torch.equal(loss(image, text, [9.0], 10.0), loss(image, text, [4.0], 10.0))


def test_equal_levels_in_a_batch_do_no_harm():
    image, text = texts(1), texts()
    assert torch.allclose(loss(image, text, [2.0], 10.0), loss(image.expand(3, -1), text, [2.0] * 3, 10.0))


def output(batch=2, dim=8):
    return AdaptorOutput(texts(batch, dim), texts(batch, dim), F.normalize(torch.randn(batch, 5, dim), dim=-1))


def batch(vocabulary):
    return ContrastiveBatch(output(), torch.randn(2, 7, 8), torch.tensor(10.0), None, torch.ones(2, 5), vocabulary)


def test_the_total_is_the_weighted_sum_of_the_terms():
    cri = DegradationOrdinalLoss(weights=(0.0, 0.25, 0.75), loss_weight=2.0)
    terms = cri(batch([(LEVELS, texts())] * 5))
    assert torch.allclose(terms['l_total'], 2 * (0.25 * terms['l_degradation'] + 0.75 * terms['l_fine']))


def test_a_subclass_changes_how_texts_are_prepared_and_what_the_target_is():
    class Last(DegradationOrdinalLoss):
        def prepare(self, texts):
            return torch.eye(5, 8)

        def target(self, levels, text_levels):
            return F.one_hot(torch.full((len(levels),), 4), 5).to(text_levels)

    given = batch([(LEVELS, texts())] * 5)
    fine = given.output.fine_degradation.flatten(0, 1)
    expected = F.cross_entropy(10 * fine @ torch.eye(8, 5), torch.full((10,), 4))
    assert torch.allclose(Last()(given)['l_fine'], expected)


def test_texts_are_prepared_once_for_a_vocabulary():
    prepared = []

    class Counting(DegradationOrdinalLoss):
        def prepare(self, texts):
            prepared.append(len(texts))
            return super().prepare(texts)

    cri, vocabulary = Counting(), [(LEVELS, texts())] * 5
    for _ in range(3):
        cri(batch(vocabulary))
    assert prepared == [5] * 5


def test_wrong_weights_give_one_line():
    with pytest.raises(UserError, match='weights: expected'):
        DegradationOrdinalLoss(weights=(1, 2))
