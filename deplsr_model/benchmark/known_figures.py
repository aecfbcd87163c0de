"""Published figures that are reproduced before anything else is measured, where their test sets are present."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deplsr_model.benchmark.acceptance import acceptance, published_models, read_lines
from deplsr_model.benchmark.cache import Cache
from deplsr_model.benchmark.entries import Bicubic, Entry, OutputFolder
from deplsr_model.benchmark.measure import measure
from deplsr_model.benchmark.metrics import find_metrics
from deplsr_model.benchmark.pairs import TestSet

__all__ = ['Check', 'calibrate']

#: Mean PSNR on Y of bicubic enlargement (BasicSR's imresize, rounded to 8 bits), the border, and the number of images.
BICUBIC = {'Set5': (28.40, 4, 5), 'RealSR100': (27.11, 0, 100), 'Set14SE': (21.54, 0, 1400)}
#: Acceptance rate of published models on Set14-SE, by their name in ``published_models.csv``.
RATES = {'BSRNet': 0.55, 'GDRealESRNetx4plus': 0.46, 'swinir-l': 0.38, 'RealESRNet_x4plus': 0.28}
_SCALE = 4
_ROUNDED = 0.005  # of a figure with two decimal places
_PER_IMAGE = 0.001


@dataclass(frozen=True)
class Check:
    """A published figure and what is computed here.

    Attributes:
        text: What was compared.
        passed: Whether they agree.
    """

    text: str
    passed: bool


@dataclass(frozen=True)
class _Figure:
    """Something to measure, and its comparison with what was published."""

    entry: Entry
    test_set: TestSet
    compare: Callable[[dict[str, float]], Check]


def calibrate(test_sets: Sequence[TestSet], cache: Cache, part: tuple[int, int] = (0, 1)) -> list[Check]:
    """Reproduces the published figures of test sets.

    Args:
        test_sets: Complete ones, as they are found by default.
        cache: What is known; it is extended.
        part: Number of this process and of all; where there are several, each only measures its share.

    Returns:
        The checks; none for sets without published figures.
    """
    psnr = find_metrics(['psnr'], 'y')
    checks = []
    for test_set in test_sets:
        if test_set.folder is None or test_set.scale != _SCALE:
            continue
        for figure in (*_bicubic(test_set), *_outputs(test_set, test_set.folder)):
            found = measure([figure.entry], [figure.test_set], psnr, cache, part=part)
            if part[1] == 1:
                checks.append(figure.compare({one.pair.label: one.rows[0].value for one in found}))
        checks += _rates(test_set.folder)
    return checks


def _bicubic(test_set: TestSet) -> Iterator[_Figure]:
    published, border, count = BICUBIC.get(test_set.name, (0.0, 0, 0))
    if len(test_set.pairs) != count:
        return

    def compare(values: dict[str, float]) -> Check:
        mean = float(np.mean(list(values.values())))
        figures = f'published {published:.2f}, here {mean:.3f}'
        text = f'{test_set.name}, bicubic, PSNR on Y, border {border}, {count} images: {figures}'
        return Check(text, abs(mean - published) <= _ROUNDED)

    yield _Figure(Bicubic(_SCALE), dataclasses.replace(test_set, border=border), compare)


def _outputs(test_set: TestSet, folder: Path) -> Iterator[_Figure]:
    """Compares outputs of OSEDiff, image by image, with the figures that its authors logged."""
    table, outputs = folder / 'osediff.tsv', folder / 'OSEDiff'
    if not table.is_file() or not outputs.is_dir():
        return
    with table.open(encoding='utf-8', newline='') as file:
        published = {Path(row['file']).stem: float(row['PSNR']) for row in csv.DictReader(file, delimiter='\t')}
    entry = OutputFolder('OSEDiff', outputs, single=True)
    gone = entry.missing(test_set)
    pairs = [one for one in test_set.pairs if one.label not in gone and one.name in published]

    def compare(values: dict[str, float]) -> Check:
        worst = max(abs(values[one.label] - published[one.name]) for one in pairs)
        text = f'{test_set.name}, OSEDiff, PSNR on Y, border 0, each of {len(pairs)} images'
        return Check(f'{text}: at most {worst:.5f} dB from the published', worst <= _PER_IMAGE)

    if pairs:
        yield _Figure(entry, dataclasses.replace(test_set, pairs=pairs, border=0), compare)


def _rates(folder: Path) -> Iterator[Check]:
    lines, models = read_lines(folder), published_models(folder)
    for model, published in RATES.items():
        if lines is not None and model in models:
            rate = acceptance(models[model], lines).rate
            text = f'{folder.name}, {model}, AR: published {published:.2f}, here {rate:.2f}'
            yield Check(text, abs(rate - published) <= _ROUNDED)
