"""The summary of a benchmark: as data (``summary.json``) and as text (``summary.md``)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from basicsr_plugin import __version__
from deplsr_model.benchmark.entries import Entry
from deplsr_model.benchmark.measure import Measurement
from deplsr_model.benchmark.results import Column, compare

__all__ = ['summarise', 'to_json', 'to_markdown']


def summarise(
    found: Sequence[Column], entries: Sequence[Entry], measurements: Sequence[Measurement], baseline: str
) -> dict[str, Any]:
    """Returns everything that the report shows, except for single images.

    Returns:
        ``models`` with their facts and costs, ``baseline``, and ``columns``: each with ``set``, ``metric``,
        ``protocol``, ``lower_is_better``, ``digits``, ``images``, ``degradations``, and for each model ``mean``,
        ``difference`` and ``by_degradation``.
    """
    return {
        'version': __version__,
        'baseline': baseline,
        'models': {one.name: {**one.facts(), **_cost(measurements, one.name)} for one in entries},
        'columns': [_column(one, baseline) for one in found],
    }


def _column(column: Column, baseline: str) -> dict[str, object]:
    keys = next(iter(column.values.values())).keys()
    degradations = list(dict.fromkeys(degradation for degradation, _ in keys))
    models = {}
    for model in column.values:
        difference = None if model == baseline else asdict(compare(column, model, baseline))
        by_degradation = column.by_degradation(model) if len(degradations) > 1 else {}
        models[model] = {'mean': column.mean(model), 'difference': difference, 'by_degradation': by_degradation}
    return {
        'set': column.set,
        'metric': column.metric,
        'protocol': column.protocol,
        'lower_is_better': column.lower_is_better,
        'digits': column.digits,
        'images': len({image for _, image in keys}),
        'degradations': degradations if len(degradations) > 1 else [],
        'models': models,
    }


def _cost(measurements: Sequence[Measurement], model: str) -> dict[str, float]:
    """Mean time without the first output of the process, which includes a warm-up, where there are others."""
    found = [one.measured for one in measurements if one.model == model and one.measured.seconds is not None]
    timed = found[1:] or found
    if not timed:
        return {}
    seconds = float(np.mean([one.seconds for one in timed]))
    megapixels = float(np.mean([one.megapixels for one in timed]))
    return {
        'seconds_per_image': round(seconds, 4),
        'seconds_per_megapixel': round(seconds / megapixels, 4),
        'peak_memory': max(one.peak for one in found),
    }


def to_json(summary: Mapping[str, Any]) -> str:
    """Returns the summary as JSON; infinite values are the texts ``inf`` and ``-inf``."""
    return json.dumps(_plain(summary), indent=1, allow_nan=False) + '\n'


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def to_markdown(summary: Mapping[str, Any]) -> str:
    """Returns the tables as Markdown."""
    lines = ['# Benchmark', '', _status(summary), '']
    lines += [f'Baseline of the differences: {summary["baseline"]}. Intervals: 95%, paired bootstrap over images.', '']
    lines += [line for note in summary['notes'] for line in (note, '')]
    for name in dict.fromkeys(column['set'] for column in summary['columns']):
        lines += [*_set_table(name, summary), '']
    return '\n'.join([*lines, *_model_table(summary['models'])]) + '\n'


def _status(summary: Mapping[str, Any]) -> str:
    checks = summary.get('calibration') or []
    if not checks:
        return f'**Not calibrated**: {summary["not_calibrated"]}.'
    return '\n'.join(
        ['Calibrated: these published figures were reproduced first.', '', *(f'- {one["text"]}' for one in checks)]
    )


def _set_table(name: str, summary: Mapping[str, Any]) -> list[str]:
    found = [one for one in summary['columns'] if one['set'] == name]
    first = found[0]
    size = f'{first["images"]} images' + (
        f', {len(first["degradations"])} degradations' if first['degradations'] else ''
    )
    head = [f'{one["metric"]} {"↓" if one["lower_is_better"] else "↑"}' for one in found]
    lines = [f'## {name} ({size})', '', f'| model | {" | ".join(head)} |', '| --- ' * (len(found) + 1) + '|']
    for model in first['models']:
        cells = [_cell(one, model) if model in one['models'] else '' for one in found]
        lines.append(f'| {model} | {" | ".join(cells)} |')
    lines += ['', *(f'- {one["metric"]}: {one["protocol"]}' for one in found)]
    return [*lines, *_acceptance_table(summary['acceptance'].get(name, {}))]


def _acceptance_table(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not figures:
        return []
    lines = ['', '| model | AR ↑ | RPR ↑ | worst 10% (dB above the acceptance line) ↑ |', '| --- | --- | --- | --- |']
    return lines + [
        f'| {model} | {one["rate"]:.2f} | {one["relative"]:.3f} | {one["worst"]:+.3f} |'
        for model, one in figures.items()
    ]


def _cell(column: Mapping[str, Any], model: str) -> str:
    entry, digits = column['models'][model], column['digits']
    difference = entry['difference']
    text = f'{entry["mean"]:.{digits}f}'
    if difference is None or difference['low'] is None:
        return text
    ends = f'{difference["low"]:+.{digits}f} to {difference["high"]:+.{digits}f}'
    return f'{text} ({difference["mean"]:+.{digits}f}; {ends}; {difference["wins"]} won, {difference["losses"]} lost)'


def _model_table(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [
        '## Models',
        '',
        '| model | what | parameters | MACs (64 x 64) | s / image | s / MP | peak memory | weights |',
    ]
    lines.append('| --- ' * 8 + '|')
    for name, facts in models.items():
        count = facts.get('parameters')
        cells = [
            name,
            facts['method'],
            '' if count is None else f'{(count + facts["estimator_parameters"]) / 1e6:.2f} M',
            f'{facts["macs"] / 1e9:.2f} G' if facts.get('macs') else '',
            f'{facts["seconds_per_image"]:.3f}' if 'seconds_per_image' in facts else '',
            f'{facts["seconds_per_megapixel"]:.3f}' if 'seconds_per_megapixel' in facts else '',
            f'{facts["peak_memory"] / 2**20:.0f} MiB' if facts.get('peak_memory') else '',
            facts.get('sha256', '')[:12],
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return lines
