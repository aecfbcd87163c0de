"""A resumed run ends with the weights of one that was not stopped, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from basicsr_plugin.random_state import kept_random_states, random_states, restore_random_states
from deplsr_model.pair_pool import TrainingPairPool


def weights(run, label):
    return torch.load(f'experiments/{run}/models/net_{label}_latest.pth', weights_only=True)


def assert_same(first, second, place=''):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), place
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key], f'{place}.{key}')


@pytest.fixture
def cases(stage1, stage2, gan, trained_adaptor):
    """Option file, saved networks and changes by name."""
    path = {'pretrain_network_da': str(trained_adaptor)}
    drops = {**stage2['network_g'], 'drop_path_rate': 0.5}
    periods = {'type': 'CosineAnnealingRestartLR', 'periods': [20]}
    workers = {'datasets__train__num_worker_per_gpu': 1, 'datasets__train__prefetch_mode': 'cpu'}
    device = {'datasets__train__degrade_on': 'device'}
    return {
        'stage 1, pool': (stage1, ['da'], {'queue_size': 4, 'train__scheduler': periods}),
        'stage 1, groups': (stage1, ['da'], {'train__accumulate': 4, 'train__scheduler': periods}),
        'stage 2, pool, drop path': (stage2, 'g', {'path': path, 'queue_size': 4, 'network_g': drops}),
        'stage 2, workers': (stage2, 'g', {'path': path, 'network_g': drops, 'queue_size': 4, **workers}),
        'GAN, device, pool': (gan, 'gd', {'queue_size': 4, 'train__prior_dropout': 0.5, **device}),
    }


CASES = ('stage 1, pool', 'stage 1, groups', 'stage 2, pool, drop path', 'stage 2, workers', 'GAN, device, pool')


@pytest.mark.parametrize('case', CASES)
def test_a_resumed_run_equals_one_that_was_not_stopped(workplace, cases, case, caplog):
    caplog.set_level('INFO')
    options, labels, changes = cases[case]
    changes = {**changes, 'val__val_freq': 2, 'logger__save_checkpoint_freq': 3, 'train__total_iter': 11}
    assert workplace.run('train', options, name='straight', **changes) == 0
    for stop in (4, 8, 11):  # each loses the iterations after its last checkpoint
        cut = {**changes, 'name': 'cut', 'train__total_iter': stop}
        assert workplace.run('train', options, '--auto_resume', **cut) == 0
    resumed = [line for line in caplog.messages if line.startswith('Resuming training')]
    assert [line.split('iter: ')[1] for line in resumed] == ['3.', '6.']
    for label in labels:
        assert_same(weights('straight', label), weights('cut', label))


def test_a_pool_of_another_size_is_named_and_starts_empty(workplace, stage1, caplog):
    changes = {'train__scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [20]}}
    assert workplace.run('train', stage1, queue_size=4, **changes) == 0
    assert workplace.run('train', stage1, '--auto_resume', queue_size=6, train__total_iter=6, **changes) == 0
    assert 'queue_size: 6 instead of 4; the pool starts empty' in caplog.text


@pytest.mark.parametrize('bits', ['PCG64', 'Philox', 'MT19937'])
def test_a_pool_is_resumed_with_its_samples_and_draws(tmp_path, bits):
    import numpy as np

    def generator(seed):
        return np.random.Generator(getattr(np.random, bits)(seed))

    def batch(number):
        return {'lq': torch.full((2, 3), float(number)), 'captions': [[f'{number}a', f'{number}b'], ['c', 'd']]}

    first = TrainingPairPool(4, generator(3))
    for number in range(4):
        first.exchange(batch(number))
    state = first.state()
    torch.save(state, tmp_path / 'pool.pth')
    second = TrainingPairPool(4, generator(8))
    second.load_state(torch.load(tmp_path / 'pool.pth', weights_only=True))
    for number in range(4, 9):
        expected, got = first.exchange(batch(number)), second.exchange(batch(number))
        assert torch.equal(expected['lq'], got['lq'])
        assert expected['captions'] == got['captions']


def draws():
    import random

    import numpy as np

    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()


def test_all_random_states_survive_a_file(tmp_path):
    draws()  # leaves half a pair of Gaussian numbers
    torch.save(random_states(), tmp_path / 'states.pth')
    expected = draws()
    restore_random_states(torch.load(tmp_path / 'states.pth', weights_only=True))
    assert draws() == expected


def test_what_is_drawn_inside_does_not_change_what_follows():
    states = random_states()
    expected = draws()
    restore_random_states(states)
    with kept_random_states():
        draws()
    assert draws() == expected


def test_a_missing_discriminator_is_an_error(workplace, gan, capsys):
    assert workplace.run('train', gan) == 0
    for path in Path('experiments/gan/models').glob('net_d_*'):
        path.unlink()
    changes = {'path': {**gan['path'], 'resume_state': 'experiments/gan/training_states/4.state'}}
    assert workplace.run('train', gan, **changes) == 2
    assert 'net_d_4.pth is missing' in capsys.readouterr().err


def test_options_that_a_resumed_run_ignores_are_named(workplace, stage2, trained_adaptor, caplog):
    path = {'pretrain_network_da': str(trained_adaptor)}
    assert workplace.run('train', stage2, path=path) == 0
    caplog.clear()
    changes = {
        'train__optim_g': {'type': 'Adam', 'lr': 5e-4, 'betas': [0.5, 0.999]},
        'train__scheduler': {'type': 'MultiStepLR', 'milestones': [3, 5], 'gamma': 0.5},
        'train__total_iter': 5,
    }
    assert workplace.run('train', stage2, '--auto_resume', path=path, **changes) == 0
    lines = [line for line in caplog.messages if 'no effect on a resumed run' in line]
    assert [line.split(' in the training state')[0] for line in lines] == [
        'train.optim_g.lr: 0.0005 instead of 0.001',
        'train.optim_g.betas: (0.5, 0.999) instead of (0.9, 0.999)',
        'train.scheduler.milestones: [(3, 1), (5, 1)] instead of [(3, 1)]',
    ]


def test_a_run_without_a_seed_keeps_the_one_that_was_drawn(workplace, stage1):
    changes = {'manual_seed': None, 'train__scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [20]}}
    assert workplace.run('train', stage1, **changes) == 0
    assert workplace.run('train', stage1, '--auto_resume', train__total_iter=6, **changes) == 0
    first, last = (
        torch.load(f'experiments/adaptor/training_states/{number}.state', weights_only=True) for number in (4, 6)
    )
    assert first['manual_seed'] == last['manual_seed']
