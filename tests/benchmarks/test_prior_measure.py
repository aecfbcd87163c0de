"""What is measured is what is claimed: priors, inputs of the estimators, cost."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from skimage import data

from benchmarks.prior import cost, measure
from benchmarks.prior.photos import DEGRADATIONS, IN_CROPS, SIZES, cases, fixed_record
from benchmarks.prior.runs import TABLE, VARIANTS, Setup
from deplsr_data.tokens import tokenize

COSTS = ('backbone', 'film', 'residual', 'paper', 'adaptor', 'regressor')


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A work folder with one photo in each set; networks of random weights are saved on demand."""
    for part in ('heldout', 'set', 'train'):
        (tmp_path / part).mkdir()
        cv2.imwrite(str(tmp_path / part / 'a.png'), data.astronaut())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure, 'DRAWS', 2)
    return tmp_path


def _save(folder, name, file, block):
    torch.manual_seed(0)
    net = build_network(block).eval()
    path = folder / 'experiments' / name / 'models'
    path.mkdir(parents=True)
    torch.save({'params': net.state_dict()}, path / file)
    return net


def _save_estimator(folder, name):
    return _save(folder, f'estimator_{name}', 'net_da_latest.pth', Setup().network_da(name))


def test_a_fixed_degradation_has_the_levels_that_its_name_stands_for():
    for name, (blur, noise, quality) in DEGRADATIONS.items():
        assert TABLE.levels(fixed_record(name, (256, 256), 0)) == (blur, noise, 0.0, quality, 0.0)


@torch.no_grad()
def test_each_variant_is_measured_with_the_prior_that_it_is_trained_with(work):
    adaptor = _save_estimator(work, 'adaptor_short')
    (case,) = cases(str(work / 'heldout'), 'medium', whole=False)
    true = torch.tensor([TABLE.levels(case.record)])
    got = {name: measure.load_prior(Setup(), name)(case) for name in ('oracle', 'embedding_oracle', 'numbers', 'clip')}
    texts = adaptor.encode_text(tokenize(TABLE.fine_captions(TABLE.levels(case.record)), 'ViT-B-32', 64))
    torch.testing.assert_close(got['embedding_oracle'][1][0], texts)  # once measured as numbers, for want of tokens
    mixture = measure.LevelEmbeddings(measure.embed_levels(adaptor, TABLE)).from_levels(true)
    torch.testing.assert_close(got['oracle'][1], mixture)
    numbers = got['numbers'][1][0].diagonal()[[0, 1, 3]] * 8
    torch.testing.assert_close(numbers, torch.tensor([2 * 1.6 / 3 - 1, 2 * 12 / 30 - 1, 0.0]))
    torch.testing.assert_close(got['clip'][0][:, 0], adaptor.clip_embedding(case.seen))
    for name in ('oracle', 'embedding_oracle', 'numbers'):
        assert not got[name][0].any()  # nothing is known of the content


def test_a_variant_is_restored_with_its_own_weights(work, monkeypatch):
    monkeypatch.setattr(measure, 'COLUMNS', ('mild',))
    _save_estimator(work, 'regressor')
    net = _save(work, 'sr_regressor', 'net_g_latest.pth', Setup().network_g(VARIANTS['regressor']))
    (case,) = cases(str(work / 'heldout'), 'mild', whole=False)
    with torch.no_grad():
        expected = net(case.lq, *measure.load_prior(Setup(), 'regressor')(case)).clamp(0, 1)
        torch.testing.assert_close(measure.load_variant(Setup(), 'regressor')(case), expected)
    scores = measure.restoration(Setup(), 'regressor', 'heldout', str(work / 'heldout'))['heldout/mild']
    assert len(scores['psnr']) == len(scores['ssim']) == 1
    assert 0 < scores['psnr'][0] < 30


def test_bicubic_is_measured_without_networks(work, monkeypatch):
    monkeypatch.setattr(measure, 'COLUMNS', ('noise', 'jpeg'))
    scores = measure.restoration(Setup(), 'bicubic', 'whole', str(work / 'set'))
    assert set(scores) == {'whole/noise', 'whole/jpeg'}
    assert 20 < scores['whole/jpeg']['psnr'][0] < 35


