from __future__ import annotations

import copy
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import torch

from basicsr_plugin.errors import UserError
from basicsr_plugin.resume import ResumePosition, load_resume_state


class Run:
    """The files of a run."""

    def __init__(self, path):
        self.models, self.states = path / 'models', path / 'training_states'
        self.models.mkdir()
        self.states.mkdir()
        self.opt = {
            'auto_resume': True,
            'rank': 0,
            'dist': False,
            'num_gpu': 0,
            'datasets': {'train': {'batch_size_per_gpu': 2}},
            'network_g': {},
            'path': {'models': str(self.models), 'training_states': str(self.states), 'param_key_g': 'params_ema'},
        }

    def checkpoint(self, iteration, *labels):
        for label in labels or 'g':
            torch.save({'params': {'weight': torch.zeros(64)}}, self.models / f'net_{label}_{iteration}.pth')
        scheduler = {'milestones': Counter([3]), 'restarts': (0,)}
        state = {'epoch': 1, 'iter': iteration, 'optimizers': [{'m': torch.zeros(64)}], 'schedulers': [scheduler]}
        torch.save(state, self.states / f'{iteration}.state')

    def resumed(self):
        state = load_resume_state(self.opt)
        return state and state['iter']


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def test_newest_checkpoint_is_taken_by_number_not_by_name(run):
    for iteration in (20, 100, 9):
        run.checkpoint(iteration)
    assert run.resumed() == 100
    assert run.opt['path']['pretrain_network_g'] == str(run.models / 'net_g_100.pth')
    assert run.opt['path']['param_key_g'] == 'params'
    assert run.opt['path']['resume_state'] == str(run.states / '100.state')


def test_incomplete_checkpoints_are_skipped_with_a_line_each(run, capsys):
    for iteration in (1, 2, 3, 4, 5):
        run.checkpoint(iteration)
    cut(run.states / '5.state')
    cut(run.models / 'net_g_4.pth')
    (run.models / 'net_g_3.pth').unlink()
    (run.states / '2.state').write_bytes(b'')
    assert run.resumed() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(' is skipped')[0] for line in lines[:4]] == [f'Checkpoint {i}' for i in (5, 4, 3, 2)]
    assert 'truncated' in lines[0]
    assert 'truncated' in lines[1]
    assert 'missing' in lines[2]
    assert lines[4:] == ['Resuming from iteration 1: network_g.']


def test_without_a_complete_checkpoint_training_starts_from_scratch(run, capsys):
    run.checkpoint(7)
    cut(run.models / 'net_g_7.pth')
    assert run.resumed() is None
    assert 'training starts from scratch' in capsys.readouterr().out
    assert 'pretrain_network_g' not in run.opt['path']


def test_frozen_network_that_is_never_saved_keeps_its_file_and_key(run):
    run.checkpoint(5)
    run.opt['network_da'] = {}
    run.opt['path'].update(pretrain_network_da='adaptor.pth', param_key_da='params_ema')
    assert run.resumed() == 5
    assert run.opt['path']['pretrain_network_da'] == 'adaptor.pth'
    assert run.opt['path']['param_key_da'] == 'params_ema'


def test_every_saved_network_must_be_complete(run):
    run.opt['network_d'] = {}
    run.checkpoint(5, 'g', 'd')
    run.checkpoint(6, 'g')
    assert run.resumed() == 5
    assert run.opt['path']['pretrain_network_d'].endswith('net_d_5.pth')


def test_networks_that_are_not_to_be_resumed_are_left_alone(run):
    run.opt['network_d'] = {}
    run.checkpoint(5, 'g', 'd')
    run.opt['path']['ignore_resume_networks'] = ['network_d']
    cut(run.models / 'net_d_5.pth')
    assert run.resumed() == 5
    assert 'pretrain_network_d' not in run.opt['path']


def test_given_resume_state_is_loaded(run):
    run.checkpoint(5)
    run.checkpoint(6)
    run.opt.update(auto_resume=False)
    run.opt['path']['resume_state'] = str(run.states / '5.state')
    assert run.resumed() == 5


@pytest.mark.parametrize('harm', ['state', 'network', 'both'])
def test_given_resume_state_that_is_incomplete_is_an_error(run, harm):
    run.checkpoint(5)
    path = run.states / '5.state'
    run.opt.update(auto_resume=False)
    run.opt['path']['resume_state'] = str(path)
    if harm == 'state':
        cut(path)
    elif harm == 'network':
        cut(run.models / 'net_g_5.pth')
    else:
        path.unlink()
    with pytest.raises(UserError, match=r'^path.resume_state: .*5\.(state|pth)'):
        run.resumed()


