from __future__ import annotations

import os

import pytest
from PIL import Image
from skimage import data

from basicsr_plugin import cli


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two photos in ``photos``."""
    monkeypatch.chdir(tmp_path)
    for name in ('a.png', 'sub/ä b.png'):
        path = tmp_path / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.astronaut()[:40, :40]).save(path)
    return tmp_path


def synthesize(output, *arguments):
    return cli.main(['synthesize', '--input', 'photos', '--output', str(output), '--scale', '4', *arguments])


def error_of(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith('basicsr: error: ')
    return lines[-1].removeprefix('basicsr: error: ')


@pytest.mark.parametrize(
    ('arguments', 'line'),
    [
        (['--scale', '4', '--gt-size', '30'], '--gt-size: expected a multiple of scale 4, got 30'),
        (['-opt', 'train_deplsr_x4.yml', '--gt-size', '30'], '--gt-size: expected a multiple of scale 4, got 30'),
        ([], '--scale: expected a whole number from 1, got none; name it, such as --scale 4'),
        (['--scale', '4', '--input', 'nowhere'], "--input: expected a folder, got 'nowhere', which does not exist"),
        (['--scale', '4', '--meta-info', 'no.txt'], "--meta-info: expected a file, got 'no.txt', which does not exist"),
        (['--scale', '4', '--recipe', 'no.yml'], '-opt: expected an option file, got no.yml: No such file'),
        (['--scale', '4', '--recipe', 'typo.yml'], "--recipe: unknown key 'jpg_range'; did you mean 'jpeg_range'?"),
        (['-opt', 'typo.yml'], "-opt: expected a data set with a recipe, got none in 'typo.yml'"),
        (['--scale', '4', '--output', 'photos/set'], '--output: expected a folder outside of --input'),
        (['--scale', '4', '--output', 'busy'], "--output: expected an empty or a new folder, got 'busy'"),
        (['--scale', '4', '--format', 'lmdb'], "--format lmdb: expected ASCII names up to 480 long, got 'sub/ä b'"),
        (['--scale', '4', '--no-gt', '--recipe', 'usm.yml'], '--no-gt: expected a recipe without gt_usm'),
        (['--scale', '4', '--recipe', 'opt.yml'], "--recipe: expected keys of a recipe, got an option file, 'opt.yml'"),
        (['-opt', 'levels.yml'], "levels: expected one of effective, nominal, got 'efective'; correct -opt"),
        (['-opt', 'opt.yml'], "plugins: cannot load plug-in 'no_such_plugin'"),
        (['--scale', '4', '--plugin', 'a.py'], "--plugin: cannot load plug-in 'a.py'"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(place, capsys, arguments, line):
    (place / 'typo.yml').write_text('jpg_range: [30, 95]\n')
    (place / 'usm.yml').write_text('gt_usm: true\n')
    (place / 'opt.yml').write_text('plugins: [no_such_plugin]\ndatasets: {train: {recipe: {}}}\n')
    (place / 'levels.yml').write_text('scale: 4\nlevels: efective\ndatasets: {train: {recipe: {}}}\n')
    (place / 'busy').mkdir()
    (place / 'busy' / 'thesis.txt').write_text('x')
    assert cli.main(['synthesize', '--input', 'photos', '--output', 'set', *arguments]) == 2
    assert error_of(capsys).startswith(line)


@pytest.mark.parametrize('arguments', [['--shard', '3/2'], ['--shard', '1'], ['--draws', '0'], ['--seed', '-1']])
def test_a_number_out_of_range_is_refused(place, capsys, arguments):
    with pytest.raises(SystemExit) as end:
        synthesize('set', *arguments)
    assert end.value.code == 2
    assert 'expected' in capsys.readouterr().err


def test_a_set_is_resumed_only_with_the_same_settings(place, capsys):
    assert synthesize('set') == 0
    assert synthesize('set', '--seed', '2') == 2
    assert error_of(capsys) == (
        "--output: expected seed 0, with which 'set' was begun, got 2; use that value or another folder"
    )
    assert synthesize('set', '--levels', 'nominal') == 2
    assert error_of(capsys) == (
        "--output: expected levels effective, with which 'set' was begun, got nominal; use that value or another folder"
    )


def test_a_full_disk_is_one_clear_line(place, capsys, monkeypatch):
    monkeypatch.setattr('basicsr_plugin.atomic.BACK_OFF', (0.0, 0.0))

    def full(source, target):
        if target.endswith('.png'):
            raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', full)
    (place / 'set').mkdir()
    (place / 'set' / 'settings.json').write_text('{}')
    monkeypatch.setattr('deplsr_data.commands.synthesize.begin', lambda *_: os.makedirs('set/parts'))
    assert synthesize('set') == 2
    error = error_of(capsys)
    assert error.startswith("cannot write 'set/gt/a.png': No space left on device (disk /")
    assert error.endswith('correct this, then run the same command again to resume')


def test_a_set_that_another_process_writes_is_refused_in_one_line(place, capsys):
    import subprocess
    import sys

    code = "from basicsr_plugin.lock import hold_folder; hold_folder('set', ''); print(flush=True); input()"
    with subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert synthesize('set') == 2
        other.communicate(b'end')
    assert error_of(capsys).startswith(f"--output: 'set' is in use by process {other.pid} on ")
    assert synthesize('set') == 0