def test_the_whole_photo_is_seen_and_its_centre_is_restored(work):
    (crop,), (whole,) = (cases(str(work / 'heldout'), 'mild', whole=one) for one in (False, True))
    assert crop.seen.shape == crop.lq.shape == whole.lq.shape == (1, 3, 64, 64)
    assert whole.seen.shape == (1, 3, 128, 128)
    assert crop.gt.shape == whole.gt.shape == (256, 256, 3)
    np.testing.assert_allclose(crop.gt, whole.gt)
    assert torch.equal(whole.lq, whole.seen[..., 32:96, 32:96])


def test_in_crops_an_estimator_sees_what_the_adaptor_sees():
    seen = []

    def estimate(crops):
        seen.append(crops.shape)
        return crops.mean(dim=(1, 2, 3))[:, None]

    lq = torch.rand(1, 3, 128, 128)
    assert torch.allclose(measure.in_crops(estimate, lq)[0, 0], lq.mean())
    assert seen == [(4, 3, 64, 64)]


@pytest.mark.parametrize(('name', 'further'), [('adaptor', {'probe'}), ('regressor', {IN_CROPS})])
def test_main_estimators_are_measured_on_test_sets_and_on_an_unknown_recipe_too(work, monkeypatch, name, further):
    monkeypatch.setattr(measure, '_probe', lambda *args: {})  # one photo is not enough for it
    _save_estimator(work, name)
    found = measure.accuracy(Setup(), name, str(work / 'heldout'), (str(work / 'set'),))
    assert set(found) == {*SIZES, 'test sets', 'realesrgan', 'points', *further}
    true, estimated = found['points']['128']['blur']
    assert np.shape(true) == np.shape(estimated) == (1, 2)
    error = np.abs(np.subtract(true, estimated)).mean()
    assert found['128']['mean_error']['blur'] == pytest.approx(error, abs=2e-3)
    assert found['64']['median_level_error']['noise'] > 0


def test_texts_that_were_not_whitened_in_training_are_not_whitened_in_the_estimate(work):
    for name, whitened in (('adaptor_short', True), ('unwhitened', False), ('softmax', False)):
        net = build_network(Setup().network_da(name)).eval()
        estimate, fine = measure._functions(net, measure.ESTIMATORS[name])
        lq = torch.rand(1, 3, 64, 64)
        known, texts = measure.embed_levels(net, TABLE)[0]
        texts = measure.LevelEmbeddings([(known, texts)] * 5)._texts[0] if whitened else texts
        with torch.no_grad():
            weights = (net.logit_scale.exp() * fine(lq)[0, 0] @ texts.T).softmax(dim=-1)
            torch.testing.assert_close(estimate(lq)[0, 0], weights @ known)


def test_measurements_of_another_layout_are_repeated(tmp_path):
    path = tmp_path / 'kept/one.json'
    assert measure.kept(path, None, lambda: 1) == 1
    assert measure.kept(path, None, lambda: 2) == 1
    path.write_text(json.dumps({'layout': measure.LAYOUT - 1, 'result': 1}))
    assert measure.kept(path, None, lambda: 2) == 2


@pytest.mark.parametrize('setup', [Setup(), Setup(dat=True)], ids=['plain', 'dat'])
def test_the_cost_is_that_of_the_networks_that_are_compared(setup):
    blocks = cost.cost_blocks(setup)
    fused, plain = ('FusedDAT', 'DAT') if setup.dat else ('Fused', 'PlainResNet')
    assert [blocks[name]['type'] for name in COSTS] == [plain, *3 * [fused], 'DegradationAdaptor', 'LevelRegressor']
    costs = [cost.cost_of(blocks[name], setup.prior_dim, 16, 1) for name in ('backbone', 'film')]
    assert 100_000 < costs[0]['parameters'] < costs[1]['parameters']
    adaptor = cost.cost_of(blocks['adaptor'], setup.prior_dim, 16, 1)
    assert adaptor['parameters'] < 1_000_000  # the text tower's table of tokens is not used