def resume_error(run, path):
    run.opt.update(auto_resume=False)
    run.opt['path']['resume_state'] = str(path)
    with pytest.raises(UserError) as caught:
        run.resumed()
    return str(caught.value)


@pytest.mark.parametrize('harm', ['state', 'network', 'both', 'no zip', 'empty', 'folder', 'another file'])
def test_a_checkpoint_that_cannot_be_resumed_from_names_the_newest_complete_one(run, harm):
    for iteration in (4, 5, 6, 7):
        run.checkpoint(iteration)
    (run.models / 'net_g_6.pth').unlink()
    path = run.states / '7.state'
    cut(run.models / 'net_g_7.pth') if harm == 'network' else cut(path)
    if harm == 'both':
        path.unlink()
    elif harm == 'no zip':
        path.write_bytes(b'no zip')
    elif harm == 'empty':
        path.write_bytes(b'')
    elif harm == 'folder':
        path.unlink()
        path.mkdir()
    elif harm == 'another file':
        path.write_bytes((run.models / 'net_g_5.pth').read_bytes())
    error = resume_error(run, path)
    line = f'; the newest complete checkpoint of the run is {run.states / "5.state"}, set path.resume_state to it'
    assert error.startswith('path.resume_state: ')
    assert error.endswith(line)
    assert error.count('; ') == 1  # no other fix


def test_without_another_checkpoint_the_newest_intact_weights_are_named(run):
    for iteration in (5, 6):
        run.checkpoint(iteration)
        cut(run.states / f'{iteration}.state')
    cut(run.models / 'net_g_6.pth')
    error = resume_error(run, run.states / '6.state')
    assert error.endswith(
        '; no other checkpoint of the run is complete, start a new run, without path.resume_state, from the newest '
        f'intact weights: path.pretrain_network_g: {run.models / "net_g_5.pth"}'
    )


NOTHING_ELSE = '; nothing else of the run is intact, correct path.resume_state, or remove it to start from scratch'


def test_where_nothing_is_intact_a_start_from_scratch_is_the_hint(run):
    run.checkpoint(5)
    cut(run.states / '5.state')
    cut(run.models / 'net_g_5.pth')
    error = resume_error(run, run.states / '5.state')
    assert error.endswith(NOTHING_ELSE)


def test_a_path_that_does_not_exist_is_to_be_corrected_or_removed(run):
    path = run.states / '9.state'
    assert resume_error(run, path).endswith(
        f'expected a training state, got {path}, which does not exist{NOTHING_ELSE}'
    )


def test_network_weights_in_place_of_a_training_state_are_refused(run):
    run.checkpoint(5)
    run.opt.update(auto_resume=False)
    run.opt['path']['resume_state'] = str(run.models / 'net_g_5.pth')
    with pytest.raises(
        UserError,
        match=r"keys iter, .*, got .*net_g_5.pth without 'iter'; the newest complete",
    ):
        run.resumed()


def test_a_resume_adds_no_key_to_the_options(run):
    run.checkpoint(5)
    before = set(run.opt)
    assert run.resumed() == 5
    assert set(run.opt) == before  # models that check their keys accept the options of a script with its own loop
    assert copy.deepcopy(run.opt)['path']['resume_state'].position.iteration == 5


def test_training_state_that_would_run_code_is_refused(run, tmp_path, capsys):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'harm'),)

    run.checkpoint(5)
    torch.save({'iter': 5, 'harm': Harmful()}, run.states / '5.state')
    assert run.resumed() is None
    assert 'cannot be read as a checkpoint of plain tensors' in capsys.readouterr().out
    assert not (tmp_path / 'harm').exists()


def test_killed_run_resumes_from_its_latest_complete_checkpoint(workplace):
    opt = workplace.options(train__total_iter=10**6, logger__save_checkpoint_freq=5, path__experiments_root='elsewhere')
    opt['val']['val_freq'] = 10**6
    name = workplace.write(opt)
    states = workplace.path / 'elsewhere' / 'run' / 'training_states'
    arguments = [sys.executable, '-m', 'basicsr_plugin.cli', 'train', '-opt', name]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as training:
        end = time.monotonic() + 100
        while len(list(states.glob('*.state'))) < 3 and time.monotonic() < end and training.poll() is None:
            time.sleep(0.02)
        training.send_signal(signal.SIGKILL)
    saved = sorted(int(path.stem) for path in states.glob('*.state'))
    cut(states / f'{saved[-1]}.state')  # whatever the kill left, the newest is now half written
    complete = saved[-2]

    forced = ['--force_yml', f'train:total_iter={complete + 3}', f'val:val_freq={complete + 3}']
    assert workplace.basicsr('train', '-opt', name, '--auto_resume', *forced) == 0
    log = workplace.log(root='elsewhere')
    assert f'Resuming training from epoch: {(complete - 1) // 2}, iter: {complete}.' in log
    assert f'net_g_{complete}.pth, with param key: [params].' in log
    assert f'net_g_{complete}.pth, with param key: [params_ema].' in log
    assert re.search(r'# psnr: \d\d\.', log)
    # the learning rate is that of a run that was never stopped: halved at iteration 3
    assert 'lr:(5.000e-04,)' in log
    assert (workplace.path / 'elsewhere' / 'run' / 'models' / 'net_g_latest.pth').exists()


