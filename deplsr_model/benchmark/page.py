"""The report as one HTML page that needs no other file: tables to sort, plots, and a viewer of crops."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from deplsr_model.benchmark.cache import Cache
from deplsr_model.benchmark.measure import Measurement
from deplsr_model.benchmark.pairs import Images, TestSet
from deplsr_model.benchmark.svg import cost_plot, heat_map, interval_plot

__all__ = ['labels_shown', 'to_html', 'viewer_items']

_TEMPLATES = Path(__file__).with_name('templates')
_LARGEST = 512  # side of the crops in the viewer


def to_html(summary: Mapping[str, Any], items: Sequence[Mapping[str, object]]) -> str:
    """Returns the page.

    Args:
        summary: See :func:`~deplsr_model.benchmark.summary.summarise`.
        items: Images of the viewer, see :func:`viewer_items`.
    """
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=jinja2.select_autoescape(['html']), undefined=jinja2.StrictUndefined
    )
    names = dict.fromkeys(column['set'] for column in summary['columns'])
    return environment.get_template('page.html').render(
        summary=summary,
        sets=[_set(summary, name) for name in names],
        models=[_model(name, facts) for name, facts in summary['models'].items()],
        viewer=items,
    )


def _set(summary: Mapping[str, Any], name: str) -> dict[str, object]:
    found = [one for one in summary['columns'] if one['set'] == name]
    first = found[0]
    size = f'{first["images"]} images'
    if first['degradations']:
        size += f' under {len(first["degradations"])} degradations'
    return {
        'name': name,
        'size': size,
        'columns': found,
        'models': list(first['models']),
        'cells': {model: [_cell(column, model) for column in found] for model in first['models']},
        'acceptance': summary['acceptance'].get(name),
        'plots': [Markup(plot) for plot in _plots(summary, found) if plot],  # made here from escaped texts
    }


def _plots(summary: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> list[str]:
    plots = []
    for column in found:
        plots.append(interval_plot(column, summary['baseline']))
        if column['degradations'] and (len(column['models']) > 1 or column['set'] in summary['lines']):
            lines = summary['lines'].get(column['set']) if column['metric'] == 'psnr' else None
            theirs = column['models'][summary['baseline']]['by_degradation']
            against = 'the acceptance line' if lines else summary['baseline']
            plots.append(heat_map(column, lines or theirs, against))
    return [*plots, cost_plot(found[0], summary['models'])]


def _cell(column: Mapping[str, Any], model: str) -> dict[str, object]:
    entry, digits = column['models'][model], column['digits']
    means = [one['mean'] for one in column['models'].values()]
    best = min(means) if column['lower_is_better'] else max(means)
    difference = entry['difference']
    text, interval, value, wins, wins_value = '', '', '', '', ''
    if difference is not None:
        text, value = f'{difference["mean"]:+.{digits}f}', difference['mean']
        if difference['low'] is not None:
            interval = f'{difference["low"]:+.{digits}f} to {difference["high"]:+.{digits}f}'
        wins, wins_value = f'{difference["wins"]} / {difference["losses"]}', difference['wins']
    return {
        'mean': f'{entry["mean"]:.{digits}f}',
        'value': entry['mean'],
        'best': entry['mean'] == best and len(means) > 1,
        'difference': text,
        'interval': interval,
        'difference_value': value,
        'wins': wins,
        'wins_value': wins_value,
    }


def _model(name: str, facts: Mapping[str, Any]) -> dict[str, object]:
    count = facts['parameters'] + facts['estimator_parameters'] if 'parameters' in facts else None
    numbers = [
        (count, '' if count is None else f'{count / 1e6:.3f} M'),
        (facts.get('macs'), f'{facts["macs"] / 1e9:.3f} G' if facts.get('macs') else ''),
        *(
            (facts.get(f'seconds_per_{one}'), _number(facts.get(f'seconds_per_{one}')))
            for one in ('image', 'megapixel')
        ),
        (facts.get('peak_memory'), f'{facts["peak_memory"] / 2**20:.0f} MiB' if facts.get('peak_memory') else ''),
    ]
    return {
        'name': name,
        'method': facts['method'],
        'cells': [('' if value is None else value, text) for value, text in numbers],
        'device': ', '.join(
            [facts[key] for key in ('device', 'precision') if facts.get(key)]
            + ([f'tiles of {facts["tile"]}'] if facts.get('tile') else [])
        ),
        'sha256': facts.get('sha256', ''),
    }


def _number(value: float | None) -> str:
    return '' if value is None else f'{value:.3f}'


def labels_shown(test_set: TestSet, count: int) -> list[str]:
    """Returns the labels of the images that the viewer shows, evenly spaced over the set."""
    places = np.linspace(0, len(test_set.pairs) - 1, min(count, len(test_set.pairs))).round().astype(int)
    return [test_set.pairs[place].label for place in dict.fromkeys(places.tolist())]


def viewer_items(
    test_sets: Sequence[TestSet], measurements: Sequence[Measurement], cache: Cache, count: int
) -> list[dict[str, object]]:
    """Returns the images of the viewer: for each the low-quality image, all outputs and the ground truth.

    Args:
        test_sets: The test sets.
        measurements: Of all models on them.
        cache: Holds the outputs.
        count: Images of each set.
    """
    items = []
    for test_set in test_sets:
        shown = labels_shown(test_set, count)
        for pair in (one for one in test_set.pairs if one.label in shown):
            found = [one for one in measurements if one.set == test_set.name and one.pair.label == pair.label]
            items.append(_item(f'{test_set.name}/{pair.label}', pair.load(), found, cache))
    return items


def _item(title: str, images: Images, found: Sequence[Measurement], cache: Cache) -> dict[str, object]:
    lq = images.lq if images.lq.dtype == np.uint8 else (images.lq.clip(0, 1) * 255).round().astype(np.uint8)
    outputs = [cache.image(one.key) for one in found]
    side = _LARGEST * lq.shape[0] // outputs[0].shape[0]
    corner = tuple(max(0, (length - side) // 2) for length in lq.shape[:2])

    def panel(name: str, pixels: np.ndarray, note: str = '', truth: bool = False) -> dict[str, Any]:
        scale = pixels.shape[0] // lq.shape[0]
        top, left = corner[0] * scale, corner[1] * scale
        crop = pixels[top : top + side * scale, left : left + side * scale]
        return {'name': name, 'note': note, 'truth': truth, 'url': _url(crop), 'size': crop.shape[:2]}

    panels = [panel('input', lq)]
    for one, output in zip(found, outputs, strict=True):
        panels.append(panel(one.model, output, ', '.join(f'{row.metric} {row.value:.4g}' for row in one.rows)))
    if images.gt is not None:
        panels.append(panel('ground truth', images.gt, truth=True))
    height, width = panels[-1]['size']
    return {'title': title, 'width': width, 'height': height, 'panels': panels}


def _url(pixels: np.ndarray) -> str:
    content = cv2.imencode('.png', np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
    return 'data:image/png;base64,' + base64.b64encode(content).decode()
