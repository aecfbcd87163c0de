"""Mistakes in the arguments of fusion in networks of BasicSR: each is one clear line."""

from __future__ import annotations

import pytest
import torch

from basicsr_plugin.errors import OptionError
from deplsr_arch import Fused

# isort: split
from basicsr.utils.registry import ARCH_REGISTRY


def _edsr(**changes):
    backbone = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 4}
    return Fused(**{'backbone': backbone, 'fuse_at': ['body.0', 'body.2'], 'prior_dim': 8, **changes})


class _Twice(torch.nn.Module):
    """A backbone that runs a part twice, skips one, and passes no tensor to one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, 1, 1)
        self.wide = torch.nn.Conv2d(8, 16, 1)
        self.narrow = torch.nn.Conv2d(16, 8, 1)
        self.again = torch.nn.Conv2d(8, 8, 3, 1, 1)
        self.never = torch.nn.Conv2d(8, 8, 1)
        self.listed = _Sum()
        self.group = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 1))
        self.group.use_checkpoint = True
        self.last = torch.nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.group(self.narrow(self.wide(self.first(x))))
        return self.last(self.listed([x, self.again(self.again(x))]))


class _Sum(torch.nn.Module):
    def forward(self, parts):
        return sum(parts)


if 'TwiceForTests' not in ARCH_REGISTRY:
    ARCH_REGISTRY.register(type('TwiceForTests', (_Twice,), {'__module__': 'tests'}))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'fuse_at': ['bodi.0']}, "fuse_at: EDSR has no part 'bodi.0'; did you mean 'body.0'"),
        ({'fuse_at': []}, 'fuse_at: expected a list of names, each once, got []'),
        ({'fuse_at': ['body.0', 'body.0']}, 'each once'),
        ({'fuse_at': 'body.0'}, 'fuse_at: expected a list of names'),
        ({'fusion': 'residual', 'fusion_num_heads': 5}, 'fusion_num_heads: expected a divisor of 16 channels, got 5'),
        ({'fusion': 'paper', 'fusion_init': 'identity'}, 'take fusion: residual, or fusion_init: paper'),
        ({'fusion_init': 'paper'}, 'film starts as identity; leave fusion_init out'),
        ({'fusion_init': 'same'}, "fusion_init: expected 'paper' or 'identity'"),
        ({'backbone': {'type': 'EDSSR'}}, "network_g.backbone.type: nothing called 'EDSSR'"),
        ({'backbone': {'type': 'EDSR', 'num_feet': 4}}, "network_g.backbone: unknown key 'num_feet'"),
        ({'backbone': {'type': 'EDSR'}}, "network_g.backbone: missing key 'num_in_ch'"),
        ({'backbone': {'type': 'TwiceForTests'}, 'fuse_at': ['again']}, 'runs once in a forward pass, got'),
        ({'backbone': {'type': 'TwiceForTests'}, 'fuse_at': ['never']}, 'runs once in a forward pass, got'),
        ({'backbone': {'type': 'TwiceForTests'}, 'fuse_at': ['listed']}, 'is a map (B, C, h, w) or tokens'),
        (
            {'backbone': {'type': 'TwiceForTests'}, 'fuse_at': ['wide', 'narrow']},
            'parts with the same number of channels',
        ),
    ],
)
def test_a_mistake_is_one_clear_line(changes, message):
    with pytest.raises(OptionError) as caught:
        _edsr(**changes)
    assert message in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_part_that_is_computed_again_in_the_backward_pass_is_refused():
    backbone = {'type': 'TwiceForTests'}
    Fused(backbone=backbone, fuse_at=['group'], prior_dim=8)  # in front of what is computed again
    with pytest.raises(OptionError, match=r"got 'group\.0'; switch use_checkpoint off"):
        Fused(backbone=backbone, fuse_at=['group.0'], prior_dim=8)


def test_a_backbone_that_does_not_run_is_named_with_its_reason():
    with pytest.raises(OptionError, match=r'network_g\.backbone: EDSR fails on an image of 3 x 48 x 48: '):
        _edsr(backbone={'type': 'EDSR', 'num_in_ch': 4, 'num_out_ch': 3})


def test_a_prior_of_another_width_is_refused():
    with pytest.raises(OptionError, match=r'xi: expected \(1, n, 8\), got \(1, 1, 4\)'):
        _edsr()(torch.rand(1, 3, 16, 16), torch.rand(1, 1, 4), torch.rand(1, 5, 4))
