"""Several processes train as one with the complete batch, and a lost one ends the others in one line."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from deplsr_model.base import DePLSRBaseModel

ORDINAL = {'train__contrastive_opt': {'type': 'DegradationOrdinalLoss'}}
SIGMOID = {'train__contrastive_opt': {'type': 'DegradationSigmoidLoss'}}


def weights(run, label):
    return torch.load(f'experiments/{run}/models/net_{label}_latest.pth', weights_only=True)


def metrics(run):
    with open(f'experiments/{run}/metrics.jsonl') as file:
        return [json.loads(line) for line in file]


def assert_close(first, second):
    for key in first:
        if isinstance(first[key], dict):
            assert_close(first[key], second[key])
        elif torch.is_tensor(first[key]):
            torch.testing.assert_close(first[key], second[key], rtol=0, atol=1e-5, msg=key)


@pytest.fixture
def cases(stage1, stage2, gan, trained_adaptor):
    path = {'path': {'pretrain_network_da': str(trained_adaptor)}}
    # SGD, since Adam makes steps of full size of gradients that are 0 except for rounding
    sgd = {'type': 'SGD', 'lr': 0.1}
    path['train__optim_g'] = sgd
    stage1 = {**stage1, 'train': {**stage1['train'], 'optim_da': sgd}}
    stage1 = {**stage1, 'network_da': {**stage1['network_da'], 'stem': 'patch'}}  # the other one has batch norms
    return {
        'softmax': (stage1, ['da'], {}),
        'sigmoid': (stage1, ['da'], SIGMOID),
        'ordinal': (stage1, ['da'], ORDINAL),
        'stage 2': ({**stage2, 'network_g': gan['network_g']}, ['g'], path),  # a DAT has batch norms
        'GAN': (gan, ['g', 'd'], {}),
    }


@pytest.mark.parametrize('case', ['softmax', 'sigmoid', 'ordinal', 'stage 2', 'GAN'])
def test_two_processes_equal_one_with_the_double_batch(workplace, cases, case):
    options, labels, changes = cases[case]
    changes = {**changes, 'datasets__train__dataset_enlarge_ratio': 8}
    assert workplace.run_processes(2, 'train', options, name='two', **changes) == [0, 0]
    assert workplace.run('train', options, name='one', datasets__train__batch_size_per_gpu=4, **changes) == 0
    for label in labels:
        assert_close(weights('one', label), weights('two', label))
    one, two = metrics('one'), metrics('two')
    assert [line.pop('iter') for line in one] == [line.pop('iter') for line in two]
    for first, second in zip(one, two, strict=True):
        assert first.pop('dataset') == second.pop('dataset')
        assert first == pytest.approx(second, abs=1e-3)


FORKS = pytest.mark.skipif(
    torch.cuda.is_available(), reason='replaces code in forked processes, which cannot train once a GPU is used'
)


def test_batch_norms_are_named(workplace, stage1, capfd):
    assert workplace.run_processes(2, 'train', stage1, train__total_iter=1) == [0, 0]
    assert capfd.readouterr().err.count('warning: DegradationAdaptor has batch norms, which average over') == 1


def fail_in(monkeypatch, rank, iteration, action):
    begin = DePLSRBaseModel.begin_step

    def begin_step(self, current_iter):
        begin(self, current_iter)
        if self.opt['rank'] == rank and current_iter == iteration:
            action()

    monkeypatch.setattr(DePLSRBaseModel, 'begin_step', begin_step)


@FORKS
@pytest.mark.parametrize(
    ('number', 'line'),
    [(signal.SIGKILL, 'another process has ended'), (signal.SIGSTOP, 'another process does not answer')],
)
def test_a_lost_process_ends_the_others_in_one_line(workplace, stage1, monkeypatch, capfd, number, line):
    fail_in(monkeypatch, 1, 3, lambda: os.kill(os.getpid(), number))
    statuses = workplace.run_processes(2, 'train', stage1, dist_params={'timeout': 5}, val__val_freq=100)
    error = capfd.readouterr().err
    assert statuses[0] == 75, error
    last = [text for text in error.splitlines() if text.startswith('basicsr: error')]
    hint = 'see its last lines; the latest checkpoint is that of iteration 2, resume with --auto_resume'
    assert last == [f'basicsr: error: process 0: {line}; {hint}']
    assert 'Traceback' not in error


@pytest.mark.parametrize(
    ('text', 'what'),
    [
        ('Connection closed by peer [127.0.0.1]:20147', 'has ended'),
        ('Timed out waiting 5000ms for recv operation to complete', 'does not answer'),
        ('Application timeout caused pair closure', 'does not answer'),  # gloo's other phrase for the same, seen once
    ],
)
def test_each_phrase_of_gloo_for_a_lost_process_is_recognised(monkeypatch, text, what):
    from torch import distributed

    from basicsr_plugin.processes import lost_process

    monkeypatch.setattr(distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(distributed, 'get_rank', lambda: 0)
    assert (
        str(lost_process(RuntimeError(text), 'hint')) == f'process 0: another process {what}; see its last lines; hint'
    )
    assert lost_process(RuntimeError('shapes do not fit'), 'hint') is None


@FORKS
def test_all_processes_save_when_one_has_no_data(workplace, stage1, monkeypatch, capfd):
    from basicsr_plugin.errors import UnavailableError
    from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset

    get, calls = CaptionedDegradationDataset.__getitem__, []

    def gone(self, index):
        calls.append(1)
        if os.environ.get('RANK') == '1' and len(calls) > 6:
            raise UnavailableError('the disk is gone')
        return get(self, index)

    monkeypatch.setattr(CaptionedDegradationDataset, '__getitem__', gone)
    changes = {'val__val_freq': 100, 'logger__save_checkpoint_freq': 100}
    assert workplace.run_processes(2, 'train', stage1, **changes) == [75, 75]
    error = capfd.readouterr().err
    assert 'basicsr: error: the disk is gone; the latest checkpoint is that of iteration 3, resume with' in error
    assert 'basicsr: error: datasets.train: no batch in another process, see its last lines; the latest' in error
    assert {path.name for path in (workplace.path / 'experiments/adaptor/training_states').iterdir()} == {
        '3.state',
        '3_rank1.state',
    }


def test_a_dist_timeout_that_is_no_number_is_refused(workplace, stage1, monkeypatch, capsys):
    monkeypatch.setenv('RANK', '0')
    assert workplace.run('train', stage1, '--launcher', 'pytorch', dist_params={'timeout': 'long'}) == 2
    assert "dist_params.timeout: expected a number, got 'long'" in capsys.readouterr().err
