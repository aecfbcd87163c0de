"""LPIPS against the package on the same random backbone, and one line where package or weights are missing."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
import torchvision
from benchmark_cases import SCALE
from torch import nn

from basicsr_plugin.errors import UserError
from deplsr_model.lpips_metric import calculate_lpips
from deplsr_model.lpips_network import BACKBONES, lpips_network


@pytest.fixture(autouse=True)
def _no_cached_network():
    lpips_network.cache_clear()


@pytest.fixture
def alexnet(tmp_path) -> str:
    """A file of torchvision's AlexNet with random weights."""
    torch.manual_seed(0)
    net = torchvision.models.alexnet(weights=None)
    path = tmp_path / 'alexnet.pth'
    torch.save(net.features.state_dict(prefix='features.'), path)
    return str(path)


class Stub(nn.Module):
    """Has the backbone of the package, in its names, and returns a mean difference in place of the distance."""

    def __init__(self, net: str, version: str, pnet_rand: bool, verbose: bool) -> None:
        super().__init__()
        assert pnet_rand, 'otherwise torchvision downloads weights'
        layers = list(torchvision.models.alexnet(weights=None).features)
        self.net = nn.Module()
        for number, (first, last) in enumerate([(0, 2), (2, 5), (5, 8), (8, 10), (10, 12)], 1):
            part = nn.Sequential()
            for place in range(first, last):
                part.add_module(str(place), layers[place])
            self.net.add_module(f'slice{number}', part)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first - second).abs().mean().reshape(1, 1, 1, 1)


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setitem(sys.modules, 'lpips', types.SimpleNamespace(LPIPS=Stub))


def photos() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(rng.integers(0, 256, (64, 72, 3), dtype=np.uint8) for _ in range(2))


def test_it_equals_the_package_on_the_same_backbone(alexnet, tmp_path):
    lpips = pytest.importorskip('lpips', reason='the package lpips is not installed')
    theirs = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False).eval()
    state = torch.load(alexnet, weights_only=True)
    theirs.net.load_state_dict({key: state['features.' + key.partition('.')[2]] for key in theirs.net.state_dict()})
    first, second = photos()
    inputs = (lpips.im2tensor(one[4:-4, 4:-4, ::-1]) for one in (first, second))  # BGR to RGB
    with torch.no_grad():
        expected = theirs(*inputs).item()
    assert calculate_lpips(first, second, 4, backbone=alexnet) == pytest.approx(expected, abs=1e-6)
    assert calculate_lpips(first, first, 4, backbone=alexnet) == 0


def test_the_backbone_is_that_of_the_file(stub, alexnet):
    network = lpips_network('alex', alexnet)
    state = torch.load(alexnet, weights_only=True)
    torch.testing.assert_close(network.net.slice3.get_submodule('6').weight, state['features.6.weight'])
    assert not network.training


def test_images_are_compared_in_rgb_without_their_border(stub, alexnet):
    first, second = photos()
    expected = np.abs(first[4:-4, 4:-4].astype(float) - second[4:-4, 4:-4]).mean() / 127.5
    assert calculate_lpips(first, second, 4, backbone=alexnet) == pytest.approx(expected, abs=1e-5)
    chw = [one.transpose(2, 0, 1) for one in (first, second)]
    assert calculate_lpips(*chw, 4, input_order='CHW', backbone=alexnet) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match='images of one size'):
        calculate_lpips(first, second[1:], backbone=alexnet)


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'lpips', None)
    with pytest.raises(UserError, match='pip install lpips'):
        calculate_lpips(*photos())


def test_missing_weights_are_one_line(stub, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(UserError, match=rf'found no such file; copy {BACKBONES["vgg"]} there'):
        lpips_network('vgg')


def test_weights_of_another_network_are_refused(stub, tmp_path):
    torch.save({'features.0.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match=r"expected torchvision's weights, got '.*other.pth' without features"):
        lpips_network('alex', str(tmp_path / 'other.pth'))


def test_a_benchmark_names_the_weights_and_stops_before_it_measures_without_them(
    workplace, stub, alexnet, monkeypatch, capsys
):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: 'nowhere')
    assert workplace.benchmark('--bicubic', '--metrics', 'psnr,lpips') == 2
    assert 'copy alexnet-owt-7be5be79.pth there' in capsys.readouterr().err
    assert not (workplace.path / 'table/results.csv').exists()
    metrics = {'lpips': {'type': 'calculate_lpips', 'crop_border': SCALE, 'backbone': alexnet}}
    file = workplace.options('named', val={'metrics': metrics})
    assert workplace.benchmark('--bicubic', '--metrics', file) == 0
    column = workplace.summary()['columns'][0]
    assert column['lower_is_better']
    assert column['protocol'].startswith('LPIPS 0.1, alex, RGB, weights ')
    assert 'border 2' in column['protocol']
