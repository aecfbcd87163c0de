"""The steps of a benchmark, from the choices of the user to the files of the report."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from basicsr_plugin.atomic import write_file
from basicsr_plugin.errors import UserError, warn
from basicsr_plugin.processes import process_part, wait_for_others
from deplsr_model.benchmark.acceptance import accepted
from deplsr_model.benchmark.cache import Cache
from deplsr_model.benchmark.entries import Bicubic, Entry, OutputFolder, find_model_entry
from deplsr_model.benchmark.known_figures import Check, calibrate
from deplsr_model.benchmark.measure import Measurement, measure
from deplsr_model.benchmark.metrics import Metric, find_metrics
from deplsr_model.benchmark.page import labels_shown, to_html, viewer_items
from deplsr_model.benchmark.pairs import TestSet
from deplsr_model.benchmark.processes import local_device
from deplsr_model.benchmark.results import columns, to_csv
from deplsr_model.benchmark.sets import find_sets
from deplsr_model.benchmark.suites import find_suite
from deplsr_model.benchmark.summary import summarise, to_json, to_markdown
from deplsr_model.upscaling.inference import Precision
from deplsr_model.upscaling.photo_jobs import make_output

__all__ = ['Choices', 'run_benchmark']


@dataclass(frozen=True)
class Choices:
    """What the user chose; see :mod:`deplsr_model.commands.benchmark`."""

    models: tuple[str, ...]
    bicubic: bool
    outputs: tuple[str, ...]
    sets: tuple[str, ...]
    root: Path | None
    output: Path
    metrics: tuple[str, ...] | None = None
    colour: str = 'y'
    border: int | None = None
    scale: int = 4
    baseline: str | None = None
    common: bool = False
    limit: int | None = None
    suite: str | None = None
    show: int = 4
    calibrate: bool = True
    tile: int | None = None
    precision: Precision = 'fp32'
    device: str | None = None


def run_benchmark(choices: Choices) -> None:
    """Measures and writes the report.

    Raises:
        UserError: A choice cannot be used, or a published figure is not reproduced; one line, before anything is
            measured where that can be known.
    """
    make_output(str(choices.output))
    complete = _test_sets(choices)
    metrics = _metrics(choices, complete)
    entries = _entries(choices, single=len(complete) == 1)
    baseline = _baseline(choices, entries)
    for entry in entries:
        for test_set in complete:
            entry.check(test_set)
    test_sets = [_restricted(one, entries, choices) for one in complete]
    part = process_part()
    cache = Cache(choices.output / 'cache', part[0])
    measured = partial(
        measure, entries, test_sets, metrics, cache, keep=lambda test_set: labels_shown(test_set, choices.show)
    )
    known = _with_figures(complete, choices.root) if choices.calibrate else []
    if part[1] > 1:
        calibrate(known, cache, part)
        measured(part=part)
        if not wait_for_others():
            return
        cache.load()
    checks = calibrate(known, cache)
    _refuse_wrong(checks)
    measurements = measured()
    found = columns(
        (row for one in measurements for row in one.rows), {one.name: one.lower_is_better for one in metrics}
    )
    summary = summarise(found, entries, measurements, baseline) | {'notes': _notes(choices)}
    summary |= accepted(found, complete) | _calibration(checks, known)
    _write(choices.output, summary, measurements, viewer_items(test_sets, measurements, cache, choices.show))


def _notes(choices: Choices) -> list[str]:
    """Returns what restricts the images of all sets."""
    notes = [] if choices.limit is None else [f'Only the first {choices.limit} images of each set (--limit).']
    return [*notes, *(['Only images that all models have outputs of (--common).'] if choices.common else [])]


def _calibration(checks: Sequence[Check], known: Sequence[TestSet]) -> dict[str, object]:
    """Returns the checks, and why there are none."""
    reason = 'published figures exist for none of the test sets' if known else 'switched off by --no-calibration'
    return {'calibration': [dataclasses.asdict(one) for one in checks], 'not_calibrated': reason}


def _write(
    output: Path, summary: Mapping[str, Any], measurements: Sequence[Measurement], items: Sequence[Mapping[str, object]]
) -> None:
    table = to_markdown(summary)
    files = {
        'results.csv': to_csv(row for one in measurements for row in one.rows),
        'summary.json': to_json(summary),
        'summary.md': table,
        'index.html': to_html(summary, items),
    }
    for name, text in files.items():
        write_file(str(output / name), text.encode())
    print(table)


def _test_sets(choices: Choices) -> list[TestSet]:
    found = find_sets(choices.sets, choices.root, choices.scale, choices.border)
    if choices.suite is not None:
        found += find_suite(choices.suite, choices.root, choices.scale, choices.border)
    for name, count in Counter(one.name for one in found).items():
        if count > 1:
            raise UserError(f"--sets, --suite: expected each test set once, got '{name}' {count} times")
    return found


def _with_figures(test_sets: Sequence[TestSet], root: Path | None) -> list[TestSet]:
    """Returns the test sets of the run and Set5, whose few images check the metric in any run."""
    small = root is not None and (root / 'Set5').is_dir() and all(one.name != 'Set5' for one in test_sets)
    return [*(find_sets(['Set5'], root, 4) if small else []), *test_sets]


def _refuse_wrong(checks: Sequence[Check]) -> None:
    wrong = next((one for one in checks if not one.passed), None)
    if wrong is not None:
        raise UserError(
            f'calibration: expected the published figure, got another ({wrong.text}); compare the files of the test '
            'set with those of the figure, or take --no-calibration'
        )


def _metrics(choices: Choices, test_sets: Sequence[TestSet]) -> list[Metric]:
    paired = any(one.scale is not None for one in test_sets)
    metrics = find_metrics(choices.metrics or (('psnr', 'ssim') if paired else ('niqe',)), choices.colour)
    for test_set in test_sets:
        if test_set.scale is None and all(one.needs_gt for one in metrics):
            raise UserError(
                f'--metrics: expected one without reference for {test_set.name}, which has no ground truth, got '
                f'{", ".join(one.name for one in metrics)}; add niqe'
            )
    return metrics


def _entries(choices: Choices, single: bool) -> list[Entry]:
    entries: list[Entry] = [Bicubic(choices.scale)] if choices.bicubic else []
    for text in choices.outputs:
        name, equals, folder = text.partition('=')
        if not equals or not Path(folder).is_dir():
            raise UserError(f"--outputs: expected NAME=FOLDER, got '{text}'; name a folder that exists")
        entries.append(OutputFolder(name.strip(), Path(folder), single))
    entries += [
        find_model_entry(text, choices.device or local_device(), choices.precision, choices.tile)
        for text in choices.models
    ]
    for name, count in Counter(one.name for one in entries).items():
        if count > 1:
            raise UserError(f"MODEL: expected different names, got '{name}' {count} times; write NAME=MODEL")
    return entries


def _baseline(choices: Choices, entries: Sequence[Entry]) -> str:
    names = [one.name for one in entries]
    if choices.baseline is None:
        return 'bicubic' if choices.bicubic else names[0]
    if choices.baseline not in names:
        raise UserError(f"--baseline: expected one of {', '.join(names)}, got '{choices.baseline}'")
    return choices.baseline


def _restricted(test_set: TestSet, entries: Sequence[Entry], choices: Choices) -> TestSet:
    """Leaves out images beyond the limit, and with ``--common`` those that a model has no output of."""
    names = list(dict.fromkeys(pair.name for pair in test_set.pairs))[: choices.limit]
    pairs = [pair for pair in test_set.pairs if pair.name in set(names)]
    limited = dataclasses.replace(test_set, pairs=pairs)
    missing = {one.name: one.missing(limited) for one in entries}
    gone = set().union(*missing.values())
    if gone and not choices.common:
        name = next(name for name, labels in missing.items() if labels)
        raise UserError(
            f'{name}: expected outputs of all {len(pairs)} images of {test_set.name}, found none of '
            f'{len(missing[name])}, such as {min(missing[name])}; --common compares on those that all models have'
        )
    left = [pair for pair in pairs if pair.label not in gone]
    if not left:
        raise UserError(f'{test_set.name}: expected images that all models have outputs of, found none')
    if gone:
        warn(f'{test_set.name}: {len(left)} of {len(pairs)} images, of which all models have outputs')
    return dataclasses.replace(limited, pairs=left)
