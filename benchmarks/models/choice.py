"""Tables of docs/models.md on the choice of the network, and on the gain of the prior against training steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gain.settings import RECIPES
from benchmarks.models.card import table
from benchmarks.models.draw import gain_points, mixture_psnr

__all__ = ['candidates_table', 'gain_table']


def candidates_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Returns the networks of equal CPU time."""
    rows = [
        [
            one['network'], f'{one["parameters"] / 1e6:.2f}', f'{one["steps"]:,}', f'{one["mixture"]:.2f}',
            *(f'{one["psnr"][name]:.2f}' for name in RECIPES), f'{one["seconds_256"]:.2f}',
        ]
        for one in found
    ]  # fmt: skip
    head = ['network', 'parameters, M', 'steps', 'mixture, dB', *RECIPES, 's for 256 x 256 in']
    return table([head, *rows])


def gain_table(training: Mapping[str, Any]) -> str:
    """Returns the gain of small-x4 over the baseline without a prior, by training steps and recipe."""
    gains = {name: gain_points(dict(training), name) for name in RECIPES}
    rows = []
    for step in next(iter(gains.values())):
        scores = [training[name]['validation'][str(step)] for name in ('small-x4', 'constant-x4')]
        cells = [_interval(gains[name][step]) for name in RECIPES]
        rows.append([f'{step:,}', *(f'{mixture_psnr(one):.2f}' for one in scores), *cells])
    return table([['steps', 'with prior, mixture, dB', 'without', *(f'gain: {name}' for name in RECIPES)], *rows])


def _interval(found: Sequence[float]) -> str:
    return f'{found[0]:+.2f} ({found[1]:+.2f} to {found[2]:+.2f})'
