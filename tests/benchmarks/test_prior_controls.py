"""What the experiment registers: priors and losses that the product does not have."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.losses import build_loss
from torch.nn import functional as F

from basicsr_plugin.errors import OptionError, UserError
from benchmarks.prior.controls import equal_positives_softmax
from benchmarks.prior.runs import ESTIMATORS, TABLE, Setup
from deplsr_arch import DegradationAdaptor, LevelRegressor
from deplsr_arch.degradation_adaptor_arch import AdaptorOutput
from deplsr_model.functional import ContrastiveBatch, softmax_contrastive
from deplsr_model.level_text import whiten_texts
from deplsr_model.prior import PriorInputs, PriorSetup, build_prior, needs_estimator

LQ = torch.rand(2, 3, 16, 16)
LEVELS = torch.arange(5.0)


def _texts(*shape):
    return F.normalize(torch.randn(*shape, 8), dim=-1)


def _batch(vocabulary, levels):
    output = AdaptorOutput(_texts(2), _texts(2), _texts(2, 5))
    return ContrastiveBatch(output, _texts(2, 7), torch.tensor(10.0), None, levels, vocabulary)


def test_the_prior_levels_is_the_true_levels_as_numbers_without_content():
    levels = torch.tensor([[3.0, 0.0, 1.5, 100.0, 1.0]]).expand(2, -1)
    source = build_prior('levels', PriorSetup(None, 16, TABLE))
    content, degradation = source(PriorInputs(LQ, levels=levels))
    assert not needs_estimator('levels')
    assert content.shape == (2, 1, 16)
    assert not content.any()
    torch.testing.assert_close(degradation[0, :, :5], torch.diag(torch.tensor([1.0, -1, 0, 1, 1])) / 4)
    assert not degradation[..., 5:].any()
    with pytest.raises(UserError, match='prior: levels: expected a data set with levels, got none'):
        source(PriorInputs(LQ))


def test_the_prior_clip_is_the_embedding_of_the_untrained_tower():
    block = Setup().network_da('adaptor')
    adaptor = DegradationAdaptor(**{key: value for key, value in block.items() if key != 'type'}).eval()
    content, degradation = build_prior('clip', PriorSetup(adaptor, 64, TABLE))(PriorInputs(LQ))
    assert torch.equal(degradation, content.expand(-1, 5, -1))
    with torch.no_grad():
        torch.testing.assert_close(content, adaptor.prior(LQ)[0])  # whose corrections are still zero


def test_the_prior_clip_needs_an_adaptor():
    with pytest.raises(OptionError, match='prior: clip: expected network_da: DegradationAdaptor, got LevelRegressor'):
        build_prior('clip', PriorSetup(LevelRegressor(prior_dim=16), 16, TABLE))


def test_equal_captions_share_the_target_and_nothing_changes_where_all_differ():
    image, text = _texts(6, 5), _texts(6, 5)
    different = equal_positives_softmax(image, text, 10.0)
    torch.testing.assert_close(different, softmax_contrastive(image, text, 10.0))
    same = text[:1].expand(6, -1, -1)
    torch.testing.assert_close(equal_positives_softmax(same, same, 10.0), torch.full((5,), math.log(6)))


def test_a_very_narrow_soft_target_is_plain_cross_entropy():
    texts, levels = _texts(5), torch.tensor([[0.0, 3, 4, 1, 2], [2, 2, 0, 4, 1]])
    batch = _batch([(LEVELS, texts)] * 5, levels)
    loss = build_loss({'type': 'AblatedOrdinalLoss', 'softness': 0.01})(batch)
    logits = 10 * batch.output.fine_degradation @ whiten_texts(texts).T
    torch.testing.assert_close(loss['l_fine'], F.cross_entropy(logits.flatten(0, 1), levels.long().flatten()))


def test_a_soft_target_is_as_wide_as_its_softness():
    loss = build_loss({'type': 'AblatedOrdinalLoss', 'softness': 2.0})
    levels = torch.arange(101.0)
    target = loss.target(torch.tensor([50.0]), levels)[0]
    deviation = (target @ (levels - 50) ** 2).sqrt()
    assert deviation.item() == pytest.approx(2.0, abs=1e-3)
    beyond, end = loss.target(torch.tensor([500.0, 100.0]), levels)
    assert torch.equal(beyond, end)


def test_without_an_ablation_the_loss_is_that_of_the_product():
    batch = _batch([(LEVELS, _texts(5)) for _ in range(5)], torch.rand(2, 5) * 4)
    ours, product = (build_loss({'type': name})(batch) for name in ('AblatedOrdinalLoss', 'DegradationOrdinalLoss'))
    torch.testing.assert_close(ours, product)


def test_texts_that_are_not_whitened_are_compared_as_they_are():
    texts, levels = _texts(5), torch.tensor([[1.0] * 5] * 2)
    batch = _batch([(LEVELS, texts)] * 5, levels)
    loss = build_loss({'type': 'AblatedOrdinalLoss', 'whitened': False})(batch)
    logits = 10 * batch.output.fine_degradation @ texts.T
    torch.testing.assert_close(loss['l_fine'], F.cross_entropy(logits.flatten(0, 1), levels.long().flatten()))


def test_a_negative_softness_is_refused_in_one_line():
    with pytest.raises(UserError, match=r'^softness: expected a number of at least 0, got -1; .*\Z'):
        build_loss({'type': 'AblatedOrdinalLoss', 'softness': -1})


@pytest.mark.parametrize('name', [name for name, one in ESTIMATORS.items() if one.loss != 'regression'])
def test_the_loss_of_each_adaptor_is_registered(name):
    options = dict(Setup().stage1(name, 1)['train']['contrastive_opt'])
    assert build_loss(options).weights == (0.0, 0.2, 0.8)
