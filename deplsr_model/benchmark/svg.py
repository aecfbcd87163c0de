"""Plots as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ['cost_plot', 'heat_map', 'interval_plot']

_ROW, _LEFT, _WIDTH = 24, 170, 700
_BETTER, _WORSE, _NEUTRAL = '#2f7f5f', '#b0413e', '#555'


def interval_plot(column: Mapping[str, Any], baseline: str) -> str:
    """Returns the differences to the baseline with their 95% intervals; empty without other models."""
    rows = {
        name: entry['difference']
        for name, entry in column['models'].items()
        if entry['difference'] is not None and entry['difference']['low'] is not None
    }
    if not rows:
        return ''
    low = min(0.0, *(one['low'] for one in rows.values()))
    high = max(0.0, *(one['high'] for one in rows.values()))
    span = (high - low) or 1.0
    plot = _WIDTH - _LEFT - 90

    def x(value: float) -> float:
        return _LEFT + plot * (value - low) / span

    height = _ROW * (len(rows) + 1) + 30
    parts = [
        _text(_LEFT, 14, f'{column["metric"]}: difference to {baseline}, 95% interval'),
        _line(x(0), _ROW, x(0), height - 24, '#999'),
        _text(x(0), height - 8, f'{baseline}: 0', 'middle'),
    ]
    for place, (name, one) in enumerate(rows.items()):
        y = _ROW * (place + 1) + 16
        sign = -1 if column['lower_is_better'] else 1
        certain = _BETTER if sign * one['mean'] > 0 else _WORSE
        colour = certain if one['low'] * one['high'] > 0 else _NEUTRAL
        parts += [
            _text(_LEFT - 8, y + 4, name, 'end'),
            _line(x(one['low']), y, x(one['high']), y, colour, 2),
            f'<circle cx="{x(one["mean"]):.1f}" cy="{y}" r="4" fill="{colour}"/>',
            _text(_WIDTH - 80, y + 4, f'{one["mean"]:+.{column["digits"]}f}'),
        ]
    return _svg(_WIDTH, height, parts, f'{column["metric"]}: difference to {baseline}')


def heat_map(column: Mapping[str, Any], baseline: Mapping[str, float], against: str) -> str:
    """Returns a map of models and degradations, coloured by the difference to a value for each degradation.

    Args:
        column: A column with degradations.
        baseline: The value of each degradation that is compared with.
        against: What that is.
    """
    names, degradations = list(column['models']), column['degradations']
    sign = -1 if column['lower_is_better'] else 1
    found = {
        (model, one): sign * (column['models'][model]['by_degradation'][one] - baseline[one])
        for model in names
        for one in degradations
    }
    most = max((abs(value) for value in found.values()), default=0.0) or 1.0
    cell = min(40.0, (_WIDTH - _LEFT - 10) / len(degradations))
    parts = []
    for row, model in enumerate(names):
        parts.append(_text(_LEFT - 8, _ROW * row + 17, model, 'end'))
        for place, one in enumerate(degradations):
            value = column['models'][model]['by_degradation'][one]
            title = f'{model}, {one}: {value:.{column["digits"]}f} ({sign * found[model, one]:+.{column["digits"]}f})'
            parts.append(
                f'<rect x="{_LEFT + cell * place:.1f}" y="{_ROW * row + 2}" width="{cell:.1f}" height="{_ROW - 3}" '
                f'fill="{_colour(found[model, one] / most)}"><title>{escape(title)}</title></rect>'
            )
    bottom = _ROW * len(names) + 16
    parts.append(_text(_LEFT, bottom, f'green: better than {against}, red: worse, up to {most:.{column["digits"]}f}'))
    return _svg(_WIDTH, bottom + 8, parts, f'{column["metric"]} by degradation')


def cost_plot(column: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns quality against seconds per megapixel; empty with fewer than two timed models."""
    points = {
        name: (models[name]['seconds_per_megapixel'], entry['mean'])
        for name, entry in column['models'].items()
        if models[name].get('seconds_per_megapixel')
    }
    if len(points) < 2:
        return ''
    height, inner = 220, _WIDTH - _LEFT - 160
    ends = [(min(axis), max(axis)) for axis in zip(*points.values(), strict=True)]

    def at(value: float, axis: int) -> float:
        low, high = ends[axis]
        return (value - low) / ((high - low) or 1.0)

    parts = [
        f'<rect x="{_LEFT}" y="10" width="{inner + 20}" height="{height - 50}" fill="none" stroke="#999"/>',
        _text(_LEFT - 8, 26, f'{ends[1][1]:.{column["digits"]}f}', 'end'),
        _text(_LEFT - 8, height - 44, f'{ends[1][0]:.{column["digits"]}f}', 'end'),
        _text(_LEFT - 8, height / 2 - 10, column['metric'], 'end'),
        _text(_LEFT, height - 22, f'{ends[0][0]:.3g}'),
        _text(_LEFT + inner + 20, height - 22, f'{ends[0][1]:.3g} s per megapixel of output', 'end'),
    ]
    for name, (seconds, value) in points.items():
        x, y = _LEFT + 10 + inner * at(seconds, 0), 20 + (height - 70) * (1 - at(value, 1))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#2f6fb2"/>', _text(x + 9, y + 4, name)]
    return _svg(_WIDTH, height, parts, f'{column["metric"]} against time')


def _colour(share: float) -> str:
    """Returns green for 1, white for 0 and red for -1."""
    low, high = (255 - round(175 * abs(share)), 255 - round(75 * abs(share)))
    return f'rgb({low},{high},{low})' if share >= 0 else f'rgb({high},{low},{low})'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str = 'start') -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="{escape(title)}">'
        f'{"".join(parts)}</svg>'
    )