def test_resumed_run_equals_one_that_was_not_stopped(workplace):
    opt = workplace.options(train__total_iter=10, logger__save_checkpoint_freq=3)
    opt['datasets']['train']['dataset_enlarge_ratio'] = 3  # six iterations an epoch: 3 is in mid-epoch
    opt['val']['val_freq'] = 2  # BasicSR's data sets, flips and drop path draw from the global generators
    window = {'img_size': 8, 'window_size': 4, 'depths': [2], 'num_heads': [2], 'embed_dim': 8, 'drop_path_rate': 0.5}
    opt['network_g'] = {'type': 'SwinIR', 'upscale': 2, 'upsampler': 'pixelshuffledirect', **window}
    name = workplace.write(opt)
    assert workplace.basicsr('train', '-opt', name, '--force_yml', 'name=straight') == 0
    for iterations in (4, 7, 10):
        forced = ['--force_yml', 'name=stopped', f'train:total_iter={iterations}']
        assert workplace.basicsr('train', '-opt', name, '--auto_resume', *forced) == 0
    for file in ('training_states/9.state', 'models/net_g_9.pth', 'models/net_g_latest.pth'):
        straight, stopped = (
            torch.load(f'experiments/{run}/{file}', weights_only=True) for run in ('straight', 'stopped')
        )
        for key in ('own', 'networks'):  # random states, and what assert_close does not compare
            assert repr(straight.pop(key, None)) == repr(stopped.pop(key, None))
        torch.testing.assert_close(straight, stopped, rtol=0, atol=0)


def test_epoch_starts_again_when_the_batch_size_has_changed(run):
    run.checkpoint(9)
    assert run.resumed() == 9
    position = run.opt['path']['resume_state'].position
    assert position.samples_used(1, 16) == 2  # 8 iterations an epoch; the ninth was the first of epoch 1
    assert position.samples_used(0, 16) == 0
    assert position.samples_used(1, 4) == 0


def served(position, processes=1, batch=2, epochs=2, length=16):
    """Returns the indices that all processes draw from the epoch of a position on, by epoch."""
    from basicsr.data.data_sampler import EnlargedSampler

    drawn = []
    for epoch in range(position.epoch, position.epoch + epochs):
        parts = []
        for rank in range(processes):
            sampler = EnlargedSampler(range(length), processes, rank)
            sampler.set_epoch(epoch)
            sampler.resume_position = position
            parts.append([int(index) for index in sampler])
        assert len({len(part) for part in parts}) == 1
        drawn.append([index for row in zip(*parts, strict=True) for index in row])
    return drawn


@pytest.mark.parametrize('processes', [1, 2, 4])
@pytest.mark.parametrize('batch', [1, 2, 3])
def test_another_batch_size_or_number_of_processes_repeats_and_skips_no_sample(workplace, batch, processes):
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3)).tolist()
    position = ResumePosition(3, 27, batch, processes, used=4, samples=16)
    interrupted, following = served(position, processes, batch)
    assert interrupted == order[4:]
    assert sorted(following) == list(range(16))


