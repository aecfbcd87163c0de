"""The figure of docs/prior_nominal.md: estimated against true levels, and the gains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.prior.photos import COLUMNS

_SIDE, _GAP = 260, 56
_RANGES = {'blur': (0.0, 3.0), 'noise': (0.0, 30.0), 'jpeg': (30.0, 95.0)}
_UNITS = {'blur': 'blur sigma, GT pixels', 'noise': 'noise sigma of 255', 'jpeg': 'JPEG quality'}
_COLOURS = {'oracle': '#4c9f70', 'adaptor': '#2f6fb2', 'regressor': '#d08a2e'}


def draw_figure(result: dict[str, Any], points: dict[str, Any], path: Path) -> None:
    """Draws estimated against true levels for the adaptor and the regressor, and a bar for each gain."""
    estimators = [name for name in ('adaptor', 'regressor') if name in points]
    width = 3 * (_SIDE + _GAP) + _GAP
    sheet = Image.new('RGB', (width, len(estimators) * (_SIDE + _GAP) + _SIDE + 2 * _GAP), 'white')
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, name in enumerate(estimators):
        for column, degradation_type in enumerate(_RANGES):
            corner = _GAP + column * (_SIDE + _GAP), 28 + row * (_SIDE + _GAP)
            shown = [np.ravel(levels)[::3].tolist() for levels in points[name]['64'][degradation_type]]
            _scatter(draw, font, corner, degradation_type, shown, name)
    _bars(draw, font, (_GAP, 40 + len(estimators) * (_SIDE + _GAP)), width - 2 * _GAP, result['gain']['heldout'])
    sheet.save(path, optimize=True)


def _scatter(
    draw: Any, font: Any, corner: tuple[int, int], degradation_type: str, points: list[list[float]], name: str
) -> None:
    left, top = corner
    low, high = _RANGES[degradation_type]
    draw.rectangle([left, top, left + _SIDE, top + _SIDE], outline='black')
    draw.line([left, top + _SIDE, left + _SIDE, top], fill='#bbbbbb')
    for true, estimated in zip(*points, strict=True):
        x, y = (min(max((value - low) / (high - low), 0), 1) * _SIDE for value in (true, estimated))
        draw.ellipse([left + x - 2, top + _SIDE - y - 2, left + x + 2, top + _SIDE - y + 2], fill=_COLOURS[name])
    draw.text((left, top - 18), f'{name}: {_UNITS[degradation_type]}', 'black', font)
    draw.text((left, top + _SIDE + 3), f'{low:g}', 'black', font)
    draw.text((left + _SIDE - 60, top + _SIDE + 3), f'{high:g} (true)', 'black', font)
    draw.text((left - 54, top), 'estimate', 'black', font)


def _bars(draw: Any, font: Any, corner: tuple[int, int], width: int, gain: dict[str, Any]) -> None:
    left, top = corner
    variants = [variant for variant in _COLOURS if gain.get(variant)]
    ends = [value for variant in variants for column in COLUMNS for value in gain[variant][column]]
    highest, lowest = max([*ends, 0.01]), min([*ends, 0.0])
    scale = (_SIDE - 70) / (highest - lowest)
    base = top + 30 + highest * scale
    draw.text((left, top - 14), 'gain over a learned constant, dB (95% interval)', 'black', font)
    for place, variant in enumerate(variants):
        draw.text((left + 330 + 110 * place, top - 14), variant, _COLOURS[variant], font)
    slot = width / len(COLUMNS)
    for index, column in enumerate(COLUMNS):
        draw.text((left + index * slot, top + _SIDE - 26), column, 'black', font)
        for place, variant in enumerate(variants):
            mean, low, high = (base - value * scale for value in gain[variant][column])
            x = left + index * slot + place * 34
            draw.rectangle([x, min(mean, base), x + 28, max(mean, base)], fill=_COLOURS[variant])
            draw.line([x + 14, low, x + 14, high], fill='black')
            draw.text((x - 2, min(high, base) - 16), f'{gain[variant][column][0]:.2f}', 'black', font)
    draw.line([left, base, left + width, base], fill='black')
