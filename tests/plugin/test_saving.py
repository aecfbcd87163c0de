"""What training does when the disk is full, and which checkpoints it keeps."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from basicsr_plugin import atomic, run_files

LIMITED = (
    'import resource, sys\n'
    'from basicsr_plugin import atomic, cli\n'
    'atomic.BACK_OFF = (0.0,)\n'
    'resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))\n'
    'sys.exit(cli.main(sys.argv[2:]))\n'
)


@pytest.fixture
def full_disk(monkeypatch):
    """Returns a function: from then on no file whose name contains a text can be written."""
    monkeypatch.setattr(atomic, 'BACK_OFF', (0.0,))
    replace = os.replace

    def fill(text):
        def fail(source, target):
            if text in str(target):
                raise OSError(28, 'No space left on device')
            replace(source, target)

        monkeypatch.setattr(os, 'replace', fail)

    return fill


def error_of(capsys):
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('file', ['net_g_4.pth', '4.state'])
def test_training_on_a_full_disk_ends_with_one_line_and_keeps_the_last_good_checkpoint(
    workplace, full_disk, capsys, file
):
    full_disk(file)
    assert workplace.basicsr('train', '-opt', workplace.write(workplace.options())) == 2
    line = error_of(capsys)
    assert line.startswith('basicsr: error: cannot write ')
    assert f"{file}': No space left on device (disk /" in line
    assert line.endswith('the latest checkpoint is that of iteration 2, resume with --auto_resume')
    run = workplace.path / 'experiments/run'
    for path in (run / 'models/net_g_2.pth', run / 'training_states/2.state'):
        torch.load(path, weights_only=True)
    assert not list(run.rglob('*.part'))


def test_training_that_has_saved_nothing_does_not_name_auto_resume(workplace, full_disk, capsys):
    full_disk('net_g_2.pth')
    assert workplace.basicsr('train', '-opt', workplace.write(workplace.options())) == 2
    assert error_of(capsys).endswith('nothing has been saved, start the run again')


def test_training_beyond_a_file_size_limit_ends_without_a_traceback(workplace):
    name = workplace.write(workplace.options())
    line = [sys.executable, '-c', LIMITED, '4000', 'train', '-opt', name]
    run = subprocess.run(line, cwd=workplace.path, capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert 'File too large' in run.stderr.splitlines()[-1]
    assert 'Traceback' not in run.stdout + run.stderr


def test_a_disk_without_space_for_two_checkpoints_is_refused_before_the_first_iteration(workplace, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(run_files, 'free_bytes', lambda folder: asked.append(folder) or 10_000)
    assert workplace.basicsr('train', '-opt', workplace.write(workplace.options())) == 2
    assert 'for two checkpoints on the disk of ' in error_of(capsys)
    assert asked == [str(workplace.path / 'experiments/run/models')]
    assert not list((workplace.path / 'experiments/run/models').iterdir())


def test_a_checkpoint_is_no_larger_than_the_space_that_is_checked(workplace, monkeypatch):
    sizes = []
    measure = run_files._checkpoint_bytes
    monkeypatch.setattr(run_files, '_checkpoint_bytes', lambda model: sizes.append(measure(model)) or sizes[-1])
    opt = workplace.options(network_g__num_feat=64)
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 0
    run = workplace.path / 'experiments/run'
    written = sum(path.stat().st_size for path in (run / 'models/net_g_2.pth', run / 'training_states/2.state'))
    assert written == pytest.approx(sizes[0], rel=0.05)


def test_only_the_newest_checkpoints_are_kept(workplace):
    opt = workplace.options(train__total_iter=8, logger__keep_last_n=2)
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 0
    run = workplace.path / 'experiments/run'
    assert sorted(os.listdir(run / 'training_states')) == ['6.state', '8.state']
    assert sorted(os.listdir(run / 'models')) == ['net_g_6.pth', 'net_g_8.pth', 'net_g_latest.pth']


@pytest.mark.parametrize('value', [1, 0, True, 'two'])
def test_fewer_than_two_checkpoints_are_refused(workplace, capsys, value):
    opt = workplace.options(logger__keep_last_n=value)
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 2
    assert 'logger.keep_last_n: expected a whole number from 2, got ' in error_of(capsys)


def test_what_a_killed_process_left_half_written_is_removed_at_the_next_checkpoint(workplace):
    name = workplace.write(workplace.options())
    assert workplace.basicsr('train', '-opt', name) == 0
    left = workplace.path / 'experiments/run/models/net_g_5.pth.part'
    left.write_bytes(b'half')
    assert workplace.basicsr('train', '-opt', name, '--auto_resume', '--force_yml', 'train:total_iter=6') == 0
    assert not left.exists()


def test_an_output_image_on_a_full_disk_ends_the_validation_with_one_line(workplace, full_disk, capsys):
    full_disk('.png')
    opt = workplace.options(val__save_img=True)
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 2
    assert ".png': No space left on device (disk /" in error_of(capsys)


def test_runs_of_one_name_within_a_second_are_all_archived(workplace, monkeypatch):
    from basicsr.utils import misc

    monkeypatch.setattr(misc, 'get_time_str', lambda: '20260101_000000')
    name = workplace.write(workplace.options('val', 'datasets__val', train__total_iter=2))
    for _ in range(3):
        assert workplace.basicsr('train', '-opt', name) == 0
    found = sorted(os.listdir(workplace.path / 'experiments'))
    assert found == ['run', 'run_archived_20260101_000000', 'run_archived_20260101_000000_2']
