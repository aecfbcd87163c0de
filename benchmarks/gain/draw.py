"""The figure of docs/prior.md: gain against training steps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from benchmarks.gain.settings import Sizes

_COLOURS = {'true_effective': '#4c9f70', 'true_nominal': '#9970ab', 'estimated': '#2f6fb2'}
_WIDTH, _HEIGHT, _GAP = 360, 240, 60

#: Recipe, prior, share of the usual steps, and gain with its interval.
Point = tuple[str, str, float, list[float]]


def draw_curves(points: list[Point], path: Path) -> None:
    """Draws the gain of each prior against the steps of the training, a panel for each recipe."""
    recipes = list(dict.fromkeys(recipe for recipe, *_ in points))
    if not recipes:
        return
    sheet = Image.new('RGB', (len(recipes) * (_WIDTH + _GAP) + _GAP, _HEIGHT + 90), 'white')
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    highest = max(0.05, *(gain[2] for *_, gain in points))
    lowest = min(0.0, *(gain[1] for *_, gain in points))
    steps = sorted({int(Sizes().steps * share) for _, _, share, _ in points})
    for column, recipe in enumerate(recipes):
        left = _GAP + column * (_WIDTH + _GAP)
        chosen = [point for point in points if point[0] == recipe]
        _panel(draw, font, (left, 40), chosen, steps, (lowest, highest))
        draw.text((left, 20), f'trained on {recipe}', 'black', font)
    shown = {prior for _, prior, *_ in points}
    for place, (prior, colour) in enumerate(one for one in _COLOURS.items() if one[0] in shown):
        draw.text((_GAP + 130 * place, 2), prior.replace('_', ' '), colour, font)
    draw.text((_GAP, _HEIGHT + 66), 'training steps; gain over constant in dB with 95% intervals', 'black', font)
    sheet.save(path, optimize=True)


def _panel(
    draw: Any, font: Any, corner: tuple[int, int], points: list[Point], steps: list[int], ends: tuple[float, float]
) -> None:
    left, top = corner
    low, high = ends
    span = math.log(steps[-1] / steps[0]) or 1.0

    def x_of(step: float) -> float:
        return left + 40 + (_WIDTH - 80) * math.log(step / steps[0]) / span

    def y_of(gain: float) -> float:
        return top + _HEIGHT * (high - gain) / (high - low)

    draw.rectangle([left, top, left + _WIDTH, top + _HEIGHT], outline='black')
    for tick in (low, 0.0, high):
        draw.text((left - 44, y_of(tick) - 8), f'{tick:+.2f}', 'black', font)
    draw.line([left, y_of(0), left + _WIDTH, y_of(0)], fill='#bbbbbb')
    for step in steps:
        draw.text((x_of(step) - 16, top + _HEIGHT + 4), f'{step:,}', 'black', font)
    for place, (prior, colour) in enumerate(_COLOURS.items()):
        line = [
            (x_of(Sizes().steps * share) + 5 * (place - 1), gain) for _, name, share, gain in points if name == prior
        ]
        draw.line([(x, y_of(gain[0])) for x, gain in line], fill=colour, width=2)
        for x, gain in line:
            draw.line([x, y_of(gain[1]), x, y_of(gain[2])], fill=colour)
            draw.ellipse([x - 3, y_of(gain[0]) - 3, x + 3, y_of(gain[0]) + 3], fill=colour)
