"""Draws estimates: a photo with its levels as bars, or histograms of the levels of many photos."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deplsr_model.upscaling.description import OUTSIDE
from deplsr_model.upscaling.edits import PhotoEstimate, Types

__all__ = ['plot_histograms', 'plot_photo']

_WIDTH, _MARGIN, _ROW, _LABEL = 900, 24, 34, 200
_INK, _BAR, _INTERVAL, _PALE = '#222222', '#4477aa', '#cc6677', '#e8e8e8'
_BINS = 20
_PANEL = 150


def plot_photo(pixels: np.ndarray, found: PhotoEstimate, types: Types, title: str) -> bytes:
    """Returns a PNG: the photo, and below it a bar with its interval for each level, over the range of training.

    Args:
        pixels: (h, w, 3) or (h, w), uint8 or uint16.
        found: Its estimate.
        types: The degradation types.
        title: Is written above.
    """
    photo = Image.fromarray((pixels // 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels).convert('RGB')
    photo.thumbnail((_WIDTH - 2 * _MARGIN, 600))
    top = 2 * _MARGIN + photo.height + _ROW
    image = Image.new('RGB', (_WIDTH, top + _ROW * len(types) + 2 * _MARGIN), 'white')
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    draw.text((_MARGIN, _MARGIN // 2), title, _INK, font)
    image.paste(photo, (_MARGIN, _MARGIN + _ROW // 2))
    for k, one in enumerate(types):
        _bar(draw, font, top + _ROW * k, one.name, _span(types, k), found, k)
    if found.out_of_range:
        draw.text((_MARGIN, image.height - _MARGIN - 6), OUTSIDE, _INTERVAL, font)
    return _png(image)


def _span(types: Types, k: int) -> tuple[float, float]:
    return types[k].training_levels[0], types[k].training_levels[-1]


def _bar(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    y: int,
    name: str,
    span: tuple[float, float],
    found: PhotoEstimate,
    k: int,
) -> None:
    left, right = _MARGIN + _LABEL, _WIDTH - _MARGIN

    def place(level: float) -> float:
        return left + (right - left) * (level - span[0]) / (span[1] - span[0])

    draw.text((_MARGIN, y), f'{name} {found.levels[k]:.1f}', _INK, font)
    draw.rectangle((left, y, right, y + _ROW // 2), fill=_PALE)
    draw.rectangle((left, y, place(found.levels[k]), y + _ROW // 2), fill=_BAR)
    if found.low is not None and found.high is not None:
        middle = y + _ROW // 4
        low, high = place(found.low[k]), place(found.high[k])
        draw.line((low, middle, high, middle), fill=_INTERVAL, width=3)
        for end in (low, high):
            draw.line((end, middle - 5, end, middle + 5), fill=_INTERVAL, width=3)


def plot_histograms(estimates: Mapping[str, PhotoEstimate], types: Types) -> bytes:
    """Returns a PNG: for each degradation type the histogram of the photos' levels, over the range of training."""
    image = Image.new('RGB', (_WIDTH, 2 * _MARGIN + _PANEL * len(types)), 'white')
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    outside = sum(found.out_of_range for found in estimates.values())
    draw.text((_MARGIN, 4), f'{len(estimates)} photos, {outside} {OUTSIDE}', _INK, font)
    for k, one in enumerate(types):
        low, high = _span(types, k)
        levels = [found.levels[k] for found in estimates.values()]
        counts, _ = np.histogram(levels, _BINS, (low, high))
        base = _MARGIN + _PANEL * (k + 1) - 30
        step = (_WIDTH - 2 * _MARGIN) / _BINS
        for place, count in enumerate(counts):
            x = _MARGIN + step * place
            height = (_PANEL - 60) * count / max(1, counts.max())
            draw.rectangle((x + 1, base - height, x + step - 1, base), fill=_BAR if count else _PALE)
        draw.line((_MARGIN, base, _WIDTH - _MARGIN, base), fill=_INK)
        draw.text((_MARGIN, base + 4), f'{low:g}', _INK, font)
        draw.text((_WIDTH - _MARGIN - 30, base + 4), f'{high:g}', _INK, font)
        draw.text((_MARGIN, base - _PANEL + 36), f'{one.name}: mean {np.mean(levels):.1f}', _INK, font)
    return _png(image)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, 'PNG')
    return out.getvalue()
