"""VGG weights of the perceptual loss: one line in every model where they are missing or damaged."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision.models import vgg

from basicsr_plugin.errors import UserError

LOSS = {'type': 'PerceptualLoss', 'layer_weights': {'conv1_2': 1.0}, 'vgg_type': 'vgg19'}
FILE = Path('experiments/pretrained_models/vgg19-dcbb9e9d.pth')


@pytest.fixture
def offline(monkeypatch):
    def build(pretrained):
        if pretrained:
            raise URLError('no network')
        return vgg.VGG(vgg.make_layers([c if c == 'M' else 4 for c in vgg.cfgs['E']]), num_classes=1)

    monkeypatch.setattr(vgg, 'vgg19', build)
    monkeypatch.setattr(vgg, 'vgg16', build)


def loss(**changes):
    from basicsr.losses import build_loss

    return build_loss({**LOSS, **changes})


def test_without_network_the_model_of_basicsr_names_the_file(workplace, offline, capsys):
    opt = workplace.options('val', 'datasets__val', train__perceptual_opt=LOSS)
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        'basicsr: error: train.perceptual_opt: the VGG weights could not be downloaded (no network); put '
        'vgg19-dcbb9e9d.pth of torchvision into experiments/pretrained_models/'
    )


@pytest.mark.parametrize(
    ('content', 'line'),
    [
        (b'<html>', r'^train\.perceptual_opt: .* \(it is a web page'),
        (b'PK', r'\(it is truncated or damaged'),
        (b'', 'which is empty; copy or download it again'),
        (None, r'does not fit VGG: \d+ missing: '),
    ],
)
def test_a_file_that_is_not_vgg_is_named(workplace, offline, content, line):
    FILE.parent.mkdir(parents=True)
    if content is None:
        torch.save({'weight': torch.ones(1)}, FILE)
    else:
        FILE.write_bytes(content)
    with pytest.raises(UserError, match=line):
        loss()


def test_another_vgg_does_not_take_the_file_of_vgg19(workplace, offline):
    FILE.parent.mkdir(parents=True)
    torch.save(vgg.vgg19(False).state_dict(), FILE)
    loss()
    with pytest.raises(UserError, match=r'put vgg16-397923af\.pth of torchvision into'):
        loss(vgg_type='vgg16')
    with pytest.raises(UserError, match=r"^train\.perceptual_opt\.vgg_type: expected one of vgg11, .*, got 'vgg20'$"):
        loss(vgg_type='vgg20')
