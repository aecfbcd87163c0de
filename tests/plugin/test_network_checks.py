"""Networks that cannot be built are one line before a folder is made; those that can are built in shapes only."""

from __future__ import annotations

import os
import sys
import time

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import registry
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.errors import OptionError
from basicsr_plugin.network_checks import check_networks
from basicsr_plugin.parse_options import parse_options

apply_fixes()
EDSR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2}
SWINIR = {
    'type': 'SwinIR',
    'img_size': 8,
    'window_size': 8,
    'depths': [1],
    'embed_dim': 8,
    'num_heads': [2],
    'upscale': 2,
    'upsampler': 'pixelshuffledirect',
}


class NeedsValues(nn.Module):
    """Processes images of one size, or of multiples of it, and never without values."""

    def __init__(self, size=64, multiples=False):
        super().__init__()
        self.size, self.multiples = size, multiples

    def forward(self, x):
        x.flatten()[:1].tolist()
        for side in x.shape[2:]:
            if side % self.size if self.multiples else side != self.size:
                raise ValueError(f'a side of {side}')
        return x.repeat(1, 1, 2, 2)


class TooLarge(NeedsValues):
    """4 TB of weights."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(1_000_000, 1_000_000)


class OnByDefault(nn.Module):
    def __init__(self, pretrained=True):
        super().__init__()
        self.built_with(pretrained)

    def built_with(self, pretrained):
        self.body = nn.Linear(4, 4)
        if pretrained:
            raise OSError('a download')


class Nullable(OnByDefault):
    def __init__(self, pretrained: str | None):
        super().__init__(pretrained)


class NeverNull(OnByDefault):
    def __init__(self, pretrained: str):
        super().__init__(pretrained)


class DefaultTag(OnByDefault):
    def __init__(self, pretrained='a tag'):
        super().__init__(pretrained)


class Outer(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = ARCH_REGISTRY.get(backbone.pop('type'))(**backbone)


@pytest.fixture
def own(monkeypatch):
    """Registers the networks above for one test."""
    for network in (NeedsValues, TooLarge, OnByDefault, Nullable, NeverNull, DefaultTag, Outer):
        monkeypatch.setitem(ARCH_REGISTRY._obj_map, network.__name__, network)


def check(networks):
    check_networks({'model_type': 'SRModel', 'datasets': {}, **networks}, registry)


@pytest.fixture
def registered():
    """Registers a network, in which this is called, for one test."""
    names = []

    def register(name, build):
        class Network(nn.Module):
            def __init__(self, pretrained=None, size=4):
                super().__init__()
                build(self, pretrained, size)

        ARCH_REGISTRY._obj_map[name] = Network
        names.append(name)
        return {'type': name}

    yield register
    for name in names:
        del ARCH_REGISTRY._obj_map[name]


@pytest.mark.parametrize(
    ('network', 'line'),
    [
        ({**EDSR, 'upscale': 7}, 'network_g: EDSR cannot be built with these arguments: ValueError: scale 7 is not'),
        ({**SWINIR, 'num_heads': []}, 'network_g: SwinIR cannot be built with these arguments: '),
        ({**EDSR, 'num_feat': 900_000}, 'network_g: expected a network that fits into the memory of '),
        ({**EDSR, 'img_range': 0, 'num_block': 900, 'num_feat': 50_000}, 'GB with these arguments; lower them'),
    ],
)
def test_a_network_that_cannot_be_built_is_one_line_that_names_its_key(network, line):
    with pytest.raises(OptionError) as error:
        check({'network_g': network, 'network_d': None, 'scale': 2})
    assert line in str(error.value)
    assert '\n' not in str(error.value)


def test_all_networks_are_listed_and_nothing_is_written(workplace, monkeypatch):
    opt = workplace.options(network_g={**EDSR, 'res_scale': 1, 'num_block': -1}, network_d={**EDSR, 'upscale': 7})
    opt['network_g'] = {**EDSR, 'upscale': 2, 'rgb_mean': [1]}
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', workplace.write(opt)])
    before = sorted(workplace.path.rglob('*'))
    with pytest.raises(OptionError) as error:
        parse_options(str(workplace.path))
    assert [line[:30] for line in str(error.value).splitlines()] == [
        'network_g: EDSR cannot be buil',
        'network_d: EDSR cannot be buil',
    ]
    assert sorted(workplace.path.rglob('*')) == before


def test_a_network_that_needs_values_is_built_as_it_is(registered):
    def needs_values(net, _, size):
        net.weight = nn.Parameter(torch.zeros(int(torch.full((1,), size).tolist()[0])))

    check({'network_g': registered('NeedsValues', needs_values)})


def test_weights_are_not_read_and_the_random_state_is_kept(registered):
    def reads(net, pretrained, _):
        if pretrained:
            raise OSError(pretrained)
        net.body = nn.Linear(4, 4)

    before = torch.get_rng_state()
    check({'network_g': {**registered('Reads', reads), 'pretrained': 'a tag'}, 'network_d': EDSR})
    assert torch.equal(torch.get_rng_state(), before)


def test_a_large_network_takes_neither_its_memory_nor_its_time():
    start = time.process_time()
    check({'network_g': {**EDSR, 'num_feat': 2048, 'num_block': 8}})  # 2.5 GB
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        (
            {'network_g': {**SWINIR, 'num_heads': [3]}},
            'network_g: SwinIR cannot process images of 8x8 (datasets.train.gt',
        ),
        (
            {'network_g': {**SWINIR, 'window_size': 3}},
            'network_g: SwinIR cannot process images of 8x8 (datasets.train.gt',
        ),
        ({'network_g': {**SWINIR, 'upsampler': ''}}, 'network_g: SwinIR: expected outputs of 16x16, 2 times 8x8'),
        (
            {'network_g': SWINIR, 'datasets__val__dataroot_lq': 'odd'},
            "network_g: SwinIR cannot process images of 17x16 ('odd/0.png'): ",
        ),
        (
            {'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4, 'input_size': 128}},
            'network_d: VGGStyleDiscriminator cannot process images of 16x16 (datasets.train.gt_size: 16): ',
        ),
    ],
)
def test_a_network_that_cannot_process_the_images_is_one_line(workplace, changes, line):
    opt = workplace.options(**changes)
    (workplace.path / 'odd').mkdir()
    for number in range(4):
        cv2.imwrite(f'odd/{number}.png', np.zeros((16, 17, 3), np.uint8))
    for phase, dataset in opt['datasets'].items():
        dataset.update(phase=phase)
    with pytest.raises(OptionError) as error:
        check_networks(opt, registry)
    assert str(error.value).startswith(line)
    assert '\n' not in str(error.value)


def options_with(workplace, network, gt_size, image):
    """An option file whose validation images have a given size, height first."""
    opt = workplace.options(network_g=network, datasets__train__gt_size=gt_size, datasets__val__dataroot_lq='odd')
    (workplace.path / 'odd').mkdir()
    for number in range(4):
        cv2.imwrite(f'odd/{number}.png', np.zeros((*image, 3), np.uint8))
    for phase, dataset in opt['datasets'].items():
        dataset.update(phase=phase)
    return opt


@pytest.mark.parametrize(
    ('size', 'multiples', 'gt_size', 'image'),
    [
        (192, False, 384, (192, 192)),
        (7, True, 392, (210, 147)),
        (12, True, 384, (240, 36)),
        (24, True, 384, (240, 216)),
        (8, True, 384, (808, 8)),
    ],
)
def test_a_network_that_needs_values_processes_images_of_the_sizes_that_it_is_made_for(
    workplace, own, size, multiples, gt_size, image
):
    network = {'type': 'NeedsValues', 'size': size, 'multiples': multiples}
    check_networks(options_with(workplace, network, gt_size, image), registry)


@pytest.mark.parametrize(
    ('size', 'line'),
    [
        (64, 'network_g: NeedsValues cannot process images of 192x192 (datasets.train.gt_size: 384): '),
        (192, "network_g: NeedsValues cannot process images of 147x210 ('odd/0.png'): ValueError: a side of 210"),
    ],
)
def test_a_network_that_needs_values_is_refused_with_the_size_of_the_file(workplace, own, size, line):
    with pytest.raises(OptionError) as error:
        check_networks(options_with(workplace, {'type': 'NeedsValues', 'size': size}, 384, (210, 147)), registry)
    assert str(error.value).startswith(line)


def test_a_network_that_is_too_large_is_never_built_with_values(workplace, own, monkeypatch):
    monkeypatch.setattr('basicsr_plugin.network_checks._build_for_real', lambda *_: pytest.fail('built with values'))
    with pytest.raises(OptionError, match=r'^network_g: expected a network that fits .* got one of 4000 GB'):
        check_networks(options_with(workplace, {'type': 'TooLarge'}, 128, (64, 64)), registry)


def test_the_memory_is_not_checked_on_a_system_that_has_no_name_for_it(monkeypatch):
    monkeypatch.delattr(os, 'sysconf')
    check({'network_g': EDSR})


@pytest.mark.parametrize(
    'network',
    [
        {'type': 'OnByDefault', 'pretrained': False},
        {'type': 'OnByDefault', 'pretrained': True},
        {'type': 'Nullable', 'pretrained': None},
        {'type': 'Nullable', 'pretrained': 'a tag'},
        {'type': 'NeverNull', 'pretrained': 'a tag'},
        {'type': 'DefaultTag', 'pretrained': None},
        {'type': 'DefaultTag', 'pretrained': 'another tag'},
        {'type': 'Outer', 'backbone': {'type': 'OnByDefault', 'pretrained': False}},
        {'type': 'Outer', 'backbone': {'type': 'NeverNull', 'pretrained': 'a tag'}},
    ],
)
def test_weights_are_neither_read_nor_missing(own, network):
    check({'network_g': network})


def test_a_network_is_built_without_weights_unless_it_must_have_some(own, monkeypatch):
    built = []
    monkeypatch.setattr(OnByDefault, 'built_with', lambda self, pretrained: built.append(pretrained))
    check({'network_g': {'type': 'Nullable', 'pretrained': 'a tag'}})
    check({'network_g': {'type': 'NeverNull', 'pretrained': 'a tag'}})
    assert built == [None]
