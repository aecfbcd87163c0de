"""Checkpoints that version 0.1 wrote are used by stage 2 as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parents[1] / 'golden/v0_1'
CLIP = {
    'embed_dim': 16,
    'vision_cfg': {'image_size': 32, 'layers': 2, 'width': 32, 'head_width': 16, 'patch_size': 8},
    'text_cfg': {'context_length': 24, 'vocab_size': 300, 'width': 16, 'heads': 2, 'layers': 1},
}
ESTIMATORS = {
    'adaptor': {'type': 'DegradationAdaptor', 'clip': CLIP},
    'regressor': {'type': 'LevelRegressor', 'prior_dim': 16, 'num_feat': 8},
}


@pytest.fixture
def outputs():
    with np.load(GOLDEN / 'outputs.npz') as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.fixture
def previous(stage2):
    """Options of stage 2 with the small vocabulary of the stored adaptor, whose text tower cannot embed captions."""
    datasets = {phase: {**dataset, 'levels': 'nominal'} for phase, dataset in stage2['datasets'].items()}
    return {**stage2, 'prior_form': 'embedding', 'levels': 'nominal', 'datasets': datasets}


@pytest.mark.parametrize('name', ESTIMATORS)
def test_stage_2_trains_with_an_estimator_of_the_previous_version(workplace, previous, name):
    changes = {'network_da': ESTIMATORS[name], 'path__pretrain_network_da': str(GOLDEN / f'{name}.pth')}
    assert workplace.run('train', previous, **changes) == 0
    metrics = (workplace.path / 'experiments/sr/metrics.jsonl').read_text().splitlines()
    assert json.loads(metrics[-1])['psnr'] > 0


def test_an_adaptor_of_the_previous_version_estimates_the_same_prior(workplace, previous, outputs):
    from deplsr_model import DePLSRModel

    path = {'pretrain_network_da': str(GOLDEN / 'adaptor.pth'), 'log': str(workplace.path)}
    run = {'is_train': False, 'dist': False, 'rank': 0}
    model = DePLSRModel({**previous, **run, 'network_da': ESTIMATORS['adaptor'], 'path': path})
    model.feed_data({'lq': outputs['x']})
    content, degradation = model.prior
    torch.testing.assert_close(content[:, 0], outputs['adaptor.content'], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(degradation, outputs['adaptor.fine'], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('fusion', ['film', 'residual', 'paper'])
def test_an_sr_network_of_the_previous_version_restores_the_same(workplace, previous, outputs, fusion):
    from deplsr_model import DePLSRModel

    network = {
        **previous['network_g'],
        'num_heads': [2],
        'expansion_factor': 2,
        'fusion_num_heads': 2,
        'fusion': fusion,
    }
    del network['pos_dim']
    path = {'pretrain_network_g': str(GOLDEN / f'dat_{fusion}.pth'), 'log': str(workplace.path)}
    run = {'is_train': False, 'dist': False, 'rank': 0, 'prior': 'none'}
    model = DePLSRModel({**previous, **run, 'network_g': network, 'path': path})
    model.feed_data({'lq': outputs['y']})
    model.prior = outputs['xi'], outputs['xd']
    model.test()
    torch.testing.assert_close(model.output, outputs[f'dat_{fusion}.out'], atol=1e-5, rtol=1e-5)
