"""Stage-1 losses against the published numbers and against open_clip's own losses."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import open_clip.loss
import pytest
import torch
import torch.nn.functional as F

from basicsr_plugin.errors import UserError
from deplsr_arch.degradation_adaptor_arch import AdaptorOutput
from deplsr_model.degradation_contrastive_loss import DegradationSigmoidLoss, DegradationSoftmaxLoss
from deplsr_model.functional import (
    ContrastiveBatch,
    contrastive_terms,
    level_accuracy,
    sigmoid_contrastive,
    softmax_contrastive,
)

GOLDEN = Path(__file__).parent / 'golden' / 'losses'
SIDECAR = json.loads((GOLDEN / 'losses.json').read_text())
CASES = SIDECAR['cases']
FEATURES = ('image_features', 'image_degra_features', 'image_fine_degra_features')
TEXTS = ('text_features', 'text_degra_features', 'text_fine_degra_features')
DTYPES = {'float32': torch.float32, 'float64': torch.float64}


def case_name(case):
    return f'{case["loss_class"].split()[0]}-{case["logit_scale_text"]}-{case["logit_bias"]}-{case["weights"][0]}'


def golden_features(dtype):
    with np.load(GOLDEN / 'features.npz') as stored:
        return {name: torch.from_numpy(stored[name]).to(dtype).requires_grad_() for name in stored.files}


def joined_text(features):
    content, degradation, fine = (features[name] for name in TEXTS)
    return torch.cat([content[:, None], degradation[:, None], fine], dim=1)  # (B, 7, D)


def output_of(features):
    return AdaptorOutput(*(features[name] for name in FEATURES))


def batch_of(output, text, scale, bias=None):
    return ContrastiveBatch(output, text, scale, bias, torch.zeros(len(text), 5), [])


def pair_loss_of(case):
    if case['loss_class'].startswith('softmax'):
        return partial(softmax_contrastive, logit_scale=case['logit_scale'])
    return partial(sigmoid_contrastive, logit_scale=case['logit_scale'], logit_bias=case['logit_bias'])


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


@pytest.mark.parametrize('precision', DTYPES)
@pytest.mark.parametrize('case', CASES, ids=case_name)
def test_terms_and_total_are_the_published_numbers(case, precision):
    features = golden_features(DTYPES[precision])
    terms = contrastive_terms(pair_loss_of(case), output_of(features), joined_text(features))
    values = case['values']
    expected = [values[name] for name in ('contrastive_loss', 'degra_loss', 'fine_degra_loss', 'loss')]
    got = [term.item() for term in (*terms, terms.total(case['weights']))]
    np.testing.assert_allclose(got, expected, **SIDECAR['tolerance'][precision])


@pytest.mark.parametrize('case', CASES, ids=case_name)
def test_each_degradation_type_alone_has_its_published_number(case):
    features = golden_features(torch.float64)
    got = pair_loss_of(case)(features['image_fine_degra_features'], features['text_fine_degra_features'])
    expected = case['values']['fine_degra_loss_per_type']
    np.testing.assert_allclose(got.detach().numpy(), expected, **SIDECAR['tolerance']['float64'])


@pytest.mark.parametrize('case', CASES, ids=case_name)
def test_gradients_have_their_published_norms(case):
    features = golden_features(torch.float64)
    terms = contrastive_terms(pair_loss_of(case), output_of(features), joined_text(features))
    terms.total(case['weights']).backward()
    for name, expected in case['values']['grad_norm_of_loss'].items():
        assert features[name].grad.norm().item() == pytest.approx(expected, rel=SIDECAR['tolerance']['grad_norm_rtol'])


def test_softmax_agrees_with_the_loss_of_open_clip():
    image, text, scale = unit(7, 16), unit(7, 16), torch.tensor(20.0)
    torch.testing.assert_close(softmax_contrastive(image, text, scale), open_clip.loss.ClipLoss()(image, text, scale))


def test_sigmoid_agrees_with_the_loss_of_open_clip():
    image, text, scale, bias = unit(7, 16), unit(7, 16), torch.tensor(20.0), torch.tensor(-10.0)
    expected = open_clip.loss.SigLipLoss()(image, text, scale, bias)
    torch.testing.assert_close(sigmoid_contrastive(image, text, scale, bias), expected)


def test_pairs_are_formed_within_a_degradation_type_only():
    fine, text = unit(6, 5, 16), unit(6, 5, 16)
    for loss in (partial(softmax_contrastive, logit_scale=9.0), partial(sigmoid_contrastive, logit_scale=9.0)):
        one_by_one = torch.stack(
            [loss(fine[:, degradation_type], text[:, degradation_type]) for degradation_type in range(5)]
        )
        torch.testing.assert_close(loss(fine, text), one_by_one)


def test_half_precision_features_are_compared_in_float32():
    image, text = unit(8, 64).bfloat16(), unit(8, 64).bfloat16()
    expected = softmax_contrastive(image.float(), text.float(), 100.0)
    with torch.autocast('cpu', torch.bfloat16):
        got = softmax_contrastive(image, text, 100.0)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize('case', CASES, ids=case_name)
def test_registered_losses_name_the_published_terms_and_weight_only_their_total(case):
    loss_class = DegradationSoftmaxLoss if case['loss_class'].startswith('softmax') else DegradationSigmoidLoss
    features = golden_features(torch.float64)
    loss = loss_class(loss_weight=2.0, weights=case['weights'])
    terms = loss(batch_of(output_of(features), joined_text(features), case['logit_scale'], case['logit_bias']))
    values = case['values']
    expected = {
        'l_content': values['contrastive_loss'],
        'l_degradation': values['degra_loss'],
        'l_fine': values['fine_degra_loss'],
        'l_total': 2 * values['loss'],
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-9, abs=1e-10)


def test_softmax_ignores_the_bias():
    output, text = AdaptorOutput(unit(4, 8), unit(4, 8), unit(4, 5, 8)), unit(4, 7, 8)
    scale = torch.tensor(10.0)
    with_bias = DegradationSoftmaxLoss()(batch_of(output, text, scale, torch.tensor(-10.0)))
    torch.testing.assert_close(with_bias, DegradationSoftmaxLoss()(batch_of(output, text, scale)))


def test_losses_are_built_by_name_from_options():
    from basicsr.losses import build_loss

    loss = build_loss({'type': 'DegradationSigmoidLoss', 'loss_weight': 0.5, 'weights': [0.1, 0.2, 0.7]})
    assert isinstance(loss, DegradationSigmoidLoss)
    assert loss.weights == (0.1, 0.2, 0.7)


@pytest.mark.parametrize('weights', [[0.5, 0.5], [0.2, 0.3, -0.5]])
def test_wrong_weights_are_refused_in_one_line(weights):
    with pytest.raises(UserError, match=r'^weights: expected three numbers of at least 0 .*\Z'):
        DegradationSoftmaxLoss(weights=weights)


def test_accuracy_is_the_share_of_levels_nearer_than_the_tolerance():
    assert level_accuracy(torch.tensor([1.0, 1.4, 2.0, 0.0]), torch.ones(4), 0.5) == 0.5
