"""The regressor trains on the adaptor's data sets, and replaces the adaptor in stage 2."""

from __future__ import annotations

import json
import shutil

import pytest

REGRESSOR = {'type': 'LevelRegressor', 'prior_dim': 16, 'num_feat': 8, 'stride': 4}


@pytest.fixture
def regressor(stage1):
    train = {key: value for key, value in stage1['train'].items() if key != 'contrastive_opt'}
    return {**stage1, 'model_type': 'LevelRegressorModel', 'network_da': REGRESSOR, 'train': train}


def test_it_trains_and_its_estimates_are_a_prior(workplace, regressor, stage2):
    assert workplace.run('train', regressor) == 0
    lines = (workplace.path / 'experiments/adaptor/metrics.jsonl').read_text().splitlines()
    assert {'blur', 'jpeg_constant', 'mean'} <= set(json.loads(lines[-1]))
    assert workplace.run('train', {**stage2, 'network_da': REGRESSOR}) == 0


def test_a_resumed_cosine_schedule_cannot_be_lengthened(workplace, regressor, capsys):
    assert workplace.run('train', regressor) == 0
    assert workplace.run('train', regressor, '--auto_resume', train__total_iter=6, train__scheduler__periods=[6]) == 2
    assert 'train.total_iter: expected at most 4, the length of the cosine schedule' in capsys.readouterr().err


def test_a_data_set_without_levels_is_refused_in_one_line(workplace, regressor, capsys):
    pairs = {
        'type': 'PairedImageDataset',
        'dataroot_gt': 'photos',
        'dataroot_lq': 'lq',
        'io_backend': {'type': 'disk'},
    }
    loader = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'gt_size': 32, 'use_hflip': True, 'use_rot': True}
    datasets = {'train': {'name': 'pairs', **pairs, **loader}}
    shutil.copytree('photos', 'lq')
    assert workplace.run('train', {**regressor, 'datasets': datasets, 'scale': 1}) == 2
    assert 'expected photos with levels in stage 1' in capsys.readouterr().err


def test_a_template_which_it_does_not_use_is_refused(workplace, regressor, capsys):
    assert workplace.run('train', regressor, val__template='A photo with {}') == 2
    assert "val: unknown key 'template'" in capsys.readouterr().err
