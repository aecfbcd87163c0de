"""The plot of cost against size, drawn with Pillow."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = (720, 440), 70, 190, 30, 50
_COLOURS = ('#888888', '#c05020', '#2060c0', '#20a060', '#8040a0')


def draw_cost(cost: dict[str, dict[int, float]], path: Path) -> None:
    """Draws seconds of an enlargement against the side of the image, both axes logarithmic.

    Args:
        cost: Seconds by form and side.
        path: File of the plot.
    """
    sheet = Image.new('RGB', _SIZE, 'white')
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    sides = sorted({side for line in cost.values() for side in line})
    seconds = [value for line in cost.values() for value in line.values()]
    low, high = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))

    def at(side: float, value: float) -> tuple[float, float]:
        across = math.log(side / sides[0]) / max(math.log(sides[-1] / sides[0]), 1e-9)
        up = (math.log10(value) - low) / max(high - low, 1)
        width, height = _SIZE[0] - _LEFT - _RIGHT, _SIZE[1] - _TOP - _BOTTOM
        return _LEFT + across * width, _SIZE[1] - _BOTTOM - up * height

    for power in range(low, high + 1):
        (x, y), end = at(sides[0], 10.0**power), at(sides[-1], 10.0**power)
        draw.line([(x, y), end], fill='#dddddd')
        draw.text((x - 8, y), f'{10.0**power:g} s', fill='black', font=font, anchor='rm')
    for side in sides:
        x, y = at(side, 10.0**low)
        draw.text((x, y + 8), f'{side} x {side}', fill='black', font=font, anchor='ma')
    for row, (name, line) in enumerate(cost.items()):
        colour = _COLOURS[row % len(_COLOURS)]
        points = [at(side, value) for side, value in sorted(line.items())]
        draw.line(points, fill=colour, width=2)
        for x, y in points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
        draw.text((_SIZE[0] - _RIGHT + 20, _TOP + 20 * row), name, fill=colour, font=font)
    draw.text((_LEFT, 8), 'Seconds of one enlargement by the side of the image', fill='black', font=font)
    sheet.save(path)
