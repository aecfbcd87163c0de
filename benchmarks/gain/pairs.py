"""Pairs made ahead: on a CPU, degrading takes longer than a step of a small network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch.utils.data import default_collate
from tqdm import tqdm

from benchmarks.gain.settings import CONTEXT, SCALE
from deplsr_data.degradation.apply_batch import apply_batch
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.packing import pack
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


def make_pool(
    folder: Path, block: dict[str, Any], source: Source, count: int, with_gt: int, seed: int, scale: int = SCALE
) -> None:
    """Degrades ``count`` crops by a recipe; the first ``with_gt`` are kept with their GT. Resumed by batches."""
    if (folder / 'done').exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    recipe, side = read_recipe(dict(block), 'recipe'), CONTEXT * scale
    shapes = {
        'lq': ((count, 3, CONTEXT, CONTEXT), np.uint8), 'gt': ((with_gt, 3, side, side), np.uint8),
        'levels': ((count, len(EFFECTIVE.types)), np.float32), 'nominal': ((count, len(NOMINAL.types)), np.float32),
        'photo': ((count,), np.int32),
    }  # fmt: skip
    progress = folder / 'progress'
    done = int(progress.read_text()) if progress.exists() else 0
    mode = 'r+' if done else 'w+'
    pool = Pool(*(open_memmap(folder / f'{name}.npy', mode, dtype, shape) for name, (shape, dtype) in shapes.items()))
    for first in tqdm(range(done, count, _BATCH), folder.name, leave=False):
        index = range(first, min(first + _BATCH, count))
        photos, crops = zip(*(_clean(source, seed, i, scale) for i in index), strict=True)
        records = [draw(recipe, scale, rng_for(seed, 0, i, 0, 'degradation'), (side, side)) for i in index]
        packed = [pack(record, (side, side), recipe.largest_kernel, rounds_of(recipe)) for record in records]
        gt = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        rows = slice(index.start, index.stop)
        pool.lq[rows] = apply_batch(default_collate(packed), gt).mul(255).round().byte().numpy()
        kept = max(0, min(with_gt - first, len(index)))
        pool.gt[first : first + kept] = gt[:kept].mul(255).round().byte().numpy()
        for row, record, crop in zip(index, records, crops, strict=True):
            pool.levels[row] = EFFECTIVE.levels(record, EFFECTIVE.statistics(crop))
            pool.nominal[row] = NOMINAL.levels(record)
        pool.photo[rows] = photos
        progress.write_text(str(index.stop))
    for array in pool:
        array.flush()
    (folder / 'done').touch()


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


def batches(count: int, size: int, steps: int, seed: int, weights: list[float]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields for each step the pool (size,) and the row (size,) of every sample; pools are drawn by weight."""
    rng = np.random.default_rng((seed, 7))
    for _ in range(steps):
        yield rng.choice(len(weights), size, p=weights), rng.integers(count, size=size)
