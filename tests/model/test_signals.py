"""A signal ends a training after its iteration, with a checkpoint from which it resumes exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

CHANGES = {
    'train__total_iter': 10_000,
    'logger__save_checkpoint_freq': 100_000,
    'val__val_freq': 100_000,
    'train__scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [10_000]},
    'logger__print_freq': 1,
}


def wait_for(process, path, text, limit=120):
    """Waits until a file whose name contains ``path`` has a text."""
    end = time.monotonic() + limit
    while time.monotonic() < end and process.poll() is None:
        if any(text in file.read_text() for file in path.glob('train_*.log')):
            return
        time.sleep(0.05)
    pytest.fail(f'{text} was not logged: {process.communicate()[0]}')


def saved_iteration(run):
    (state,) = (path for path in (run / 'training_states').iterdir() if path.stem.isdigit())
    return int(state.stem)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_the_iteration_and_exits_with_its_own_status(workplace, stage1, number):
    run = workplace.path / 'experiments/adaptor'
    changes = {**CHANGES, 'queue_size': 4, 'datasets__train__num_worker_per_gpu': 1}
    process = workplace.start('train', stage1, start_new_session=True, **changes)
    wait_for(process, run, 'iter:       3')
    os.killpg(process.pid, number)  # the workers get it too
    log = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + number, log
    assert 'Traceback' not in log
    done = saved_iteration(run)
    line = f'basicsr: stopped by {number.name}: {done} iterations done; the latest checkpoint is that of iteration '
    assert log.splitlines()[-1] == f'{line}{done}, resume with --auto_resume'

    changes['train__total_iter'] = total = done + 3
    assert workplace.run('train', stage1, '--auto_resume', **changes) == 0
    assert workplace.run('train', stage1, name='straight', **changes) == 0
    resumed, straight = (
        torch.load(f'experiments/{name}/models/net_da_latest.pth', weights_only=True)['params']
        for name in ('adaptor', 'straight')
    )
    assert total > 3
    assert all(torch.equal(value, straight[name]) for name, value in resumed.items())


def test_a_signal_within_a_validation_leaves_it_and_saves(workplace, stage1):
    run = workplace.path / 'experiments/adaptor'
    changes = {**CHANGES, 'val__val_freq': 3, 'datasets__val__draws_per_image': 100_000}
    process = workplace.start('train', stage1, **changes)
    wait_for(process, run, 'iter:       3')
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM, log
    assert saved_iteration(run) == 3


def test_a_signal_within_the_last_validation_exits_with_its_own_status(workplace, stage1):
    run = workplace.path / 'experiments/adaptor'
    changes = {**CHANGES, 'train__total_iter': 3, 'datasets__val__draws_per_image': 100_000}
    process = workplace.start('train', stage1, **changes)
    wait_for(process, run, 'Save the latest model')
    end = time.monotonic() + 60
    while not (run / 'models/net_da_latest.pth').exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM, log
    assert log.splitlines()[-1].endswith('all iterations are done and saved; the last validation is incomplete')


def test_a_signal_through_torchrun_saves_the_states_of_all_processes(workplace, stage1):
    run = workplace.path / 'experiments/adaptor'
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'basicsr_plugin.cli']
    arguments = ['train', '-opt', workplace.write(stage1, queue_size=4, **CHANGES), '--launcher', 'pytorch']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen(
        [sys.executable, *launcher, *arguments],
        cwd=workplace.path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_for(process, run, 'iter:       3', limit=240)
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert 'basicsr: stopped by SIGTERM' in log, log
    done = saved_iteration(run)
    files = sorted((run / 'training_states').iterdir())
    assert [path.name for path in files] == [f'{done}.state', f'{done}_rank1.state']
    states = [torch.load(path, weights_only=True) for path in files]
    assert states[0]['processes'] == 2
    assert len(states[0]['own']['model']['pool']['samples']) == len(states[1]['model']['pool']['samples']) == 4


def test_a_signal_that_arrives_while_processes_agree_is_kept_for_the_next_iteration(monkeypatch):
    from torch import distributed

    from basicsr_plugin.interruption import Signals

    signals = Signals()

    def all_reduce(number, op):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(distributed, 'get_backend', lambda: 'gloo')
    monkeypatch.setattr(distributed, 'all_reduce', all_reduce)
    signals.install()
    try:
        assert signals.agreed(distributed=True) == 0  # the other processes have not seen it
        monkeypatch.setattr(distributed, 'all_reduce', lambda number, op: None)
        assert signals.agreed(distributed=True) == signal.SIGTERM
    finally:
        signals.remove()


def test_signals_are_those_of_before_when_a_training_has_ended(workplace, stage1):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    assert workplace.run('train', stage1) == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


def test_a_signal_before_the_first_iteration_saves_nothing_and_does_not_name_auto_resume(
    workplace, stage1, monkeypatch, capsys
):
    from basicsr_plugin import training_loop

    start = training_loop.TrainingLoop.begin_epoch

    def begin_epoch(self, epoch):
        start(self, epoch)
        os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(training_loop.TrainingLoop, 'begin_epoch', begin_epoch)
    assert workplace.run('train', stage1) == 128 + signal.SIGUSR1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == 'basicsr: stopped by SIGUSR1: 0 iterations done; nothing has been saved, start the run again'


def test_a_second_interrupt_ends_at_once(workplace, stage1, monkeypatch):
    from deplsr_model import DegradationAdaptorModel

    def optimize_parameters(self, current_iter):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(DegradationAdaptorModel, 'optimize_parameters', optimize_parameters)
    assert workplace.run('train', stage1) == 130
    assert not list((workplace.path / 'experiments/adaptor/training_states').iterdir())
