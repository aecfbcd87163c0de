"""How a model treats the batches of each data set, through the stock loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from deplsr_model.base import DePLSRBaseModel
from deplsr_model.options import RunOptions
from deplsr_model.pair_pool import TrainingPairPool

REALESRGAN = {'type': 'realesrgan'}


def test_stage_1_trains_on_whole_photos(workplace, stage1):
    changes = {
        'datasets__train__input': 'whole',
        'datasets__train__input_size': 16,
        'datasets__train__scale': 1,
        'datasets__train__gt_size': None,
        'datasets__train__recipe': {'resize': 'last'},
    }
    assert workplace.run('train', stage1, scale=1, **changes) == 0
    lines = Path('experiments/adaptor/metrics.jsonl').read_text().splitlines()
    assert json.loads(lines[-1])['iter'] == 4


@pytest.mark.parametrize('place', ['worker', 'device'])
def test_stage_2_trains_through_the_pool_on_crops_of_larger_ones(
    workplace, stage2, trained_adaptor, monkeypatch, place
):
    seen = []

    def exchange(pool, batch, exchange=TrainingPairPool.exchange):
        seen.append((batch['lq'].shape, batch['gt_usm'].shape, len(pool._samples)))
        return exchange(pool, batch)

    monkeypatch.setattr(TrainingPairPool, 'exchange', exchange)
    changes = {
        'datasets__train__degrade_on': place,
        'datasets__train__degrade_size': 40,
        'datasets__train__recipe': REALESRGAN,
        'datasets__val__recipe': REALESRGAN,
        'path__pretrain_network_da': str(trained_adaptor),
    }
    assert workplace.run('train', stage2, queue_size=4, **changes) == 0
    # four steps of two; the batches of the validation do not enter
    assert seen == [((2, 3, 16, 16), (2, 3, 32, 32), count) for count in (0, 2, 4, 4)]


def test_a_pool_smaller_than_a_batch_is_refused_in_one_line(workplace, stage2, trained_adaptor, capfd):
    code = workplace.run('train', stage2, queue_size=1, path__pretrain_network_da=str(trained_adaptor))
    assert code == 2
    error = capfd.readouterr().err
    assert 'queue_size: expected at least one batch (2), got 1' in error
    assert 'Traceback' not in error


def test_without_queue_size_a_batch_is_unchanged():
    class Model(DePLSRBaseModel):
        options = RunOptions(name='plain', model_type='Model', num_gpu=0, datasets={})

    model = Model({'num_gpu': 0, 'is_train': True})
    batch = {'lq': torch.rand(2, 3, 4, 4), 'gt': torch.rand(2, 3, 8, 8)}
    assert model.degraded(batch) is batch
