"""The tables of docs/models.md and of the model cards, from the kept results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from basicsr_plugin.presets import presets
from benchmarks.models.card import table
from benchmarks.models.choice import candidates_table, gain_table
from benchmarks.models.measure import DRAWN, FIXED, SR_PRESETS
from benchmarks.models.pack import add_measured
from benchmarks.prior.report import write_tables
from deplsr_model.benchmark.acceptance import Lines, acceptance
from deplsr_model.statistics import bootstrap

__all__ = ['report', 'tables']

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / 'benchmarks' / 'results' / 'models.json', ROOT / 'docs' / 'models.md'
OURS, BLIND, BICUBIC = 'small-x4', 'constant-x4', 'bicubic-x4'
_SHOWN = {BLIND: 'the same without prior', BICUBIC: 'bicubic'}
_NOTHING = '*Not measured yet.*'
_TITLES = {
    'medium': 'held-out, medium', 'heavy': 'held-out, heavy', DRAWN: "held-out, Real-ESRGAN's recipe",
    'Set14SE': 'Set14-SE', 'RealSR100': 'RealSR100',
}  # fmt: skip
#: Millions of parameters of the published networks, as BasicSR builds them; None where it does not.
_SIZES = {
    'SRResNet': 1.5, 'DASR': None, 'swinir-l': 28.0, 'RealESRNet_x4plus': 16.7, 'BSRNet': 16.7,
    'GDRealESRNetx4plus': 16.7, 'Real-RRDB_withdropout': 16.7, 'OSEDiff': None,
}  # fmt: skip
#: What was to be reached: dB over bicubic; mean and acceptance rate on Set14-SE; coverage; seconds by precision.
_TARGETS = {'medium': 1.0, 'RealSR100': 0.3}
_SET14SE, _RATE = 22.3, 0.28
_COVERAGE = (0.87, 0.93)
_SECONDS = {'fp32': 3.0, 'bf16': 1.5}

Kept = Mapping[str, Any]


def report(results: Path = RESULTS, page: Path = PAGE, cards: bool = True) -> None:
    """Writes the tables of the page, and the measured figures into the model cards.

    Args:
        results: What :func:`benchmarks.models.measure.measure` wrote.
        page: Its tables between ``<!-- NAME -->`` and ``<!-- end -->`` are replaced.
        cards: Whether to write the cards of the presets too.
    """
    kept: Kept = json.loads(results.read_text(encoding='utf-8')) if results.exists() else {}
    write_tables({**tables(kept), **_kept_tables(results.parent)}, page)
    for preset in presets() if cards and kept else ():
        add_measured(preset.path, _card_rows(kept, preset.name))


def tables(kept: Kept) -> dict[str, str]:
    """All tables by the name of their marker."""
    made = {
        'models_quality': _quality, 'models_x2': _quality_x2, 'models_set14se': _set14se, 'models_realsr': _realsr,
        'models_targets': _targets, 'models_estimator': _estimator, 'models_cost': _cost,
    }  # fmt: skip
    return {name: (make(kept) if kept.get('values') else '') or _NOTHING for name, make in made.items()}


def _kept_tables(folder: Path) -> dict[str, str]:
    """Tables of what was kept of the trainings."""
    made: dict[str, tuple[str, Callable[[Any], str]]] = {
        'models_candidates': ('model_candidates.json', candidates_table),
        'models_gain': ('model_training.json', gain_table),
    }
    found = {name: (folder / file, make) for name, (file, make) in made.items()}
    return {
        name: make(json.loads(path.read_text(encoding='utf-8'))) if path.exists() else _NOTHING
        for name, (path, make) in found.items()
    }


def by_unit(kept: Kept, name: str, model: str) -> np.ndarray | None:
    """Means of each image over its degradations; for Set14-SE, of each degradation over its images."""
    values = kept['values'].get(name, {}).get(model)
    if values is None:
        return None
    grid = np.array(values).reshape(-1, kept['images'][name])  # (degradations, images)
    return grid.mean(1 if name == 'Set14SE' else 0)


def difference(kept: Kept, name: str, model: str, baseline: str) -> list[float] | None:
    """Mean difference of two models and its 95% interval; None where one was not measured."""
    ours, theirs = by_unit(kept, name, model), by_unit(kept, name, baseline)
    return None if ours is None or theirs is None else bootstrap(ours - theirs)


def _mean(kept: Kept, name: str, model: str) -> str:
    values = by_unit(kept, name, model)
    return '' if values is None else f'{values.mean():.2f}'


def _interval(found: Sequence[float] | None) -> str:
    return '' if found is None else f'{found[0]:+.2f} ({found[1]:+.2f} to {found[2]:+.2f})'


def _quality(kept: Kept) -> str:
    head = ['PSNR-Y, dB', 'bicubic', 'without prior', OURS, 'over bicubic', 'over without prior']
    rows = [
        [
            title, *(_mean(kept, name, model) for model in (BICUBIC, BLIND, OURS)),
            *(_interval(difference(kept, name, OURS, other)) for other in (BICUBIC, BLIND)),
        ]
        for name, title in _TITLES.items()
        if name in kept['values']
    ]  # fmt: skip
    return table([head, *rows])


def _quality_x2(kept: Kept) -> str:
    rows = [
        [
            _TITLES[name], _mean(kept, f'{name} x2', 'bicubic-x2'), _mean(kept, f'{name} x2', 'small-x2'),
            _interval(difference(kept, f'{name} x2', 'small-x2', 'bicubic-x2')),
        ]
        for name in (*FIXED, DRAWN)
    ]  # fmt: skip
    return table([['PSNR-Y, dB', 'bicubic', 'small-x2', 'over bicubic'], *rows])


def _models_of_set14se(kept: Kept) -> Iterator[tuple[str, float | None, np.ndarray]]:
    """Name, millions of parameters, and PSNR by degradation."""
    for model in (OURS, BLIND, BICUBIC):
        values = by_unit(kept, 'Set14SE', model)
        if values is not None:
            count = kept['facts'].get(model, {}).get('parameters')
            yield _SHOWN.get(model, model), None if count is None else count / 1e6, values
    for model, values in kept['published']['Set14SE'].items():
        yield f'{model}, published', _SIZES.get(model), np.array(values)


def _rate(kept: Kept, values: np.ndarray) -> list[float]:
    """Acceptance rate with its 95% interval over degradations."""
    line = np.array(kept['lines']['acceptance'])
    return bootstrap((values >= line).astype(float)) if len(line) == len(values) else []


def _set14se(kept: Kept) -> str:
    if not kept.get('lines') or 'Set14SE' not in kept['values']:
        return ''
    rows = []
    for name, size, values in sorted(_models_of_set14se(kept), key=lambda one: -one[2].mean()):
        rate = _rate(kept, values)
        lines = Lines(*(np.array(kept['lines'][line]) for line in ('acceptance', 'excellence')))
        worst = acceptance({str(k): value for k, value in enumerate(values)}, lines).worst if rate else None
        rows.append([
            name, '' if size is None else f'{size:.1f}', f'{values.mean():.2f}',
            f'{rate[0]:.2f} ({rate[1]:.2f} to {rate[2]:.2f})' if rate else '', '' if worst is None else f'{worst:+.2f}',
        ])  # fmt: skip
    head = ['Set14-SE', 'parameters, M', 'PSNR-Y, dB', 'acceptance rate', 'worst 10%, dB to the acceptance line']
    return table([head, *rows])


def _realsr(kept: Kept) -> str:
    if 'RealSR100' not in kept['values']:
        return ''
    rows = [
        [
            _SHOWN.get(model, model),
            _mean(kept, 'RealSR100', model),
            _interval(difference(kept, 'RealSR100', model, BICUBIC)),
        ]
        for model in (OURS, BLIND, BICUBIC)
        if by_unit(kept, 'RealSR100', model) is not None
    ]
    rows[-1][-1] = ''
    rows += [[f'{name}, published', f'{mean:.2f}', ''] for name, mean in kept['published']['RealSR100'].items()]
    return table([['RealSR100', 'PSNR-Y, dB', 'over bicubic'], *rows])


def _targets(kept: Kept) -> str:
    rows = [*_targets_over_bicubic(kept), *_targets_over_blind(kept)]
    shares = bootstrap(np.concatenate([one['inside'] for one in kept['estimates'].values()]))
    low, high = _COVERAGE
    held = 'reached' if low <= shares[0] <= high else '**not reached**'
    rows.append(['90% intervals of `small`, all recipes', f'{low:.0%} to {high:.0%}', _share(shares), held])
    for precision, most in _SECONDS.items():
        found = kept['seconds'][OURS]
        title = f'a megapixel out, {precision}, {found["threads"]} {"thread" if found["threads"] == 1 else "threads"}'
        rows.append([title, f'below {most} s', f'{found[precision]:.2f} s', _met(most, found[precision])])
    return table([['target', 'wanted', 'found', ''], *rows])


def _share(found: Sequence[float]) -> str:
    return f'{found[0]:.1%} ({found[1]:.1%} to {found[2]:.1%})'


def _targets_over_bicubic(kept: Kept) -> Iterator[list[str]]:
    for name, target in _TARGETS.items():
        found = difference(kept, name, OURS, BICUBIC)
        if found is not None:
            yield [f'{_TITLES[name]}: over bicubic', f'{target:+.1f} dB', _interval(found), _met(found[0], target)]
    values = by_unit(kept, 'Set14SE', OURS)
    if values is None:
        return
    found = bootstrap(values)
    mean = float(values.mean())
    cell = f'{mean:.4f} dB ({found[1]:.2f} to {found[2]:.2f})'
    yield ['Set14-SE: mean', f'{_SET14SE} dB', cell, _met(mean, _SET14SE)]
    rate = _rate(kept, values)
    if rate:
        cell = f'{rate[0]:.2f} ({rate[1]:.2f} to {rate[2]:.2f})'
        yield ['Set14-SE: acceptance rate', f"{_RATE}, RealESRNet's", cell, _met(rate[0], _RATE)]


def _targets_over_blind(kept: Kept) -> Iterator[list[str]]:
    for name, title in _TITLES.items():
        found = difference(kept, name, OURS, BLIND)
        if found is not None:
            floor = -0.02 if name == 'RealSR100' else 0.0
            wanted = f'not below {floor} dB' if floor else 'interval above 0'
            met = _met(found[0 if floor else 1], floor)
            yield [f'{title}: over without prior', wanted, _interval(found), met]


def _met(value: float, target: float) -> str:
    return 'reached' if value >= target else '**not reached**'


def _estimator(kept: Kept) -> str:
    types = next(iter(kept['estimates'].values()))['types']
    head = ['held-out photos', '90% intervals hold', 'out of range', *(name.replace('_', ' ') for name in types)]
    rows = []
    for name, one in kept['estimates'].items():
        share = bootstrap(np.array(one['inside']))
        cells = [_of_type(one, k) for k in range(len(types))]
        rows.append([f'`{name}`', _share(share), f'{one["outside"]:.0%}', *cells])
    return table([head, *rows])


def _of_type(one: Mapping[str, Any], k: int) -> str:
    rank = one['spearman'].get(str(k))
    return f'{one["coverage"][k]:.0%}' + ('' if rank is None else f', {rank:.2f}')


def _cost(kept: Kept) -> str:
    rows = []
    for name, seconds in kept['seconds'].items():
        facts, scale = kept['facts'][name], SR_PRESETS[name]
        half = np.array(kept['values']['bf16'][name])
        exact = np.array(kept['values']['medium' if scale == 4 else f'medium x{scale}'][name])
        rows.append([
            name, f'{facts["parameters"] / 1e6:.2f} + {facts["estimator_parameters"] / 1e6:.2f}',
            f'{facts["macs"] / 1e9:.1f}', str(seconds['threads']), f'{seconds["fp32"]:.2f}', f'{seconds["bf16"]:.2f}',
            f'{(half - exact).mean():+.3f} dB',
        ])  # fmt: skip
    head = [
        'model', 'parameters, network + estimator, M', '10^9 operations for 64 x 64 in', 'threads',
        's for a megapixel out, fp32', 'bf16', 'bf16 against fp32, medium',
    ]  # fmt: skip
    return table([head, *rows])


def _card_rows(kept: Kept, name: str) -> list[dict[str, str]]:
    """The measured figures on the card of a preset."""
    if name not in SR_PRESETS:
        rows = []
        for recipe, one in kept['estimates'].items():
            share = bootstrap(np.array(one['inside']))
            rows.append({'held-out photos': recipe, '90% intervals hold the level': _share(share)})
        return rows
    scale = SR_PRESETS[name]
    end = '' if scale == 4 else f' x{scale}'
    rows = []
    for test_set, title in _TITLES.items():
        found = difference(kept, f'{test_set}{end}', name, f'bicubic-x{scale}')
        if found is not None:
            mean = _mean(kept, f'{test_set}{end}', name)
            rows.append({'test images': title, 'PSNR-Y, dB': mean, 'over bicubic, 95% interval': _interval(found)})
    return rows
