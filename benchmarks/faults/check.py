"""How long does `basicsr train` take until its first folder is made: start-up, and the check of the option file?

    python -m benchmarks.faults check                          # options/train_deplsr_x4.yml
    python -m benchmarks.faults check --before ../old          # compared with another checkout

The files that the option file names are made, small. Each run is a process of its own; both checkouts take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from basicsr_plugin.parse_options import read_yaml
from benchmarks.faults.tiny import OPTIONS

_IMAGES, _SIDE = 20, 512
_LIMIT = 1.0  # seconds more than before
_RUN = """
import os, sys, time
class Stop(BaseException): pass
make = os.mkdir
def stop(path, *arguments, **options):
    if 'experiments' in os.fspath(path): raise Stop
    make(path, *arguments, **options)
os.mkdir = stop
from basicsr_plugin import cli
try:
    print('status', cli.main(sys.argv[1:]))
except Stop:
    print('seconds', time.process_time(), time.perf_counter() - started)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add('--file', default='train_deplsr_x4.yml', help='shipped option file for training (default %(default)s)')
    add('--repeats', type=int, default=5, metavar='N', help='processes of each checkout (default %(default)s)')
    add('--before', type=Path, metavar='FOLDER', help='checkout of an earlier version')


def run(args: argparse.Namespace) -> int:
    """Prints a table; returns 1 if the check takes more than a second longer than before."""
    trees = {'before': args.before, 'now': OPTIONS.parent} if args.before else {'now': OPTIONS.parent}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write_inputs(read_yaml(str(OPTIONS / args.file)), place)
        for _ in range(args.repeats + 1):  # the first one fills the caches of the disk
            for name, tree in trees.items():
                found[name].append(_seconds(place, tree.resolve(), args.file))
    print(f'| {args.file} | CPU seconds | seconds |\n| --- | ---: | ---: |')
    cpu = {}
    for name, seconds in found.items():
        cpu[name], wall = (statistics.median(column) for column in zip(*seconds[1:], strict=True))
        print(f'| {name} | {cpu[name]:.2f} | {wall:.2f} |')
    return int(cpu['now'] - cpu.get('before', cpu['now']) > _LIMIT)


def _seconds(place: Path, tree: Path, file: str) -> tuple[float, float]:
    """Runs the command up to its first folder; returns seconds of the CPU and of the clock."""
    code = f'import time\nstarted = time.perf_counter()\n{_RUN}'
    environment = {**os.environ, 'PYTHONPATH': str(tree), 'OMP_NUM_THREADS': '1'}
    line = [sys.executable, '-c', code, 'train', '-opt', str(tree / 'options' / file), '--force_yml', 'num_gpu=0']
    done = subprocess.run(line, cwd=place, env=environment, capture_output=True, text=True, check=False)
    last = done.stdout.split('seconds ')[-1].split()
    if 'seconds ' not in done.stdout:
        raise RuntimeError(f'{tree}: {done.stdout[-1000:]}{done.stderr[-2000:]}')
    return float(last[0]), float(last[1])


def _write_inputs(opt: dict[str, Any], place: Path) -> None:
    """Writes images where an option file expects them, and a table of titles in place of lists and of weights."""
    scale = int(opt['scale'])
    for key, value in _paths(opt):
        path = place / value
        if key.startswith('dataroot'):
            path.mkdir(parents=True, exist_ok=True)
            side = _SIDE // scale if key == 'dataroot_lq' else _SIDE
            for number in range(_IMAGES):
                cv2.imwrite(str(path / f'{number}.png'), np.zeros((side, side, 3), np.uint8))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('filepath\ttitle\n' + ''.join(f'{number}.png\ta photo\n' for number in range(_IMAGES)))


def _paths(opt: dict[str, Any]) -> Iterator[tuple[str, str]]:
    sections = [opt['path'], *opt['datasets'].values()]
    for section in sections:
        for key, value in section.items():
            if isinstance(value, str) and key.startswith(('dataroot', 'meta_info', 'pretrain_network')):
                yield key, value
