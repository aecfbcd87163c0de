"""Pairs made ahead: on a CPU, degrading takes longer than a step of a small network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch.utils.data import default_collate
from tqdm import tqdm

from benchmarks.gain.settings import CONTEXT, SCALE
from benchmarks.jobs import fork_pool
from deplsr_data.degradation.apply_batch import apply_batch
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.packing import pack
from deplsr_data.degradation.recipe_table import Recipe
from deplsr_data.degradation.recipes import draw, read_recipe, rounds_of
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.files.crops import centre_crop, draw_crop, draw_shrunk_side
from deplsr_data.ops.resize import resize

_BATCH = 24
_SHRINK = (0.5, 1.0)  # photos are seldom sharp to the pixel at their own size
EFFECTIVE, NOMINAL = level_table('effective'), level_table('nominal')


class Pool(NamedTuple):
    """Memory-mapped pairs: lq (N, 3, h, w) and gt (M, 3, 4h, 4w) uint8, levels (N, 8) and nominal (N, 5) float32."""

    lq: np.ndarray
    gt: np.ndarray
    levels: np.ndarray
    nominal: np.ndarray
    photo: np.ndarray


class Source(NamedTuple):
    """Where clean crops come from.

    Attributes:
        photos: (h, w, 3) uint8 each.
        draws: 0: random crops of random photos; otherwise the centre of each photo, so many times.
    """

    photos: list[np.ndarray]
    draws: int = 0


class _Task(NamedTuple):
    """A pool that is made."""

    pool: Pool
    recipe: Recipe
    source: Source
    seed: int
    scale: int
    finished: np.ndarray


def make_pool(
    folder: Path,
    block: dict[str, Any],
    source: Source,
    count: int,
    with_gt: int,
    seed: int,
    scale: int = SCALE,
    workers: int = 1,
) -> None:
    """Degrades ``count`` crops by a recipe; the first ``with_gt`` are kept with their GT. Resumed by batches.

    Args:
        folder: Of the pool.
        block: The recipe, as in an option file.
        source: Where crops come from.
        count: Crops.
        with_gt: So many of them have their GT.
        seed: Of crops and degradations.
        scale: Scale.
        workers: Processes; the result is the same with any number of them.
    """
    if (folder / 'done').exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    side = CONTEXT * scale
    shapes = {
        'lq': ((count, 3, CONTEXT, CONTEXT), np.uint8), 'gt': ((with_gt, 3, side, side), np.uint8),
        'levels': ((count, len(EFFECTIVE.types)), np.float32), 'nominal': ((count, len(NOMINAL.types)), np.float32),
        'photo': ((count,), np.int32), 'finished': ((-(-count // _BATCH),), np.uint8),
    }  # fmt: skip
    mode = 'r+' if (folder / 'finished.npy').exists() else 'w+'
    arrays = [open_memmap(folder / f'{name}.npy', mode, dtype, shape) for name, (shape, dtype) in shapes.items()]
    task = _Task(Pool(*arrays[:-1]), read_recipe(dict(block), 'recipe'), source, seed, scale, arrays[-1])
    left = np.flatnonzero(task.finished == 0).tolist()
    with fork_pool(workers, _set_task, (task,)) as run:
        for _ in tqdm(run(_fill, left), folder.name, len(left), leave=False):
            pass
    for array in arrays:
        array.flush()
    (folder / 'done').touch()


_task: list[_Task] = []  # of this process


def _set_task(task: _Task) -> None:
    _task[:] = [task]


def _fill(number: int) -> None:
    """Makes a batch of a pool."""
    pool, recipe, source, seed, scale, finished = _task[0]
    side, first = CONTEXT * scale, number * _BATCH
    index = range(first, min(first + _BATCH, len(pool.lq)))
    photos, crops = zip(*(_clean(source, seed, i, scale) for i in index), strict=True)
    records = [draw(recipe, scale, rng_for(seed, 0, i, 0, 'degradation'), (side, side)) for i in index]
    packed = [pack(record, (side, side), recipe.largest_kernel, rounds_of(recipe)) for record in records]
    gt = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    rows = slice(index.start, index.stop)
    pool.lq[rows] = apply_batch(default_collate(packed), gt).mul(255).round().byte().numpy()
    kept = max(0, min(len(pool.gt) - first, len(index)))
    pool.gt[first : first + kept] = gt[:kept].mul(255).round().byte().numpy()
    for row, record, crop in zip(index, records, crops, strict=True):
        pool.levels[row] = EFFECTIVE.levels(record, EFFECTIVE.statistics(crop))
        pool.nominal[row] = NOMINAL.levels(record)
    pool.photo[rows] = photos
    finished[number] = 1


def _clean(source: Source, seed: int, index: int, scale: int) -> tuple[int, np.ndarray]:
    """Returns the number of a photo, and a crop (side, side, 3) of it, float32 in 0..1 in steps of 1/255."""
    side = CONTEXT * scale
    if source.draws:
        number = index // source.draws % len(source.photos)
        photo = source.photos[number]
        crop = centre_crop((photo.shape[0], photo.shape[1]), scale, side)
        if crop is None or (crop.height, crop.width) != (side, side):
            raise SystemExit(f'expected photos of at least {side} pixels in height and width, got {photo.shape[:2]}')
        return number, np.ascontiguousarray(crop.cut(photo), np.float32) / 255
    rng = rng_for(seed, 0, index, 0, 'crop')
    number = int(rng.integers(len(source.photos)))
    photo = source.photos[number]
    size = (photo.shape[0], photo.shape[1])
    taken = draw_shrunk_side(size, side, rng, _SHRINK)
    image = np.ascontiguousarray(draw_crop(size, taken, rng).cut(photo), np.float32) / 255
    image = image if taken == side else resize(image, side, side).clip(0, 1)
    return number, (image * 255).round().astype(np.float32) / 255


def load_pool(folder: Path) -> Pool:
    """Opens a pool for reading."""
    return Pool(*(np.load(folder / f'{name}.npy', mmap_mode='r') for name in Pool._fields))
