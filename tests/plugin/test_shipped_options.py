from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from basicsr_plugin import __version__, cli, shipped_options
from basicsr_plugin.shipped_options import resolve_option_file

ROOT = Path(__file__).parents[2]
SCHEMA = '# yaml-language-server: $schema='


@pytest.fixture
def shipped(workplace, monkeypatch):
    """A package with option files, and another without; neither can be imported without an error."""
    root = workplace.path / 'site'
    folder = root / 'nice_options'
    (folder / 'demo').mkdir(parents=True)
    (folder / '__init__.py').write_text('raise RuntimeError("imported")')
    (folder / 'train.yml').write_text(f'{SCHEMA}schema/X.json\n# Trains a toy.\n#   more\nname: toy\n')
    (folder / 'demo' / 'train.yml').write_text('# Trains in seconds.\nname: demo\n')
    (folder / 'bare.yml').write_text('name: bare\n# not the first\n')
    monkeypatch.setattr(sys, 'path', [*sys.path, str(root)])
    points = [EntryPoint('nice', 'nice_options', shipped_options.GROUP)]
    monkeypatch.setattr(shipped_options, 'entry_points', lambda group: points)
    return folder, points


def test_shipped_files_are_listed_with_their_first_comment_line(shipped, capsys):
    assert cli.main(['options']) == 0
    assert capsys.readouterr().out.splitlines() == [
        'bare.yml',
        'train.yml       Trains a toy.',
        'demo/train.yml  Trains in seconds.',
    ]


def test_a_broken_folder_is_skipped_and_the_first_of_two_equal_names_counts(shipped, workplace, capsys):
    folder, points = shipped
    other = folder.with_name('other_options')
    other.mkdir()
    (other / 'train.yml').write_text('# Another.\n')
    points += [EntryPoint('missing', 'not_there', ''), EntryPoint('other', 'other_options', '')]
    assert cli.main(['options']) == 0
    out, err = capsys.readouterr()
    assert err == "basicsr: warning: option files of 'missing' are skipped: no package named 'not_there'\n"
    assert 'Trains a toy.' in out
    assert 'Another' not in out


def test_a_copy_is_written_once_and_names_the_schema_of_the_package(shipped, workplace, capsys):
    folder, _ = shipped
    assert cli.main(['options', 'train.yml']) == 0
    copy = workplace.path / 'train.yml'
    assert copy.read_text() == f'{SCHEMA}{folder}/schema/X.json\n# Trains a toy.\n#   more\nname: toy\n'
    copy.write_text('mine')
    assert cli.main(['options', 'train']) == 2
    assert 'exists already; add --force' in capsys.readouterr().err
    assert copy.read_text() == 'mine'
    assert cli.main(['options', 'train', '--force']) == 0
    assert copy.read_text() != 'mine'
    assert cli.main(['options', 'demo/train.yml', '--output', 'other.yml']) == 0
    assert (workplace.path / 'other.yml').read_text() == (folder / 'demo' / 'train.yml').read_text()


def test_an_unknown_name_and_a_folder_that_does_not_exist_are_one_line(shipped, capsys):
    assert cli.main(['options', 'trian.yml']) == 2
    assert cli.main(['options', 'train.yml', '-o', 'nowhere/train.yml']) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "basicsr: error: no shipped option file is called 'trian.yml'; did you mean 'train.yml'?"
    assert second == 'basicsr: error: nowhere/train.yml: cannot be written: No such file or directory'


def test_training_takes_a_shipped_file_if_the_working_directory_has_none(shipped, workplace, capsys):
    folder, _ = shipped
    opt = workplace.options(train__total_iter=1)
    (folder / 'toy.yml').write_text(yaml.safe_dump(opt))
    assert workplace.basicsr('train', '-opt', 'toy.yml') == 0
    line = f'toy.yml is not in the working directory; using the shipped file {folder / "toy.yml"}'
    assert line in capsys.readouterr().err.splitlines()
    assert (workplace.path / 'experiments/run/toy.yml').is_file()
    workplace.write({**opt, 'name': 'local'}, 'toy.yml')
    assert workplace.basicsr('train', '-opt', 'toy.yml') == 0
    assert 'using the shipped file' not in capsys.readouterr().err
    assert (workplace.path / 'experiments/local').is_dir()


def test_a_name_may_lack_its_suffix_and_may_begin_with_the_folder_of_a_repository(shipped):
    folder, _ = shipped
    for name in ('options/demo/train.yml', 'demo/train.yml', 'demo/train'):
        assert resolve_option_file(name) == str(folder / 'demo' / 'train.yml')
    assert resolve_option_file('nowhere.yml') == 'nowhere.yml'


def test_the_wheel_holds_the_option_files_and_the_command_finds_them(tmp_path):
    source = tmp_path / 'source'
    source.mkdir()
    for name in ('basicsr_plugin', 'deplsr_arch', 'deplsr_data', 'deplsr_model', 'options'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'pyproject.toml', 'LICENSE', 'README.md'):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    build = [*pip, 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', str(tmp_path), str(source)]
    subprocess.run(build, check=True)
    wheel = tmp_path / f'deplsr-{__version__}-py3-none-any.whl'
    files = {path.relative_to(ROOT / 'options').as_posix() for path in (ROOT / 'options').rglob('*.yml')}
    names = ZipFile(wheel).namelist()
    assert {f'deplsr_options/{name}' for name in files} <= set(names)
    assert 'basicsr_plugin/fixes/training.py' in names
    assert not [name for name in names if name.startswith(('tests', 'benchmarks', 'options'))]
    ZipFile(wheel).extractall(tmp_path / 'site')
    run = subprocess.run(
        [sys.executable, '-m', 'basicsr_plugin.cli', 'options'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(tmp_path / 'site')},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.split()[0] for line in run.stdout.splitlines()} == files
    assert run.stderr == ''