def test_the_loop_counts_enough_epochs_for_another_batch_size():
    position = ResumePosition(epoch=1, iteration=10, batch=4, used=4, samples=16)
    assert position.last_epoch(10, 16) == 2
    assert position.last_epoch(13, 16) == 2  # three iterations are left in epoch 1
    assert position.last_epoch(14, 16) == 3
    for total in (9, 16, 17):  # as BasicSR counts where nothing has changed: 8 iterations an epoch
        same = ResumePosition(epoch=1, iteration=9, batch=2, used=2, samples=16)
        assert same.last_epoch(total, 16) == max(-(-total // 8), 2)


def test_a_run_with_another_batch_size_goes_through_the_rest_of_its_epoch(workplace):
    opt = workplace.options('val', 'datasets__val', train__total_iter=3)
    opt['datasets']['train']['dataset_enlarge_ratio'] = 4  # 16 samples an epoch, of which 6 are used
    opt['logger']['save_checkpoint_freq'] = 1
    name = workplace.write(opt)
    assert workplace.basicsr('train', '-opt', name) == 0
    forced = ['--force_yml', 'datasets:train:batch_size_per_gpu=5', 'train:total_iter=6']
    assert workplace.basicsr('train', '-opt', name, '--auto_resume', *forced) == 0
    used = [torch.load(f'experiments/run/training_states/{i}.state')['data']['used'] for i in range(1, 7)]
    assert used == [2, 4, 6, 11, 16, 5]


def test_an_epoch_of_other_data_starts_again_with_a_line(workplace, caplog):
    opt = workplace.options('val', 'datasets__val', train__total_iter=3)
    opt['datasets']['train']['dataset_enlarge_ratio'] = 4
    opt['logger']['save_checkpoint_freq'] = 1
    name = workplace.write(opt)
    assert workplace.basicsr('train', '-opt', name) == 0
    forced = ['--force_yml', 'datasets:train:dataset_enlarge_ratio=5', 'train:total_iter=4']
    assert workplace.basicsr('train', '-opt', name, '--auto_resume', *forced) == 0
    line = 'datasets.train: 20 samples an epoch instead of 16; epoch 0 starts again, which repeats up to 6 samples'
    assert line in workplace.log()


def test_another_number_of_processes_is_named(run, capsys):
    run.checkpoint(5)
    path = run.states / '5.state'
    torch.save({**torch.load(path), 'processes': 2, 'own': {'random': 1}}, path)
    state = load_resume_state(run.opt)
    assert 'own' not in state
    assert 'Processes: 1 instead of 2. Samples continue where they were, but random states' in capsys.readouterr().out


def test_networks_that_a_training_state_names_must_exist(run, capsys):
    run.checkpoint(4, 'g', 'd')
    run.checkpoint(5, 'g', 'd')
    for iteration in (4, 5):
        path = run.states / f'{iteration}.state'
        torch.save({**torch.load(path), 'networks': ['g', 'd']}, path)
    (run.models / 'net_d_5.pth').unlink()
    run.opt['network_d'] = {}
    assert run.resumed() == 4
    assert 'net_d_5.pth is missing' in capsys.readouterr().out


def harm(path, rng, how):
    """Flips one bit of a file, or cuts it."""
    content = bytearray(path.read_bytes())
    place = int(rng.integers(len(content)))
    if how == 'flip':
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content[:place] if how == 'cut' else content)


@pytest.mark.parametrize('how', ['flip', 'cut'])
@pytest.mark.parametrize('file', ['5.state', 'net_g_5.pth'])
def test_auto_resume_falls_back_to_the_newest_undamaged_checkpoint(run, how, file):
    rng = np.random.default_rng(0)
    run.checkpoint(4)
    run.checkpoint(5)
    path = next(folder / file for folder in (run.states, run.models) if (folder / file).exists())
    complete = path.read_bytes()
    fell_back = 0
    for _ in range(50):
        harm(path, rng, how)
        harmed, got = path.read_bytes(), run.resumed()
        fell_back += got == 4
        if got == 5:  # padding, times and the like: nothing that is read has changed
            path.write_bytes(complete)
            expected = torch.load(path, weights_only=True)
            path.write_bytes(harmed)
            assert repr(torch.load(path, weights_only=True)) == repr(expected)
        path.write_bytes(complete)
    assert fell_back > (45 if how == 'cut' else 15)


def test_a_flipped_bit_in_a_pretrained_network_is_refused(workplace, capsys):
    name = workplace.write(workplace.options('val', 'datasets__val'))
    assert workplace.basicsr('train', '-opt', name) == 0
    path = workplace.path / 'net.pth'
    content = bytearray((workplace.path / 'experiments/run/models/net_g_4.pth').read_bytes())
    weights = torch.load('experiments/run/models/net_g_4.pth')['params']['conv_first.weight']
    place = content.index(weights.numpy().tobytes())
    content[place + 3] ^= 64
    path.write_bytes(content)
    assert not torch.equal(torch.load(path)['params']['conv_first.weight'], weights)  # torch does not notice
    opt = workplace.options('val', 'datasets__val', path__pretrain_network_g='net.pth')
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 2
    assert (
        'net.pth cannot be read as a checkpoint of plain tensors (it is damaged: '
        in capsys.readouterr().err.splitlines()[-1]
    )
