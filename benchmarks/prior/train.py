"""Trains the runs, several at a time; an interrupted run is resumed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from tqdm import tqdm

from benchmarks.jobs import run_all, run_process
from benchmarks.prior.hashes import hash_folder, same_photos
from benchmarks.prior.runs import CONTEXT, SCALE
from deplsr_arch.grid import starts

_TILE = 320
#: Folders of tiles, and the sizes of each photo in them. At its own size a photo is seldom sharp to the pixel, and on
#: one that is not, a small blur cannot be estimated (docs/notebook.md, ``full_size``).
SIZES = {'train': (0.7, 0.5), 'train_full': (1.0,)}


def prepare(photos: Path, work: Path) -> None:
    """Cuts the training photos into uncompressed tiles: decoding complete JPEGs would take longer than a step."""
    done, made = work / 'tiles.json', json.dumps({'tile': _TILE, **SIZES})
    if done.exists() and done.read_text(encoding='utf-8') == made:
        return
    if done.exists():
        sys.exit(f'--work: expected tiles of the sizes {made}, got other sizes in {work}; name another folder')
    pairs = same_photos(hash_folder(photos / 'train'), hash_folder(photos / 'heldout'))
    if pairs:
        sys.exit(
            f'--photos: expected no held-out photo in train/, got {pairs[0][0]}, the same as {pairs[0][1]}; remove it'
        )
    for folder in SIZES:
        (work / folder).mkdir(parents=True, exist_ok=True)
    for path in tqdm(sorted((photos / 'train').iterdir()), 'cutting tiles', leave=False):
        image = cv2.imread(str(path))
        for folder, sizes in SIZES.items() if image is not None else ():
            _write_tiles(image, sizes, work / folder / path.stem)
    done.write_text(made, encoding='utf-8')


def _write_tiles(image: np.ndarray, sizes: tuple[float, ...], stem: Path) -> None:
    """Writes the tiles of a photo (h, w, 3) at all sizes; none is made smaller than a training crop."""
    for factor in {min(1.0, max(size, CONTEXT * SCALE / min(image.shape[:2]))) for size in sizes}:
        shrunk = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        for row, top in enumerate(starts(shrunk.shape[0], _TILE)):
            for column, left in enumerate(starts(shrunk.shape[1], _TILE)):
                tile = shrunk[top : top + _TILE, left : left + _TILE]
                cv2.imwrite(f'{stem}_{100 * factor:.0f}_{row}{column}.bmp', tile)


def train_all(runs: dict[str, tuple[dict[str, Any], str | None]], work: Path, jobs: int, deadline: float) -> None:
    """Trains all runs in order; a run waits for the run whose weights it needs, none starts after the deadline.

    Args:
        runs: By name: the options, and the name of the run whose weights are needed.
        work: Folder to work in.
        jobs: Runs at a time, each with one thread.
        deadline: See :func:`deadline_after`; runs that are not finished then are stopped; the next call resumes them.

    Raises:
        SystemExit: A run failed, needs one that is neither trained nor requested, or was trained for other steps.
    """
    for name, (opt, needs) in runs.items():
        requested, trained = opt['train']['total_iter'], steps_of(work, name)
        if is_done(work, name) and trained != requested:
            sys.exit(
                f'{name}: expected a training of {requested} steps, got one of {trained} in {work}; name another folder'
            )
        if needs and needs not in runs and not is_done(work, needs):
            sys.exit(f'{name}: expected the weights of {needs}, got none in {work}; add {needs} to --only')
    every = dict.fromkeys([*(needs for _, needs in runs.values() if needs in runs), *runs])
    needed = {name: [needs] if (needs := runs[name][1]) else [] for name in every}
    failed = run_all(needed, partial(is_done, work), lambda name: train(runs[name][0], work, deadline), jobs, deadline)
    if failed:
        sys.exit(f'failed, or needs a run that failed: {", ".join(failed)}; see the logs in {work}')


def is_done(work: Path, name: str | None) -> bool:
    """Whether a run has written its last checkpoint."""
    return bool(list((work / 'experiments' / str(name) / 'models').glob('net_*_latest.pth')))


def steps_of(work: Path, name: str) -> int:
    """For how many steps a run was started; 0 if it was not."""
    path = work / f'{name}.yml'
    return yaml.safe_load(path.read_text(encoding='utf-8'))['train']['total_iter'] if path.exists() else 0


def train(opt: dict[str, Any], work: Path, deadline: float) -> bool:
    """Runs `basicsr train` until it is done or the time is up; False if it fails."""
    name = opt['name']
    (work / f'{name}.yml').write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    start, made_by = time.time(), commit()
    command = ['-m', 'basicsr_plugin.cli', 'train', '-opt', f'{name}.yml', '--auto_resume']
    good = run_process(name, command, work / f'{name}.log', deadline, work)
    with (work / 'hours.tsv').open('a', encoding='utf-8') as hours:
        hours.write(f'{name}\t{(time.time() - start) / 60:.2f}\t{made_by}\t{machine()}\n')
    return good


def commit() -> str:
    """The commit that is checked out, with ``+`` appended where files differ from it; empty outside of git."""
    command = ['git', 'describe', '--always', '--dirty=+', '--exclude=*']
    if shutil.which('git') is None:
        return ''
    described = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return described.stdout.strip()


def machine() -> str:
    """Returns the names of the CPU and the GPU."""
    info = Path('/proc/cpuinfo')
    models = re.findall(r'model name\s*: (.*)', info.read_text(encoding='utf-8')) if info.exists() else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'
    return f'{os.cpu_count()} CPU cores ({models[0] if models else "unknown"}), {gpu}'
