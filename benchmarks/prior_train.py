"""Trains the runs of benchmarks/prior.py, two at a time, each from where it was cut off."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Condition
from typing import Any

import cv2
import numpy as np
import yaml
from photo_hashes import hash_folder, same_photos
from tqdm import tqdm

_TILE = 320
#: Folders of tiles, and the sizes at which each has every photo. A photo at the size at which it was taken is seldom
#: sharp to the pixel, and on one that is not, nobody can read a small blur (docs/prior.md, Levers).
SIZES = {'train': (0.7, 0.5), 'train_full': (1.0,)}
_SMALLEST = 256


def prepare(photos: Path, work: Path) -> None:
    """Cuts the training photos into uncompressed tiles: reading whole JPEGs would take longer than a step."""
    if (work / 'train.done').exists():
        return
    pairs = same_photos(hash_folder(photos / 'train'), hash_folder(photos / 'heldout'))
    if pairs:
        sys.exit(
            f'--photos: expected no held-out photo in train/, got {pairs[0][0]}, which is {pairs[0][1]}; remove it'
        )
    for folder in SIZES:
        (work / folder).mkdir(parents=True, exist_ok=True)
    for path in tqdm(sorted((photos / 'train').iterdir()), 'cutting tiles', leave=False):
        picture = cv2.imread(str(path))
        for folder, sizes in SIZES.items() if picture is not None else ():
            for size in sizes:
                _write_tiles(picture, size, work / folder / path.stem)
    (work / 'train.done').touch()


def _write_tiles(picture: np.ndarray, size: float, stem: Path) -> None:
    """Writes the tiles of a photo (h, w, 3) shrunk to ``size``, but no side of it below a training crop."""
    shrink = min(1.0, max(size, _SMALLEST / min(picture.shape[:2])))
    if shrink < 1:
        picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    for row, top in enumerate(_starts(picture.shape[0])):
        for column, left in enumerate(_starts(picture.shape[1])):
            tile = picture[top : top + _TILE, left : left + _TILE]
            cv2.imwrite(f'{stem}_{size * 100:.0f}_{row}{column}.bmp', tile)


def _starts(length: int) -> list[int]:
    count = math.ceil(length / _TILE)
    return [round(i * max(length - _TILE, 0) / max(count - 1, 1)) for i in range(count)]


def run_all(runs: dict[str, tuple[dict[str, Any], str | None]], work: Path, jobs: int, deadline: float) -> None:
    """Trains all runs in order; one waits for the run whose weights it needs, none starts after the deadline.

    Args:
        runs: Options and the run that must be done before, by name.
        work: Folder to work in.
        jobs: Runs at a time, each with one thread.
        deadline: As time.time(); what runs then is stopped and goes on with the next call.
    """
    changed = Condition()

    def one(name: str) -> None:
        opt, needs = runs[name]
        with changed:
            while needs in runs and not is_done(work, needs):
                if time.time() > deadline:
                    return
                changed.wait(5)
        if time.time() < deadline:
            train(opt, work, deadline)
            with changed:
                changed.notify_all()

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, [name for name in runs if not is_done(work, name)]))


def is_done(work: Path, name: str | None) -> bool:
    """Whether the last checkpoint of a run is there."""
    return bool(list((work / 'experiments' / str(name) / 'models').glob('net_*_latest.pth')))


def train(opt: dict[str, Any], work: Path, deadline: float) -> None:
    """Runs `basicsr train` until it is done or the time is up."""
    name = opt['name']
    (work / f'{name}.yml').write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    command = [sys.executable, '-m', 'basicsr_plugin.cli', 'train', '-opt', f'{name}.yml', '--auto_resume']
    here = os.pathsep.join([str(Path(__file__).resolve().parent), os.environ.get('PYTHONPATH', '')])
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE', 'PYTHONPATH': here}
    start, made_by = time.time(), commit()
    with (work / f'{name}.log').open('a', encoding='utf-8') as log:
        process = subprocess.Popen(command, cwd=work, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            code = process.wait(max(1.0, deadline - time.time()))
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
            code = None
    minutes = (time.time() - start) / 60
    with (work / 'hours.tsv').open('a', encoding='utf-8') as hours:
        hours.write(f'{name}\t{minutes:.2f}\t{made_by}\n')
    said = {0: 'done', None: 'stopped; the same command goes on'}.get(code, f'FAILED, see {name}.log')
    print(f'{name}: {said} after {minutes:.1f} minutes', flush=True)


def commit() -> str:
    """The commit that is worked with, with a ``+`` behind where files differ from it."""
    command = ['git', 'describe', '--always', '--dirty=+', '--exclude=*']
    return subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()


def budget(minutes: float | None) -> float:
    """The deadline of a call."""
    return time.time() + 60 * minutes if minutes else math.inf
