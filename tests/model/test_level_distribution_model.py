"""The model of LevelDistribution trains it on the adaptor's data sets, calibrates it, and stage 2 takes its prior."""

from __future__ import annotations

import pytest
import torch

from deplsr_arch.level_distribution_arch import LevelDistribution

NET = {'type': 'LevelDistribution', 'prior_dim': 16, 'num_feat': 8, 'stride': 4}


@pytest.fixture
def distribution(stage1):
    train = {key: value for key, value in stage1['train'].items() if key != 'contrastive_opt'}
    opt = {**stage1, 'model_type': 'LevelDistributionModel', 'network_da': NET, 'train': train}
    opt['datasets']['val']['draws_per_image'] = 60
    return opt


def weights(workplace):
    path = workplace.path / 'experiments/adaptor/models/net_da_latest.pth'
    return torch.load(path, weights_only=True)['params']


def test_it_trains_is_calibrated_and_its_estimates_are_a_prior(workplace, distribution, stage2, capsys):
    assert workplace.run('train', distribution) == 0
    saved = weights(workplace)
    assert float(saved['threshold']) != 1
    assert (saved['temperature'] != 1).any()
    assert workplace.run('train', {**stage2, 'network_da': NET}) == 0


def test_too_few_photos_to_calibrate_on_are_named(workplace, distribution, caplog):
    distribution['datasets']['val']['draws_per_image'] = 1
    assert workplace.run('train', distribution) == 0
    assert (
        'Not calibrated: expected at least 100 validation photos' in caplog.text
        or float(weights(workplace)['threshold']) == 1
    )


def test_another_network_is_refused_in_one_line(workplace, distribution, capsys):
    distribution['network_da'] = {'type': 'LevelRegressor', 'prior_dim': 16, 'num_feat': 8, 'stride': 4}
    assert workplace.run('train', distribution) == 2
    assert 'network_da.type: expected LevelDistribution' in capsys.readouterr().err


def test_two_members_train_are_calibrated_and_estimate_for_stage_2(workplace, distribution, stage2):
    both = {**NET, 'members': 2}
    assert workplace.run('train', {**distribution, 'network_da': both}) == 0
    saved = weights(workplace)
    assert saved['temperature'].shape[0] == 2
    assert (saved['temperature'] != 1).any(dim=1).all()
    assert not torch.equal(saved['head.0.weight'], saved['other_heads.0.0.weight'])
    assert workplace.run('train', {**stage2, 'network_da': both}) == 0


def test_the_deviation_is_that_of_the_training_in_training_and_wider_in_validation_and_test(
    workplace, distribution, stage2, monkeypatch
):
    assert workplace.run('train', distribution) == 0
    calls = []
    for name in ('prior', 'prior_at_use'):
        original = getattr(LevelDistribution, name)
        monkeypatch.setattr(
            LevelDistribution, name, lambda self, lq, name=name, get=original: calls.append(name) or get(self, lq)
        )
    opt = {**stage2, 'network_da': NET}
    assert workplace.run('train', opt, train__total_iter=1, val__val_freq=100) == 0
    last = len(calls) - 1 - calls[::-1].index('prior')
    assert 'prior_at_use' not in calls[: last + 1]  # training, then the validation at its end
    assert 'prior_at_use' in calls
    calls.clear()
    test = {**opt, 'datasets': {'test': opt['datasets']['val']}}
    test['path'] = {'pretrain_network_g': f'experiments/{opt["name"]}/models/net_g_latest.pth'} | opt.get('path', {})
    assert workplace.run('test', test) == 0
    assert set(calls) == {'prior_at_use'}
