"""One step of DePLSRGANModel compared with BasicSR's RealESRGANModel, and where VGG weights come from."""

from __future__ import annotations

import copy
import re
from urllib.error import URLError

import pytest
import torch
from basicsr.utils import set_random_seed
from basicsr.utils.registry import MODEL_REGISTRY

import deplsr_model  # noqa: F401

PERCEPTUAL = {'type': 'PerceptualLoss', 'layer_weights': {'conv1_2': 0.1, 'conv5_4': 1}, 'vgg_type': 'vgg19'}
PERCEPTUAL |= {'use_input_norm': True, 'range_norm': False, 'criterion': 'l1'}


@pytest.fixture
def narrow_vgg(monkeypatch):
    """VGG19 with few channels in place of torchvision's; returns the ``pretrained`` of each call."""
    from torchvision.models import vgg

    calls = []

    def vgg19(pretrained):
        calls.append(pretrained)
        torch.manual_seed(1)
        small = vgg.VGG(vgg.make_layers([c if c == 'M' else 4 for c in vgg.cfgs['E']]), num_classes=1)
        small.classifier = torch.nn.Identity()
        return small

    monkeypatch.setattr(vgg, 'vgg19', vgg19)
    return calls


def test_vgg_weights_come_from_torchvision_or_from_a_local_file(workplace, gan, narrow_vgg, caplog):
    caplog.set_level('INFO')
    gan['train'] = {**gan['train'], 'total_iter': 1, 'perceptual_opt': PERCEPTUAL}

    def perceptual_loss(name):
        assert workplace.run('train', gan, name=name, logger__print_freq=1) == 0
        return float(re.findall(r'l_g_percep: (\S+)', caplog.text)[-1])

    downloaded = perceptual_loss('downloaded')
    assert narrow_vgg == [True]
    assert downloaded > 0

    from torchvision.models import vgg

    state = {key: 2 * value for key, value in vgg.vgg19(pretrained=True).state_dict().items()}
    folder = workplace.path / 'experiments/pretrained_models'
    folder.mkdir(parents=True)
    torch.save(state, folder / 'vgg19-dcbb9e9d.pth')
    narrow_vgg.clear()
    assert perceptual_loss('local') > downloaded  # the weights of the file, which are larger, are in use
    assert narrow_vgg == [False]


def test_vgg_weights_that_cannot_be_had_are_one_clear_line(workplace, gan, monkeypatch, capsys):
    from torchvision.models import vgg

    def offline(pretrained):
        raise URLError('no route to host')

    monkeypatch.setattr(vgg, 'vgg19', offline)
    gan['train'] = {**gan['train'], 'perceptual_opt': PERCEPTUAL}
    assert workplace.run('train', gan) == 2
    error = capsys.readouterr().err
    assert 'train.perceptual_opt: the VGG weights could not be downloaded (no route to host)' in error
    assert 'Traceback' not in error


@pytest.mark.parametrize('sharpened', ['l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm'])
def test_the_first_step_is_that_of_basicsr_without_prior(workplace, real_esrgan, narrow_vgg, sharpened):
    """Same weights, same batch, same chance: a fusion that starts as the identity must not be seen by the others."""
    targets = dict.fromkeys(('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm'), False) | {sharpened: True}
    real_esrgan |= targets | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'auto_resume': False}
    real_esrgan['train'] = {**real_esrgan['train'], 'perceptual_opt': PERCEPTUAL}
    real_esrgan['path'] = {**real_esrgan['path'], 'log': '.'}
    plain = {**real_esrgan, 'network_g': {**real_esrgan['network_g'], 'type': 'RRDBNet'}}
    del plain['network_g']['prior_dim'], plain['network_da']
    theirs = MODEL_REGISTRY.get('RealESRGANModel')(copy.deepcopy(plain))
    ours = MODEL_REGISTRY.get('DePLSRGANModel')(copy.deepcopy(real_esrgan))
    ours.net_g.backbone.load_state_dict(theirs.net_g.state_dict())
    ours.net_d.load_state_dict(theirs.net_d.state_dict())

    torch.manual_seed(0)
    kernels = {name: torch.rand(2, 21, 21) for name in ('kernel1', 'kernel2', 'sinc_kernel')}
    batch = {'gt': torch.rand(2, 3, 64, 64), **{name: k / k.sum((1, 2), keepdim=True) for name, k in kernels.items()}}
    for model in (theirs, ours):
        set_random_seed(0)
        model.feed_data(batch)
        model.optimize_parameters(1)
    assert torch.equal(ours.lq, theirs.lq)
    torch.testing.assert_close(ours.output, theirs.output)
    assert ours.log_dict == pytest.approx(theirs.log_dict, rel=1e-5)
    for mine, other in ((ours.net_g.backbone, theirs.net_g), (ours.net_d, theirs.net_d)):
        for name, value in other.state_dict().items():
            torch.testing.assert_close(mine.state_dict()[name], value, atol=1e-6, rtol=1e-5, msg=name)


def test_the_discriminator_learns_alone_until_the_generators_turn(workplace, gan):
    waits = {'net_d_init_iters': 2, 'total_iter': 2}
    gan['train'] = {**gan['train'], **waits}
    assert workplace.run('train', gan, logger__save_checkpoint_freq=1) == 0
    first, last = (
        {net: torch.load(f'experiments/gan/models/net_{net}_{i}.pth')['params'] for net in 'gd'} for i in (1, 2)
    )
    assert all(torch.equal(value, last['g'][name]) for name, value in first['g'].items())
    assert any(not torch.equal(value, last['d'][name]) for name, value in first['d'].items())
