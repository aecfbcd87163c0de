"""The wheel holds the presets, and they work where nothing can be downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from skimage import data

ROOT = Path(__file__).parents[3]
NAMES = ('small', 'small-x2', 'small-x4')
OFFLINE = """
import socket, sys

class Blocked(socket.socket):
    def __init__(self, *args, **kwargs):
        raise OSError('sockets are blocked')

socket.socket = Blocked
socket.create_connection = socket.getaddrinfo = Blocked
from basicsr_plugin import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_presets_of_the_wheel_upscale_and_describe_without_network(tmp_path):
    source, site = tmp_path / 'source', tmp_path / 'site'
    source.mkdir()
    for name in ('basicsr_plugin', 'deplsr_arch', 'deplsr_data', 'deplsr_model', 'options'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'pyproject.toml', 'LICENSE', 'README.md'):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', 'wheel', '-q', '--no-index']
    subprocess.run([*pip, '--no-deps', '--no-build-isolation', '-w', str(tmp_path), str(source)], check=True)
    ZipFile(next(tmp_path.glob('*.whl'))).extractall(site)
    installed = site / 'deplsr_model/presets'
    files = {path.name for path in installed.iterdir()}
    assert {f'{name}{end}' for name in NAMES for end in ('.safetensors', '.json', '.md')} <= files
    assert 'training_photos.tsv' in files
    Image.fromarray(data.astronaut()[100:140, 150:200]).save(tmp_path / 'photo.png')
    environment = {**os.environ, 'PYTHONPATH': str(site)}

    def run(*arguments: str) -> str:
        line = [sys.executable, '-c', OFFLINE, *arguments]
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    run('upscale', 'photo.png', '-o', 'large', '-m', 'small-x4')
    assert np.asarray(Image.open(tmp_path / 'large/photo.png')).shape == (160, 200, 3)
    assert run('describe', 'photo.png').startswith('blur')
    assert str(installed / 'small-x2.md') in run('upscale', '--info', '-m', 'small-x2')
