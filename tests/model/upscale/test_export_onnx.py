from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
import torch
import yaml
from skimage import data
from test_export_safetensors import ADAPTOR
from test_recognise import STOCK as RECOGNISED
from upscale_cases import DIM, NETWORK_DA, NETWORK_G, OPTIONS, TYPES, failure, randomly

from deplsr_model import Upscaler
from deplsr_model.checkpoint import save_estimator

WHY = "needs pip install 'deplsr[onnx]'"
SIZES = ((30, 41), (64, 64), (7, 90))
PRIOR = {'prior_dim': DIM, 'num_degradation_types': TYPES}
DAT = {k: v for k, v in RECOGNISED['DAT'].items() if k not in ('type', 'expansion_factor')}
DAT = {**DAT, **PRIOR, 'type': 'FusedDAT', 'fusion_num_heads': 2}
NETWORKS = {
    'MSRResNet': NETWORK_G,
    'SwinIR': {'type': 'Fused', 'backbone': RECOGNISED['SwinIR classical'], 'fuse_at': ['layers.0'], **PRIOR},
    'RRDBNet': {'type': 'Fused', 'backbone': RECOGNISED['RRDBNet x2'], 'fuse_at': ['body.0'], **PRIOR},
    'residual fusion': {**NETWORK_G, 'fusion': 'residual'},
    'paper fusion': {**NETWORK_G, 'fusion': 'paper'},
}
ESTIMATORS = {
    'LevelDistribution': NETWORK_DA,
    'two members': {**NETWORK_DA, 'members': 2},
    'LevelRegressor': {'type': 'LevelRegressor', 'prior_dim': DIM, 'num_feat': 8, 'num_degradation_types': TYPES},
    'adaptor': ADAPTOR,
    'adaptor resize': {**ADAPTOR, 'view': 'resize'},
}
CASES = [(name, 'LevelDistribution') for name in NETWORKS] + [('MSRResNet', name) for name in list(ESTIMATORS)[1:]]


def small(block, seed=0):
    """A network of random weights whose outputs are about as large as an image."""
    net = randomly(block, seed)
    tail = list(net.parameters())[-2:] if 'backbone' not in block else list(net.backbone.parameters())[-2:]
    with torch.no_grad():
        for value in tail:
            value.mul_(0.1)
    return net


def written(workplace, network, estimator, **more):
    """Writes a model; returns it, loaded."""
    torch.save({'params': small(network).state_dict()}, 'net_g.pth')
    save_estimator(randomly(estimator), workplace.path / 'net_da.pth', 'effective')
    opt = copy.deepcopy({**OPTIONS, 'network_g': network, 'network_da': estimator, **more})
    (workplace.path / 'options.yml').write_text(yaml.safe_dump(opt), encoding='utf-8')
    return Upscaler('net_g.pth', 'options.yml', device='cpu', tile=0)


def session(path='a.onnx'):
    runtime = pytest.importorskip('onnxruntime', reason=WHY)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(path, options, providers=['CPUExecutionProvider'])


def photo(size):
    return (data.astronaut()[50 : 50 + size[0], 150 : 150 + size[1]] / 255).astype(np.float32)


def run(session, *photos, **inputs):
    return session.run(None, {'image': np.stack(photos).transpose(0, 3, 1, 2), **inputs})


@pytest.fixture
def _packages():
    for name in ('onnx', 'onnxruntime'):
        pytest.importorskip(name, reason=WHY)


@pytest.mark.usefixtures('_packages')
@pytest.mark.parametrize(('network', 'estimator'), CASES)
def test_the_graph_enlarges_images_of_any_size_as_upscale_does(workplace, capsys, network, estimator):
    upscaler = written(workplace, NETWORKS[network], ESTIMATORS[estimator])
    assert workplace.run('export', 'net_g.pth', '-opt', 'options.yml', '-o', 'a.onnx') == 0
    assert 'largest difference from torch' in capsys.readouterr().out
    graph = session()
    level = np.full((1, TYPES), np.nan, np.float32)
    level[0, 1] = 20
    for size in SIZES:
        image = photo(size)
        for inputs, edits in (({}, {}), ({'levels': level}, {upscaler.estimator.types[1].name: '20'})):
            enlarged, levels = run(graph, image, **inputs)
            expected = upscaler(image, **edits)
            assert np.abs(enlarged[0].transpose(1, 2, 0) - expected).max() < 1e-4
            used = upscaler.used(image, upscaler.steering(**edits))
            assert levels[0] == pytest.approx(used.levels, abs=1e-2)


