"""Both stages with effective and nominal levels; checkpoints of estimators record which ones they estimate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from deplsr_model.checkpoint import recorded_levels

GOLDEN = Path(__file__).parents[1] / 'golden/v0_1'
REGRESSOR = {'type': 'LevelRegressor', 'prior_dim': 16, 'num_feat': 8, 'stride': 4}
NAMES = {
    'effective': {'blur', 'noise', 'grain', 'jpeg', 'ringing', 'compression', 'color_noise', 'codec_last'},
    'nominal': {'blur', 'gaussian', 'poisson', 'jpeg', 'ringing'},
}


def with_levels(options, levels):
    datasets = {phase: {**dataset, 'levels': levels} for phase, dataset in options['datasets'].items()}
    return {**options, 'levels': levels, 'datasets': datasets}


def error_of(capsys):
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith('basicsr: error: ')]
    return line.removeprefix('basicsr: error: ')


def estimator(stage1, name):
    """Options of stage 1 and of its network for all types of effective levels, in one short step."""
    network = {**(stage1['network_da'] if name == 'adaptor' else REGRESSOR), 'num_degradation_types': 8}
    if name == 'adaptor':
        return {**stage1, 'network_da': network}, network
    train = {key: value for key, value in stage1['train'].items() if key != 'contrastive_opt'}
    return {**stage1, 'model_type': 'LevelRegressorModel', 'network_da': network, 'train': train}, network


@pytest.mark.parametrize('place', ['worker', 'device'])
@pytest.mark.parametrize('loss', ['DegradationOrdinalLoss', 'DegradationSigmoidLoss', 'regressor'])
def test_both_stages_train_with_all_types_of_effective_levels(workplace, stage1, stage2, loss, place):
    options, network = estimator(stage1, 'regressor' if loss == 'regressor' else 'adaptor')
    changes = {'datasets__train__degrade_on': place, 'datasets__train__recipe': {'type': 'realesrgan'}}
    if loss != 'regressor':
        network['logit_init'] = 'siglip' if loss == 'DegradationSigmoidLoss' else 'clip'
        changes['train__contrastive_opt'] = {'type': loss}
    assert workplace.run('train', options, **changes) == 0
    metrics = (workplace.path / 'experiments/adaptor/metrics.jsonl').read_text().splitlines()
    assert NAMES['effective'] <= set(json.loads(metrics[-1]))
    path = workplace.path / 'experiments/adaptor/models/net_da_latest.pth'
    assert torch.load(path, weights_only=True)['levels'] == recorded_levels(path) == 'effective'
    for prior in ('estimated', *(['captions', 'color noise with sigma:9.0'] if loss != 'regressor' else [])):
        changes = {'network_da': network, 'network_g__num_degradation_types': 8, 'prior': prior, 'name': prior[:8]}
        assert workplace.run('train', stage2, **changes) == 0


@pytest.mark.parametrize('name', ['adaptor', 'regressor'])
def test_with_nominal_levels_both_stages_have_the_published_types(workplace, stage1, stage2, name):
    options, network = estimator(stage1, name)
    network['num_degradation_types'] = 5
    assert workplace.run('train', with_levels(options, 'nominal')) == 0
    metrics = json.loads((workplace.path / 'experiments/adaptor/metrics.jsonl').read_text().splitlines()[-1])
    assert {key for key in metrics if f'{key}_constant' in metrics} == NAMES['nominal']
    assert workplace.run('train', with_levels({**stage2, 'network_da': network}, 'nominal')) == 0


def test_an_estimator_of_other_levels_is_refused_in_one_line(workplace, stage1, stage2, trained_adaptor, capsys):
    path = {'pretrain_network_da': str(trained_adaptor)}
    for options in (stage1, stage2):
        assert workplace.run('train', with_levels(options, 'nominal'), path=path) == 2
        assert error_of(capsys) == (
            'path.pretrain_network_da: expected an estimator of nominal levels, got one of effective levels in '
            f'{trained_adaptor}; set levels: effective at the top level and in the data sets, or train it again'
        )


def test_an_estimator_that_does_not_state_its_levels_has_nominal_ones(workplace, stage2, trained_adaptor, capsys):
    content = torch.load(trained_adaptor, weights_only=True)
    weights = {key: value.contiguous() for key, value in content['params'].items()}
    torch.save({'params': weights}, 'old.pth')
    torch.save(weights, 'bare.pth')
    save_file(weights, 'bare.safetensors')
    for name in ('old.pth', 'bare.pth', 'bare.safetensors'):
        path = {'pretrain_network_da': name}
        assert workplace.run('train', stage2, path=path) == 2
        assert error_of(capsys) == (
            'path.pretrain_network_da: expected an estimator of effective levels, got one of nominal levels in '
            f'{name}; set levels: nominal at the top level and in the data sets, or train it again'
        )
        assert workplace.run('train', with_levels(stage2, 'nominal'), path=path) == 0
        shutil.rmtree('experiments')


def test_a_safetensors_file_states_its_levels_in_its_metadata(tmp_path):
    save_file({'x': torch.zeros(1)}, tmp_path / 'a.safetensors', {'levels': 'effective'})
    assert recorded_levels(tmp_path / 'a.safetensors') == 'effective'


@pytest.mark.parametrize('name', ['adaptor', 'regressor'])
def test_estimators_of_version_0_1_have_nominal_levels(name):
    assert recorded_levels(GOLDEN / f'{name}.pth') == 'nominal'


def test_a_run_is_not_resumed_with_other_levels(workplace, stage1, capsys):
    assert workplace.run('train', stage1) == 0
    capsys.readouterr()
    longer = {'train__total_iter': 6, 'train__scheduler__periods': [6]}
    assert workplace.run('train', with_levels(stage1, 'nominal'), '--auto_resume', **longer) == 2
    assert 'expected an estimator of nominal levels, got one of effective levels in ' in error_of(capsys)


def test_a_network_for_five_types_is_trained_on_the_first_five_effective_ones(workplace, stage1):
    assert workplace.run('train', stage1) == 0
    metrics = json.loads((workplace.path / 'experiments/adaptor/metrics.jsonl').read_text().splitlines()[-1])
    assert {key for key in metrics if f'{key}_constant' in metrics} == {'blur', 'noise', 'grain', 'jpeg', 'ringing'}


def test_an_estimator_that_cannot_be_written_is_one_line_that_names_the_disk(tmp_path):
    from basicsr_plugin.errors import UserError
    from deplsr_model import checkpoint

    with pytest.raises(UserError, match=r'^cannot write .*a\.pth.: No such file or directory \(disk /.*MiB free\); '):
        checkpoint.save_estimator(torch.nn.Linear(1, 1), tmp_path / 'missing' / 'a.pth', 'effective')
