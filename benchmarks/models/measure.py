"""Measures the presets and the network without prior on photos and sets that nobody trained on or chose by."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from basicsr_plugin.atomic import write_file
from basicsr_plugin.start_up import load_basicsr
from benchmarks.gain.settings import RECIPES
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.recipes import draw, read_recipe
from deplsr_data.degradation.records import Record
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.files.crops import centre_crop
from deplsr_data.files.photos import to_float, walk_photos
from deplsr_model.benchmark.acceptance import published_models, read_lines
from deplsr_model.benchmark.cache import Cache
from deplsr_model.benchmark.entries import Bicubic, Network, find_model_entry
from deplsr_model.benchmark.fixed_degradations import fixed_record
from deplsr_model.benchmark.measure import measure as measure_entries
from deplsr_model.benchmark.metrics import find_metrics
from deplsr_model.benchmark.pairs import Images, Pair, TestSet, read_image
from deplsr_model.benchmark.sets import find_sets
from deplsr_model.presets import ESTIMATOR
from deplsr_model.upscaling.description import Describer
from deplsr_model.upscaling.inference import Precision

__all__ = ['BLIND', 'SR_PRESETS', 'heldout_sets', 'measure']

#: SR presets by their scale.
SR_PRESETS = {'small-x4': 4, 'small-x2': 2}
#: The network of equal size without prior, and its scale: not in the wheel.
BLIND = {'constant-x4': 4}
FIXED = ('medium', 'heavy')  #: degradations of the semantic recipe, the same for all photos
DRAWN = 'realesrgan'
SETS = ('Set14SE', 'RealSR100')  #: x4
_WEIGHTS = Path(__file__).parent / 'weights'
_GT_SIZE, _DRAWS, _SEED = 256, 4, 100
_TABLE = level_table('effective')


def measure(photos: Path, sets: Path | None, out: Path, limit: int | None = None) -> None:
    """Measures everything that docs/models.md and the model cards show; the same command resumes.

    Args:
        photos: Folder with ``heldout/``.
        sets: Folder of Set14SE and RealSR100; without it they are left out.
        out: The results (JSON). Finished outputs are kept in ``NAME_cache`` next to it.
        limit: Only so many photos, and images of each set.
    """
    load_basicsr()
    cache = Cache(out.with_name(f'{out.stem}_cache'))
    found: dict[str, Any] = {'values': {}, 'facts': {}, 'images': {}}
    for scale in sorted({*SR_PRESETS.values()}, reverse=True):
        test_sets = heldout_sets(photos / 'heldout', scale, limit)
        if scale == 4 and sets is not None:
            test_sets += [_limited(one, limit) for one in find_sets(SETS, sets, scale)]
        entries = [Bicubic(scale, name=f'bicubic-x{scale}'), *_networks(scale)]
        found['facts'] |= {one.name: one.facts() for one in entries if isinstance(one, Network)}
        for one in measure_entries(entries, test_sets, find_metrics(['psnr'], 'y'), cache):
            name = one.set if scale == 4 else f'{one.set} x{scale}'
            values = found['values'].setdefault(name, {}).setdefault(one.model, [])
            values.append(round(one.rows[0].value, 4))
        for one in test_sets:
            name = one.name if scale == 4 else f'{one.name} x{scale}'
            found['images'][name] = len({pair.name for pair in one.pairs})
        found['values'].setdefault('bf16', {}).update(_in_bf16(test_sets[0], scale, cache))
    found['estimates'] = {name: _estimates(name, photos / 'heldout', limit) for name in RECIPES}
    found['seconds'] = {name: _seconds(name) for name in SR_PRESETS}
    found |= {} if sets is None else _published(sets)
    write_file(str(out), f'{json.dumps(found)}\n'.encode())


def _networks(scale: int) -> Iterator[Network]:
    for name, own in SR_PRESETS.items():
        if own == scale:
            yield find_model_entry(name, 'cpu', 'fp32', None)
    for name, own in BLIND.items():
        if own == scale:
            yield find_model_entry(str(_WEIGHTS / f'{name}.safetensors'), 'cpu', 'fp32', None)


def _in_bf16(test_set: TestSet, scale: int, cache: Cache) -> dict[str, list[float]]:
    """PSNR of the presets of a scale in bfloat16, on one test set."""
    entries = [find_model_entry(name, 'cpu', 'bf16', None) for name, own in SR_PRESETS.items() if own == scale]
    rows = [one.rows[0] for one in measure_entries(entries, [test_set], find_metrics(['psnr'], 'y'), cache)]
    return {one.name: [round(row.value, 4) for row in rows if row.model == one.name] for one in entries}


def _limited(test_set: TestSet, limit: int | None) -> TestSet:
    names = sorted({pair.name for pair in test_set.pairs})[:limit]
    pairs = [pair for pair in test_set.pairs if pair.name in names]
    return TestSet(test_set.name, pairs, test_set.scale, test_set.border, test_set.crop, test_set.folder)


def heldout_sets(folder: Path, scale: int, limit: int | None = None) -> list[TestSet]:
    """Returns the held-out photos under each of ``medium``, ``heavy`` and Real-ESRGAN's recipe.

    The central 256 x 256 pixels of each photo are degraded; Real-ESRGAN's recipe is drawn four times.
    """
    paths = _photos(folder, limit)
    crop = f'centre {_GT_SIZE} x {_GT_SIZE}, degraded here'
    found = [
        TestSet(name, [Pair(one.stem, partial(_fixed, one, name, scale)) for one in paths], scale, scale, crop)
        for name in FIXED
    ]
    drawn = [
        Pair(one.stem, partial(_drawn, one, DRAWN, scale, index, number), f'draw_{number}')
        for number in range(_DRAWS)
        for index, one in enumerate(paths)
    ]
    return [*found, TestSet(DRAWN, drawn, scale, scale, crop)]


def _photos(folder: Path, limit: int | None) -> list[Path]:
    return sorted(map(Path, walk_photos(str(folder))))[:limit]


def _centre(path: Path, scale: int) -> np.ndarray:
    photo = read_image(path)
    crop = centre_crop((photo.shape[0], photo.shape[1]), scale, _GT_SIZE)
    assert crop is not None
    return np.ascontiguousarray(crop.cut(photo))


def _degraded(gt: np.ndarray, record: Record) -> Images:
    return Images((apply(record, to_float(gt)) * 255).round().astype(np.uint8), gt)


def _fixed(path: Path, name: str, scale: int) -> Images:
    gt = _centre(path, scale)
    record = fixed_record(f'semantic {name}', (gt.shape[0], gt.shape[1]), scale, zlib.crc32(path.stem.encode()))
    return _degraded(gt, record)


def _record(name: str, gt: np.ndarray, scale: int, index: int, number: int) -> Record:
    recipe = read_recipe(dict(RECIPES[name]), name)
    return draw(recipe, scale, rng_for(_SEED, 0, index, number, 'degradation'), (gt.shape[0], gt.shape[1]))


def _drawn(path: Path, name: str, scale: int, index: int, number: int) -> Images:
    gt = _centre(path, scale)
    return _degraded(gt, _record(name, gt, scale, index, number))


def _estimates(name: str, folder: Path, limit: int | None) -> dict[str, Any]:
    """How good the estimates of the preset are on a recipe: coverage of the intervals, and rank correlation."""
    describer = Describer(ESTIMATOR, device='cpu')
    true, mean, low, high, outside = [], [], [], [], []
    for index, path in enumerate(_photos(folder, limit)):
        gt = _centre(path, 4)
        statistics = _TABLE.statistics(to_float(gt))
        for number in range(_DRAWS):
            record = _record(name, gt, 4, index, number)
            found = describer(_degraded(gt, record).lq)
            assert found.low is not None
            assert found.high is not None
            count = len(found.names)
            true.append(_TABLE.levels(record, statistics)[:count])
            mean.append(found.levels)
            low.append(found.low)
            high.append(found.high)
            outside.append(found.out_of_range)
    return {'types': found.names, 'outside': float(np.mean(outside)), **_grade(*map(np.array, (true, mean, low, high)))}


def _grade(true: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    ends = np.sort(np.stack([low, high]), axis=0)
    inside = (ends[0] - 0.05 <= true) & (true <= ends[1] + 0.05)  # true levels are rounded to one decimal place
    varied = [k for k in range(true.shape[1]) if true[:, k].std() > 0 and mean[:, k].std() > 0]
    return {
        'inside': inside.reshape(-1, _DRAWS * inside.shape[1]).mean(1).round(4).tolist(),  # of each photo
        'coverage': inside.mean(0).round(4).tolist(),
        'spearman': {str(k): round(float(spearmanr(true[:, k], mean[:, k])[0]), 3) for k in varied},
    }


def _seconds(name: str) -> dict[str, Any]:
    """Seconds for a result of a megapixel, the fastest of three, by precision; and the machine's threads."""
    side = 1024 // SR_PRESETS[name]
    photo = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    found: dict[str, Any] = {'threads': torch.get_num_threads()}
    precisions: Sequence[Precision] = ('fp32', 'bf16')
    for precision in precisions:
        entry = find_model_entry(name, 'cpu', precision, None)
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            entry.upscaler.enlarge(photo)
            times.append(time.perf_counter() - begin)
        found[precision] = round(min(times), 3)
    return found


def _published(sets: Path) -> dict[str, Any]:
    """Lines and published models of Set14-SE by degradation, and the mean PSNR that OSEDiff's authors logged."""
    lines = read_lines(sets / 'Set14SE')
    models = {name: [*values.values()] for name, values in published_models(sets / 'Set14SE').items()}
    rows = (sets / 'RealSR100' / 'osediff.tsv').read_text(encoding='utf-8').splitlines()
    logged = [float(row.split('\t')[1]) for row in rows[1:]]
    return {
        'lines': {} if lines is None else {'acceptance': [*lines.acceptance], 'excellence': [*lines.excellence]},
        'published': {'Set14SE': models, 'RealSR100': {'OSEDiff': round(float(np.mean(logged)), 2)}},
    }
