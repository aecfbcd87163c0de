"""Curves of the trainings: loss, PSNR-Y on held-out photos, and the gain of the prior, against training steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.gain.settings import MIXTURE, parts_of
from benchmarks.models.settings import DRAWS
from deplsr_model.statistics import bootstrap

__all__ = ['Line', 'draw_training', 'gain_points', 'mixture_psnr']

_COLOURS = ('#2f6fb2', '#c0622d', '#4c9f70', '#9970ab', '#b0413e')
_WIDTH, _HEIGHT, _LEFT, _TOP = 330, 220, 64, 44
_GAINS = ('realesrgan', 'camera', 'semantic', 'bsrgan', 'clean')


class Line(NamedTuple):
    """A line of a panel: points (x, y, low, high); low and high are equal to y without an interval."""

    name: str
    points: list[tuple[float, float, float, float]]


def draw_training(training: dict[str, Any], path: Path) -> None:
    """Draws the panels.

    Args:
        training: By model: ``log`` (as in log.json of a training) and ``validation`` (PSNR-Y by step and recipe).
        path: Image to write.
    """
    losses = [
        Line(name, [((i + 1) * one['log']['every'], *[loss] * 3) for i, loss in enumerate(one['log']['losses'])][1:])
        for name, one in training.items()
    ]
    quality = [
        Line(name, [(int(step), *[mixture_psnr(scores)] * 3) for step, scores in one['validation'].items()])
        for name, one in training.items()
        if not name.endswith('x2')
    ]
    gains = [Line(recipe, [(step, *gain) for step, gain in gain_points(training, recipe).items()]) for recipe in _GAINS]
    panels = (
        ('training loss (L1)', losses), ('PSNR-Y of the mixture, held-out photos, dB', quality),
        ('gain of the prior in dB, 95% interval', gains),
    )  # fmt: skip
    sheet = Image.new('RGB', (len(panels) * (_WIDTH + _LEFT + 16), _TOP + _HEIGHT + 40), 'white')
    for column, (title, lines) in enumerate(panels):
        _panel(ImageDraw.Draw(sheet), column * (_WIDTH + _LEFT + 16) + _LEFT, title, lines)
    sheet.save(path, optimize=True)


def mixture_psnr(scores: dict[str, list[float]]) -> float:
    """PSNR-Y of the mixture, from that of each image by recipe."""
    return sum(weight * float(np.mean(scores[name])) for name, weight in parts_of(MIXTURE).items())


def gain_points(training: dict[str, Any], recipe: str) -> dict[int, list[float]]:
    """Gain of small-x4 over the baseline without a prior, with its interval over photos, by step."""
    ours, blind = (training[name]['validation'] for name in ('small-x4', 'constant-x4'))
    found = {}
    for step in (step for step in ours if step in blind):
        gains = np.array(ours[step][recipe]) - np.array(blind[step][recipe])
        found[int(step)] = bootstrap(gains.reshape(-1, DRAWS).mean(1))
    return found


def _panel(draw: ImageDraw.ImageDraw, left: int, title: str, lines: list[Line]) -> None:
    font = ImageFont.load_default(12)
    points = [point for line in lines for point in line.points]
    last = max(point[0] for point in points)
    low, high = min(point[2] for point in points), max(point[3] for point in points)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + _WIDTH * x / last, _TOP + _HEIGHT * (high - y) / ((high - low) or 1)

    draw.text((left, 4), title, 'black', font)
    draw.rectangle([left, _TOP, left + _WIDTH, _TOP + _HEIGHT], outline='#888888')
    for tick in np.linspace(low, high, 5):
        draw.text((left - 58, place(0, tick)[1] - 7), f'{tick:7.3f}', 'black', font)
    for x in (last / 4, last / 2, last):
        draw.text((place(x, low)[0] - 34, _TOP + _HEIGHT + 4), f'{x:,.0f}', 'black', font)
    if low < 0 < high:
        draw.line([place(0, 0), place(last, 0)], fill='#bbbbbb')
    for line, colour in zip(lines, _COLOURS, strict=False):
        draw.line([place(x, y) for x, y, _, _ in line.points], fill=colour, width=2)
        for x, _, below, above in line.points:
            draw.line([place(x, below), place(x, above)], fill=colour)
    at = left
    for line, colour in zip(lines, _COLOURS, strict=False):
        draw.text((at, 22), line.name, colour, font)
        at += 12 + int(draw.textlength(line.name, font))
