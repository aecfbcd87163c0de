"""Weights of a resize whose sizes and mode differ between samples; the reference is :mod:`deplsr_data.ops.resize`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ['MODES', 'mode_of', 'reach', 'smoothing', 'taps', 'taps_width']

#: Modes of a resize, by the number that a batch carries; 0 is none.
MODES: tuple[str, ...] = ('none', 'area', 'bilinear', 'bicubic', 'antialiased bilinear', 'antialiased bicubic')
_RADIUS = (0.5, 0.5, 1.0, 2.0, 1.0, 2.0)


def mode_of(mode: str, antialias: bool) -> int:
    """Returns the number of a mode in :data:`MODES`."""
    return MODES.index(f'antialiased {mode}' if antialias and mode != 'area' else mode)


def reach(mode: int, n_in: int, n_out: int) -> float:
    """Returns how far from its centre, in input pixels, an output pixel depends on the input."""
    widened = mode in (1, 4, 5)
    return _RADIUS[mode] * (max(n_in / n_out, 1.0) if widened else 1.0) + 1.0


def smoothing(mode: int, shrink: int) -> np.ndarray:
    """Returns the taps with which a resize by an integer factor averages; a single one if it does not."""
    if mode not in (1, 4, 5) or shrink < 2:
        return np.ones(1)
    width = math.ceil(2 * _RADIUS[mode]) * shrink + 1 - shrink % 2
    settings = torch.tensor([mode]), torch.tensor([4 * width * shrink]), torch.tensor([4 * width])
    weights = taps(*settings, 4 * width, 2 * width)[1]
    return np.trim_zeros(weights[0, 2 * width].double().numpy())


def taps(mode: Tensor, n_in: Tensor, n_out: Tensor, rows: int, width: int) -> tuple[Tensor, Tensor]:
    """Returns, for each output pixel, the first input pixel it uses and the weights of ``width`` pixels from there on.

    The definitions are those of :func:`torch.nn.functional.interpolate` (``align_corners=False``): adaptive means for
    ``area``, a cubic with a = -0.75 without antialiasing and one with a = -0.5, widened by the scale, with it.

    Args:
        mode: (B,) int64, indices into :data:`MODES`.
        n_in: (B,) int64, input pixels.
        n_out: (B,) int64, output pixels.
        rows: Number of output pixels, at least the largest ``n_out``; those beyond a sample's own have weight 0.
        width: At least ``2 * reach + 1`` of every sample, rounded up.

    Returns:
        (B, rows) int64 and (B, rows, width) float32; the weights of an output pixel sum to 1.
    """
    out = torch.arange(rows, device=mode.device)[None]
    mode, n_in, n_out = mode[:, None], n_in[:, None], n_out[:, None]
    scale = n_in.double() / n_out.double()
    centre = (out + 0.5) * scale
    source = torch.where(mode == 2, (centre - 0.5).clamp(min=0).minimum(n_in - 1.0), centre - 0.5)
    widened = torch.where(mode >= 4, scale.clamp(min=1.0), torch.ones_like(scale))
    radius = torch.tensor(_RADIUS, device=mode.device, dtype=torch.float64)[mode] * widened
    area_first = out * n_in // n_out
    area_end = ((out + 1) * n_in + n_out - 1) // n_out
    first = torch.where(mode <= 1, area_first, (source - radius).floor().long())
    first = first.minimum(n_in - width).clamp(min=0)

    index = first[..., None] + torch.arange(width, device=mode.device)  # (B, rows, width)
    distance = ((index - source[..., None]) / widened[..., None]).float()
    weights = _bell(mode[..., None], distance)
    weights += _beyond_borders(index, source[..., None].float(), n_in[..., None]) * (mode == 3)[..., None]
    inside = (index >= area_first[..., None]) & (index < area_end[..., None])
    weights = torch.where((mode <= 1)[..., None], inside.float(), weights)
    weights = weights * ((index < n_in[..., None]) & (out < n_out)[..., None])
    return first, weights / weights.sum(-1, keepdim=True).clamp(min=1e-9)


def _bell(mode: Tensor, distance: Tensor) -> Tensor:
    linear = (mode == 2) | (mode == 4)
    a = torch.where(mode == 5, -0.5, -0.75)
    return torch.where(linear, (1 - distance.abs()).clamp(min=0), _cubic(distance.abs(), a))


def _cubic(x: Tensor, a: Tensor) -> Tensor:
    """Keys' cubic convolution kernel at ``x >= 0``; 0 from 2 on."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _beyond_borders(index: Tensor, source: Tensor, n_in: Tensor) -> Tensor:
    """Returns the weight that the first and the last pixel get from places beyond the border, in a plain cubic."""
    a = torch.tensor(-0.75, device=source.device)
    zero = torch.zeros_like(source)
    before = _cubic((source + 1).abs(), a) + _cubic((source + 2).abs(), a)
    after = _cubic((n_in - source).abs(), a) + _cubic((n_in + 1 - source).abs(), a)
    return torch.where(index == 0, before, zero) + torch.where(index == n_in - 1, after, zero)


def taps_width(mode: Sequence[int], n_in: Sequence[int], n_out: Sequence[int]) -> int:
    """Returns the ``width`` that :func:`taps` needs for a batch."""
    return max(math.ceil(2 * reach(*sample)) + 1 for sample in zip(mode, n_in, n_out, strict=True))
