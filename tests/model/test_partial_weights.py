"""A file with some of a network's weights: without strict loading the log counts them, and none at all is an error."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.archs import build_network

from basicsr_plugin.errors import UserError
from deplsr_model.checkpoint import load_into

FUSED = {
    'type': 'Fused',
    'backbone': {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 2},
    'fuse_at': ['body.0'],
    'prior_dim': 16,
}


def state_of(block):
    return build_network(copy.deepcopy(block)).state_dict()


def without_validation(options, **path):
    options = copy.deepcopy(options)
    options['datasets'].pop('val', None)
    options.pop('val', None)
    options['path'] = {**options['path'], **path}
    return options


def errors(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith('basicsr: error: ')]


@pytest.fixture
def stage2(stage2, trained_adaptor):
    return without_validation(stage2, pretrain_network_da=str(trained_adaptor))


def test_the_sr_model_counts_the_weights_of_the_backbone(workplace, stage2, caplog):
    caplog.set_level('INFO')
    state = state_of(stage2['network_g'])
    own = [key for key in state if not key.startswith(('fusion_blocks.', 'adaptive_feat_channels.'))]
    torch.save({key: state[key] for key in own[2:]}, 'part.pth')
    options = without_validation(stage2, pretrain_network_g='part.pth', strict_load_g=False)
    assert workplace.run('train', options, train__total_iter=1) == 0
    count = f'{len(own) - 2} of {len(own)} weights of the backbone of FusedDAT were loaded; missing: {own[0]}, {own[1]}'
    assert caplog.text.count(count) == 2  # the network and its average


def test_the_gan_model_counts_the_weights_of_both_networks(workplace, gan, caplog):
    caplog.set_level('INFO')
    for key in ('network_g', 'network_d'):
        state = {name: value for name, value in state_of(gan[key]).items() if 'conv_last' not in name}
        torch.save({'params': {**state, 'other.weight': torch.zeros(1)}}, f'{key}.pth')
    paths = {f'pretrain_network_{label}': f'network_{label}.pth' for label in 'gd'}
    options = without_validation(gan, **paths, strict_load_g=False, strict_load_d=False)
    assert workplace.run('train', options, train__total_iter=1) == 0
    lines = [line for line in caplog.messages if 'were loaded' in line]
    assert len(lines) == 3
    assert all(
        'weights of the backbone of FusedRRDBNet were loaded; missing: backbone.conv_last' in one for one in lines[:2]
    )
    total = len(state_of(gan['network_d']))
    assert lines[2] == f'{total} of {total} weights of UNetDiscriminatorSN were loaded'


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('names', [['other.weight'], ['fusion_blocks.0.other'], []])
def test_a_file_without_a_weight_of_the_network_is_one_line(workplace, stage2, capsys, strict, names):
    torch.save({'params': {name: torch.zeros(1) for name in names}}, 'other.pth')
    options = without_validation(stage2, pretrain_network_g='other.pth', strict_load_g=strict)
    assert workplace.run('train', options) == 2
    (line,) = errors(capsys)
    assert line.startswith('basicsr: error: path.pretrain_network_g: ')
    assert not list(workplace.path.glob('experiments/*/models/*'))


def test_fusion_weights_without_any_of_the_backbone_are_one_line(tmp_path):
    net = build_network(copy.deepcopy(FUSED))
    fusion = {key: value for key, value in net.state_dict().items() if key.startswith('fusion_blocks.')}
    torch.save({**fusion, 'backbone.other': torch.zeros(1)}, tmp_path / 'fusion.pth')
    count = len(net.backbone.state_dict())
    line = (
        rf'expected weights of Fused in .*, got only those of fusions, none of its other {count}; name the checkpoint'
    )
    with pytest.raises(UserError, match=line):
        load_into(net, tmp_path / 'fusion.pth', strict=False)


def test_stage_1_loads_completely_or_not_at_all(workplace, stage1, trained_adaptor, capsys):
    state = torch.load(trained_adaptor)['params']
    torch.save({'params': dict(list(state.items())[1:]), 'levels': 'effective'}, 'part.pth')
    options = without_validation(stage1, pretrain_network_da='part.pth')
    assert workplace.run('train', options) == 2
    assert '1 missing: ' in errors(capsys)[0]
    assert workplace.run('train', without_validation(stage1, strict_load_da=False)) == 2
    assert "path: unknown key 'strict_load_da'" in errors(capsys)[0]
