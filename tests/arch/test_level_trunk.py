"""A network of timm as the trunk of an estimator: any size, its weights from a file, one line for a wrong name."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from basicsr_plugin.errors import OptionError, UserError
from deplsr_arch import LevelDistribution, LevelRegressor
from deplsr_arch.level_trunk import build_trunk

SMALL = {'prior_dim': 16, 'num_feat': 8, 'num_degradation_types': 3}
NAME = 'test_resnet'


@pytest.mark.parametrize('cls', [LevelDistribution, LevelRegressor])
@pytest.mark.parametrize('size', [(64, 64), (33, 70), (3, 5)])
def test_it_estimates_from_photos_of_any_size(cls, size):
    net = cls(**SMALL, trunk=NAME).eval()
    content, tokens = net.prior(torch.rand(2, 3, *size))
    assert (content.shape, tokens.shape) == ((2, 1, 16), (2, 3, 16))
    assert torch.isfinite(tokens).all()


def test_features_are_those_of_timm_averaged_over_the_photo():
    net = LevelDistribution(**SMALL, trunk=NAME).eval()
    lq = torch.rand(2, 3, 64, 96)
    own = net.trunk.net
    mean, std = (torch.tensor(own.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    with torch.no_grad():
        torch.testing.assert_close(net.features(lq), own((lq - mean) / std).mean(dim=(2, 3)))
    assert net.centre.shape == (own.num_features,)


@pytest.mark.parametrize('name', ['resnet10t', 'test_convnext', 'mobilenetv3_small_050'])
def test_it_is_trained_by_its_gradients(name):
    net = LevelRegressor(**SMALL, trunk=name).train()
    net(torch.rand(2, 3, 64, 64)).sum().backward()
    assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in net.features.parameters())


def test_its_weights_come_from_a_local_file_with_or_without_the_classifier(tmp_path):
    torch.manual_seed(1)
    stored = timm.create_model(NAME, pretrained=False)
    with_classifier = stored.state_dict()
    torch.save(with_classifier, tmp_path / 'a.pth')
    torch.save({'state_dict': {k: v for k, v in with_classifier.items() if 'num_batches' not in k}}, tmp_path / 'b.pth')
    for file in ('a.pth', 'b.pth'):
        net = LevelDistribution(**SMALL, trunk=NAME, pretrained=str(tmp_path / file))
        assert torch.equal(net.trunk.net.conv1[0].weight, stored.conv1[0].weight)


def test_mistakes_are_one_line(tmp_path):
    torch.save(timm.create_model('test_convnext', pretrained=False).state_dict(), tmp_path / 'other.pth')
    cases = {
        "trunk: expected the name of a network of timm, got 'resnet10'; did you mean 'resnet": {'trunk': 'resnet10'},
        'trunk: expected the name of a network of timm, got 3; see timm': {'trunk': 3},
        r"trunk: expected a network of timm for photos of any size, got .test_vit \(": {'trunk': 'test_vit'},
        'pretrained: expected it only with trunk': {'pretrained': 'a.pth'},
        'pretrained: expected a checkpoint file, got none.pth': {'trunk': NAME, 'pretrained': 'none.pth'},
        'pretrained: expected the weights of the trunk, got .* missing': {
            'trunk': NAME, 'pretrained': str(tmp_path / 'other.pth')
        },
    }  # fmt: skip
    for message, arguments in cases.items():
        with pytest.raises((OptionError, UserError), match=f'^{message}') as caught:
            LevelRegressor(**SMALL, **arguments)
        assert '\n' not in str(caught.value)


def test_random_numbers_and_modes_are_not_disturbed_by_trying_it():
    torch.manual_seed(0)
    net = LevelRegressor(**SMALL, trunk=NAME)
    assert all(part.training for part in net.modules())
    assert int(net.features.net.bn1.num_batches_tracked) == 0


def test_in_evaluation_batch_norms_are_part_of_the_convolutions():
    trunk, _, stride = build_trunk(None, None, 8, 2, 4)
    x = torch.rand(3, 3, 24, 40)
    for _ in range(3):
        trunk(x)  # training: the statistics move
    assert list(trunk.state_dict()) == list(nn.Sequential(*trunk).state_dict())
    for module in (trunk.train(), trunk.eval()):
        torch.testing.assert_close(module(x), nn.Sequential(*module)(x), atol=1e-5, rtol=1e-5)
    assert stride == 4