@pytest.mark.usefixtures('_packages')
def test_a_batch_is_the_images_one_by_one(workplace):
    written(workplace, NETWORK_G, NETWORK_DA)
    workplace.run('export', 'net_g.pth', '-opt', 'options.yml', '-o', 'a.onnx')
    graph = session()
    both = photo((30, 40)), photo((50, 60))[20:, 20:]
    together = run(graph, *both)
    for index, one in enumerate(both):
        for part, alone in zip(together, run(graph, one), strict=True):
            assert np.abs(part[index] - alone[0]).max() < 1e-4


@pytest.mark.usefixtures('_packages')
@pytest.mark.parametrize(
    'name',
    [  # tracing SwinIR real, of two groups and six blocks, takes a minute on busy cores
        pytest.param(name, marks=[pytest.mark.slow] if name == 'SwinIR real' else [])
        for name in RECOGNISED
        if not name.startswith('DAT')
    ],
)
def test_stock_networks_are_exported(workplace, name):
    torch.save(small(RECOGNISED[name]).state_dict(), 'stock.pth')
    assert workplace.run('export', 'stock.pth', '-o', 'a.onnx') == 0
    upscaler, graph = Upscaler('stock.pth', device='cpu', tile=0), session()
    for size in SIZES:
        (enlarged,) = run(graph, photo(size))
        assert np.abs(enlarged[0].transpose(1, 2, 0) - upscaler(photo(size))).max() < 1e-4


@pytest.mark.usefixtures('_packages')
@pytest.mark.parametrize('prior', ['none', 'noise with sigma:25', 'embedding'])
def test_other_priors_are_exported_too(workplace, prior):
    more = {'prior_form': 'embedding'} if prior == 'embedding' else {'prior': prior}
    upscaler = written(workplace, NETWORK_G, ADAPTOR, **more)
    assert workplace.run('export', 'net_g.pth', '-opt', 'options.yml', '-o', 'a.onnx') == 0
    graph = session()
    assert [one.name for one in graph.get_inputs()] == ['image']
    for size in SIZES:
        enlarged = run(graph, photo(size))[0]
        assert np.abs(enlarged[0].transpose(1, 2, 0) - upscaler(photo(size))).max() < 1e-4


@pytest.mark.usefixtures('_packages')
def test_the_graph_states_what_the_safetensors_file_states_and_the_names_of_the_levels(workplace):
    upscaler = written(workplace, NETWORK_G, NETWORK_DA)
    workplace.run('export', 'net_g.pth', '-opt', 'options.yml', '-o', 'a.onnx', '--licence', 'CC0')
    stated = session().get_modelmeta().custom_metadata_map
    assert (stated['scale'], stated['levels'], stated['license']) == ('2', 'effective', 'CC0')
    assert stated['level_names'].split(', ') == [one.name for one in upscaler.estimator.types]


@pytest.mark.usefixtures('_packages')
def test_a_network_that_cannot_be_exported_is_one_line_and_no_file(workplace, capsys, monkeypatch):
    model = workplace.stock()
    monkeypatch.setattr(torch.nn.PReLU, 'forward', lambda self, x: torch.special.i0(x))
    line = failure(capsys, workplace, 'export', model, '-o', 'a.onnx')
    assert '-o: SRVGGNetCompact cannot be exported to ONNX (' in line
    assert 'i0' in line
    assert not (workplace.path / 'a.onnx').exists()


@pytest.mark.usefixtures('_packages')
def test_a_dat_is_refused_in_one_line(workplace, capsys):
    written(workplace, DAT, NETWORK_DA)
    line = failure(capsys, workplace, 'export', 'net_g.pth', '-opt', 'options.yml', '-o', 'a.onnx')
    assert '-o: FusedDAT cannot be exported to ONNX (the grid of windows of a DAT depends on the size of the im' in line
    assert line.endswith('take .safetensors')


@pytest.mark.usefixtures('_packages')
def test_a_graph_that_differs_from_torch_is_refused(workplace, capsys, monkeypatch):
    model = workplace.stock()

    def forward(self, x):  # the tracer takes the size for a constant
        return torch.where(x > 0, x, self.weight.view(-1, 1, 1) * x) + (1.0 if int(x.shape[2]) == 75 else 0.0)

    monkeypatch.setattr(torch.nn.PReLU, 'forward', forward)
    assert 'its output differs from that of torch by' in failure(capsys, workplace, 'export', model, '-o', 'a.onnx')


def test_missing_packages_are_one_line(workplace, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    line = failure(capsys, workplace, 'export', workplace.stock(), '-o', 'a.onnx')
    assert "-o: expected the package onnx for .onnx, got none; pip install 'deplsr[onnx]'" in line
