"""`basicsr benchmark` measures what `basicsr test` measures for the same option file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from basicsr.models.sr_model import SRModel
from benchmark_cases import SCALE, network

from basicsr_plugin import cli
from deplsr_model.calibration import calibrate
from deplsr_model.checkpoint import save_estimator

TYPES, DIM = 8, 16


def measured_by_test(monkeypatch, name: str) -> dict[str, float]:
    """Returns the mean of each metric in `basicsr test`."""
    found: dict[str, float] = {}
    before = SRModel._log_validation_metric_values

    def record(self, *arguments):
        found.update(self.metric_results)
        return before(self, *arguments)

    monkeypatch.setattr(SRModel, '_log_validation_metric_values', record)
    assert cli.main(['test', '-opt', f'{name}.yml']) == 0
    return found


def compare(workplace, monkeypatch, name: str) -> None:
    theirs = measured_by_test(monkeypatch, name)
    file = f'{name}.yml'
    assert workplace.benchmark(file, '--metrics', file, sets=file) == 0
    ours = {one['metric']: one['models'][name]['mean'] for one in workplace.summary()['columns']}
    assert ours.keys() == theirs.keys() == {'psnr', 'ssim_rgb'}
    for metric, value in theirs.items():
        assert ours[metric] == pytest.approx(value, abs=1e-4), metric


@pytest.mark.parametrize('key', [None, 'params_ema'])
def test_of_a_stock_model(workplace, monkeypatch, key):
    torch.save({'params': network(0).state_dict(), 'params_ema': network(1).state_dict()}, 'stock.pth')
    named = {} if key is None else {'param_key_g': key}
    workplace.options('stock', path={'pretrain_network_g': 'stock.pth', 'strict_load_g': True, **named})
    compare(workplace, monkeypatch, 'stock')


@pytest.mark.parametrize('tile', [None, 16])
def test_of_a_model_with_an_estimated_prior(workplace, monkeypatch, tile):
    net_g = {
        'type': 'Fused',
        'backbone': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 2, 'upscale': SCALE},
        'fuse_at': ['body.0'],
        'prior_dim': DIM,
        'num_degradation_types': TYPES,
    }
    net_da = {'type': 'LevelDistribution', 'prior_dim': DIM, 'num_feat': 8, 'num_block': 1}
    net_da['num_degradation_types'] = TYPES
    from basicsr.archs import build_network

    torch.manual_seed(0)
    built, estimator = build_network(yaml.safe_load(yaml.safe_dump(net_g))), build_network(dict(net_da))
    for value in built.parameters():
        torch.nn.init.normal_(value, std=0.1)
    calibrate(estimator, [(torch.rand(1, 3, 24, 24), torch.full((1, TYPES), 0.1 * i)) for i in range(10)])
    torch.save({'params': built.state_dict()}, 'net_g.pth')
    save_estimator(estimator, 'net_da.pth', 'effective')
    val = {'tile': tile, 'tile_overlap': 4} if tile else {}
    file = workplace.options('ours', path={'pretrain_network_g': 'net_g.pth', 'pretrain_network_da': 'net_da.pth'})
    options = yaml.safe_load(Path(file).read_text())
    options |= {'model_type': 'DePLSRModel', 'network_g': net_g, 'network_da': net_da}
    options['val'] |= val
    Path(file).write_text(yaml.safe_dump(options))
    compare(workplace, monkeypatch, 'ours')


def test_of_a_data_set_that_degrades_photos(workplace, monkeypatch):
    recipe = {'type': 'semantic'}
    block = {
        'name': 'degraded',
        'type': 'CaptionedDegradationDataset',
        'dataroot_gt': 'sets/small/GT',
        'recipe': recipe,
        'draws_per_image': 2,
        'context_length': 48,
    }
    workplace.options('stock', datasets={'test': block})
    compare(workplace, monkeypatch, 'stock')
