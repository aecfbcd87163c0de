"""Runs every entry on every image and computes the metrics; what is in the cache is not computed again."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm

from basicsr_plugin.errors import UserError
from deplsr_model.benchmark.cache import Cache, Measured
from deplsr_model.benchmark.cost import peak_memory, start_peak
from deplsr_model.benchmark.entries import Entry
from deplsr_model.benchmark.metrics import Metric
from deplsr_model.benchmark.pairs import Images, Pair, TestSet

__all__ = ['Measurement', 'Row', 'measure']


@dataclass(frozen=True)
class Row:
    """One value, as in ``results.csv``."""

    model: str
    set: str
    degradation: str
    image: str
    metric: str
    protocol: str
    value: float


@dataclass(frozen=True)
class Measurement:
    """What was measured of one output.

    Attributes:
        key: Hash of all that the output depends on.
        rows: The values.
        measured: With its cost.
    """

    model: str
    set: str
    pair: Pair
    key: str
    rows: tuple[Row, ...]
    measured: Measured


def measure(
    entries: Sequence[Entry],
    test_sets: Sequence[TestSet],
    metrics: Sequence[Metric],
    cache: Cache,
    *,
    keep: Callable[[TestSet], Collection[str]] = lambda test_set: (),
    part: tuple[int, int] = (0, 1),
) -> list[Measurement]:
    """Measures.

    Args:
        entries: The rows of the table.
        test_sets: The test sets.
        metrics: The metrics; those that need a ground truth are left out where there is none.
        cache: What is known; it is extended.
        keep: Labels of the images of a set whose outputs are stored, for the report.
        part: Number of this process and of all: each measures its share of the images.

    Raises:
        UserError: An output has another size than the ground truth, or a metric fails; one line.
    """
    count = sum(len(one.pairs) for one in test_sets) * len(entries)
    found = []
    with tqdm(total=-(-count // part[1]), unit='image', disable=None, file=sys.stderr) as bar:
        for entry in entries:
            if entry.device is not None:
                start_peak(entry.device)
            for test_set in test_sets:
                kept = keep(test_set)
                for pair in test_set.pairs[part[0] :: part[1]]:
                    bar.set_postfix_str(f'{entry.name} {test_set.name}/{pair.label}'[-50:])
                    found.append(_one(entry, test_set, pair, metrics, cache, pair.label in kept))
                    bar.update()
    return found


def _one(
    entry: Entry, test_set: TestSet, pair: Pair, metrics: Sequence[Metric], cache: Cache, keep: bool
) -> Measurement:
    images = pair.load()
    key = hashlib.sha256(f'{entry.key(test_set, pair)}\n{images.key}'.encode()).hexdigest()
    used = [one for one in metrics if images.gt is not None or not one.needs_gt]
    names = {one.name: f'{one.name}: {one.protocol(test_set)}' for one in used}
    known = cache.get(key)
    missing = [one for one in used if names[one.name] not in known.values]
    if missing or (keep and not cache.has_image(key)):
        cache.add(key, _compute(entry, test_set, pair, images, missing, names, cache, key if keep else None))
        known = cache.get(key)
    rows = tuple(
        Row(
            entry.name,
            test_set.name,
            pair.degradation,
            pair.name,
            one.name,
            one.protocol(test_set),
            known.values[names[one.name]],
        )
        for one in used
    )
    return Measurement(entry.name, test_set.name, pair, key, rows, known)


def _compute(
    entry: Entry,
    test_set: TestSet,
    pair: Pair,
    images: Images,
    metrics: Sequence[Metric],
    names: dict[str, str],
    cache: Cache,
    image_key: str | None,
) -> Measured:
    begin = time.perf_counter()
    output = entry.output(test_set, pair, images)
    if entry.device is not None and entry.device.type == 'cuda':
        torch.cuda.synchronize(entry.device)
    seconds = time.perf_counter() - begin
    if images.gt is not None and output.shape != images.gt.shape:
        raise UserError(
            f'{entry.name}, {test_set.name}/{pair.label}: expected an output of {images.gt.shape[1]} x '
            f'{images.gt.shape[0]} pixels, got {output.shape[1]} x {output.shape[0]}; check --scale'
        )
    if image_key is not None:
        cache.put_image(image_key, output)
    values = {names[one.name]: one(output, images.gt, test_set, pair.label) for one in metrics}
    runs = entry.device is not None
    peak = peak_memory(entry.device) if entry.device is not None else 0
    megapixels = output.shape[0] * output.shape[1] / 1e6
    return Measured(values, seconds if runs else None, megapixels, peak)
