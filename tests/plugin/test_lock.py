"""Two processes never write one folder, and a dead one does not keep it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from basicsr_plugin.errors import UserError
from basicsr_plugin.lock import hold_folder, locked_folder, release_folders

HOLDER = """
import os, sys, time
from basicsr_plugin.lock import hold_folder
hold_folder(sys.argv[1], '--output', shared=len(sys.argv) > 2)
ready, started = os.pipe()
if not os.fork():
    os.write(started, b'.')
    time.sleep(60)  # a worker that outlives it
    os._exit(0)
os.read(ready, 1)
print('held', flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Returns a function that starts a process that holds a folder."""
    started = []

    def start(*arguments):
        line = [sys.executable, '-c', HOLDER, str(tmp_path / 'set'), *arguments]
        started.append(subprocess.Popen(line, stdout=subprocess.PIPE, text=True, start_new_session=True))
        assert started[-1].stdout.readline() == 'held\n'
        return started[-1]

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(autouse=True)
def released():
    yield
    release_folders()


def test_a_second_process_is_refused_in_a_line_that_names_the_first(holder, tmp_path):
    process = holder()
    line = rf"^--output: '.*set' is in use by process {process.pid} on \S+, for 0 min "
    with pytest.raises(UserError, match=line) as error:
        hold_folder(tmp_path / 'set', '--output')
    assert '\n' not in str(error.value)


def test_the_lock_of_a_killed_process_is_free_at_once_although_its_worker_lives(holder, tmp_path):
    process = holder()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    hold_folder(tmp_path / 'set', '--output')


def test_parts_of_a_folder_share_it_but_not_with_a_writer_of_all_of_it(holder, tmp_path):
    process = holder('shared')
    with locked_folder(tmp_path / 'set', '--output', '1-of-4'):
        pass
    with pytest.raises(UserError, match='in use'):
        hold_folder(tmp_path / 'set', '--output')
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with locked_folder(tmp_path / 'set', '--output'):
        pass
    assert not list(tmp_path.glob('*.lock'))


def test_one_process_may_hold_a_folder_again(tmp_path):
    hold_folder(tmp_path / 'set', '--output')
    hold_folder(tmp_path / 'set', '--output')


def test_a_second_training_of_one_name_is_refused_and_the_first_goes_through(workplace, capsys):
    opt = workplace.options('val', 'datasets__val', train__total_iter=10**6)
    name = workplace.write(opt)
    states = workplace.path / 'experiments/run/training_states'
    arguments = [sys.executable, '-m', 'basicsr_plugin.cli', 'train', '-opt', name]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as training:
        end = time.monotonic() + 100
        while not list(states.glob('*.state')) and time.monotonic() < end and training.poll() is None:
            time.sleep(0.05)
        for more in ([], ['--auto_resume']):
            assert workplace.basicsr('train', '-opt', name, *more) == 2
            line = capsys.readouterr().err.splitlines()[-1]
            assert f'is in use by process {training.pid} on ' in line
        assert training.poll() is None
        assert states.exists()
        training.kill()
    forced = ['--force_yml', 'train:total_iter=1']
    assert workplace.basicsr('train', '-opt', name, '--auto_resume', *forced) == 0
    assert not list(workplace.path.glob('experiments/*.lock'))


def test_a_test_and_a_table_of_captions_are_locked_too(holder, workplace, capsys):
    process = holder()
    opt = workplace.options('train', 'datasets__train', 'logger', name='set', path__results_root='.')
    for key in ('pretrain_network_g', 'resume_state'):
        opt['path'].pop(key)
    assert workplace.basicsr('test', '-opt', workplace.write(opt)) == 2
    assert f'is in use by process {process.pid} on ' in capsys.readouterr().err.splitlines()[-1]
    assert workplace.basicsr('caption', '--input', 'gt', '--output', 'set', '--template', 'a photo') == 2
    assert f'is in use by process {process.pid} on ' in capsys.readouterr().err.splitlines()[-1]
    assert not (workplace.path / 'set').exists()
