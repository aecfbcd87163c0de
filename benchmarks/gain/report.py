"""Summary, and tables and figure of docs/prior.md and docs/notebook_effective.md, from the measurements."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gain.draw import draw_curves
from benchmarks.gain.measure import CLEAN, FIXED
from benchmarks.gain.settings import (
    ESTIMATORS,
    FUSIONS,
    LARGE,
    MIXTURE,
    RECIPES,
    RUNS,
    SHARES,
    SHORT,
    WEIGHTS,
    Run,
    Sizes,
)  # fmt: skip
from benchmarks.prior.report import write_tables
from deplsr_model.statistics import bootstrap

PRIORS = ('true_effective', 'true_nominal', 'estimated')
PAGES = ('prior.md', 'notebook_effective.md')  #: of docs/
#: Ends of the names of networks that are conditioned on estimates of two members, or on the deviation of the training.
ENSEMBLE, PLAIN = '_ensemble', '_plain'
_SET14 = 14  #: images of Set14-SE
_LABELS = {
    'true_effective': 'true effective levels', 'true_nominal': 'true nominal levels',
    'estimated': 'estimated by LevelDistribution',
}  # fmt: skip


#: Networks that meet photos unlike those of their training, and the parts that they are measured on.
_WILD = (
    *((Run(MIXTURE, 'estimated'), part) for part in (*RECIPES, CLEAN, 'realsr100', 'set14se', 'set14se_shuffled')),
    *((Run(f'{MIXTURE}-{part}', 'estimated'), part) for part in ('realesrgan', 'bsrgan', 'camera')),
)


def collect(work: Path) -> dict[str, Any]:
    """Everything that was measured so far."""
    measured = work / 'measured'
    networks = {name: measured / f'{name}.json' for run in RUNS for name in _names(run)}
    networks['bicubic'] = measured / 'bicubic.json'
    logs = {run.name: work / 'networks' / run.name / 'log.json' for run in RUNS}
    logs |= {f'estimator_{name}': work / 'estimators' / name / 'log.json' for name in ESTIMATORS}
    return {
        'networks': {name: _read(path) for name, path in networks.items() if path.exists()},
        **{
            f'{part}s': {
                name: _read(measured / f'{part}_{name}.json')
                for name in ESTIMATORS
                if (measured / f'{part}_{name}.json').exists()
            }
            for part in ('estimator', 'ensemble')
        },
        'training': {name: _read(path) for name, path in logs.items() if path.exists()},
        'ratios': _read(measured / 'ratios.json') if (measured / 'ratios.json').exists() else {},
        'shuffled': _read(measured / 'shuffled.json') if (measured / 'shuffled.json').exists() else [],
    }


def _names(run: Run) -> list[str]:
    return [run.name + end for end in ('', ENSEMBLE, PLAIN, ENSEMBLE + PLAIN)]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding='utf-8'))


def summarize(kept: dict[str, Any]) -> dict[str, Any]:
    """The figures that are looked up: gains over the constant, Spearman, and coverage, by recipe."""
    sources = {
        **{f'semantic_{name}': ('semantic', name) for name in FIXED},
        'realesrgan': ('realesrgan', 'realesrgan'),
        'left_out': ('mixture-realesrgan', 'realesrgan'),
        'set14se_shuffled': (MIXTURE, 'set14se_shuffled'),
        'realsr100': (MIXTURE, 'realsr100'),
        **{f'left_out_{name}': (f'mixture-{name}', name) for name in ('bsrgan', 'camera')},
        **{f'mixture_{part}': (MIXTURE, part) for part in (*RECIPES, CLEAN)},
    }
    gain = {
        name: {prior: found for prior in PRIORS if (found := gain_of(kept, Run(recipe, prior), part))}
        for name, (recipe, part) in sources.items()
    }
    grades = kept['estimators'].get(MIXTURE, {})
    left = kept['estimators'].get('mixture-realesrgan', {}).get('heldout/realesrgan')
    estimate = {name: grades[f'heldout/{name}']['spearman'] for name in RECIPES if f'heldout/{name}' in grades}
    coverage = {name: share(grades[f'heldout/{name}']) for name in RECIPES if f'heldout/{name}' in grades}
    coverage |= {f'{name}_sets': share(grades[f'sets/{name}']) for name in RECIPES if f'sets/{name}' in grades}
    if left:
        estimate['left_out'], coverage['left_out'] = left['spearman'], left['coverage_familiar']
    return {'gain': {name: found for name, found in gain.items() if found}, 'estimate': estimate, 'coverage': coverage}


def share(grade: dict[str, Any]) -> float:
    """Share of true levels in their intervals, over all types."""
    return round(float(np.mean(list(grade['coverage'].values()))), 4)


def gain_of(kept: dict[str, Any], run: Run, part: str, end: str = '') -> list[float] | None:
    """Gain over the constant and its interval, averaged over the seeds that both have; None if not measured."""
    values = differences(kept, run, part, end)
    return None if values is None else bootstrap(values)


def differences(kept: dict[str, Any], run: Run, part: str, end: str = '') -> np.ndarray | None:
    """Gain of each photo, of each image of a real set, or of each degradation of Set14-SE, for a run of any seed."""
    if part == MIXTURE:
        each = {recipe: differences(kept, run, recipe, end) for recipe in RECIPES}
        known = {recipe: one for recipe, one in each.items() if one is not None}
        return sum(WEIGHTS[recipe] * one for recipe, one in known.items()) if len(known) == len(RECIPES) else None
    name = 'set14se' if part.startswith('set14se') else part
    found = []
    for seed in {one.seed for one in RUNS}:
        ours = replace(run, seed=seed)
        names = (ours.name + end, ours.against().name)
        scores = [kept['networks'].get(one, {}).get(name) for one in names]
        if all(score is not None for score in scores):
            found.append(np.subtract(*scores))
    if not found:
        return None
    each = np.mean(found, axis=0)
    if name == 'set14se':
        each = each.reshape(-1, _SET14).mean(axis=1)
        return each[np.array(kept['shuffled'][: len(each)], bool)] if part == 'set14se_shuffled' else each
    if name in RECIPES:
        return each.reshape(-1, Sizes().draws).mean(axis=1) if len(each) % Sizes().draws == 0 else each
    return each


def tables(kept: dict[str, Any]) -> dict[str, str]:
    """All tables by the name of their marker."""
    return {
        'gain_own': _gain_own(kept),
        'gain_wild': _gain_wild(kept),
        'estimates': _estimates(kept, 'estimators'),
        'estimates_two': _estimates(kept, 'ensembles'),
        'curve': _curve(kept),
        'caution': _caution(kept),
        'ratios': _ratios(kept),
        'fusions': _fusions(kept),
        'gain_hours': _hours(kept),
    }


def _gain_own(kept: dict[str, Any]) -> str:
    """Each network on the recipe that it was trained on."""
    columns = [('semantic', part) for part in FIXED] + [('semantic', 'semantic'), ('realesrgan', 'realesrgan')]
    rows = []
    for prior in PRIORS:
        cells = [_cell(gain_of(kept, Run(recipe, prior), part)) for recipe, part in columns]
        if any(cell != '' for cell in cells):
            rows.append([_LABELS[prior], *cells])
    return _table(['gain over `constant`, dB', *(f'{r} ({p})' if r != p else r for r, p in columns)], rows)


def _gain_wild(kept: dict[str, Any]) -> str:
    """Networks of the mixture on its recipes, on clean photos and on sets that nobody trained on."""
    rows = []
    for run, part in _WILD:
        left = run.recipe != MIXTURE
        scores = [kept['networks'].get(one, {}).get(part) for one in ('bicubic', run.against().name)]
        means = ['' if score is None or left else f'{np.mean(score):.2f}' for score in scores]
        true = '' if left else _cell(gain_of(kept, replace(run, prior='true_effective'), part))
        gain = _with_worst(kept, run, part, '')
        if gain[0]:
            rows.append([_wild_label(run, part), *means, *gain, true])
    head = ['PSNR-Y, dB', 'bicubic', '`constant`', 'estimated: gain', 'worst photo or degradation', 'true levels: gain']
    return _table(head, rows)


def _caution(kept: dict[str, Any]) -> str:
    """The gain by one or two members, with the deviation of the training and at use; and the worst."""
    ends = (PLAIN, '', ENSEMBLE + PLAIN, ENSEMBLE)
    rows = []
    for run, part in _WILD:
        cells = [', '.join(_with_worst(kept, run, part, end)).strip(', ') for end in ends]
        if all(cells):
            rows.append([_wild_label(run, part), *cells])
    head = [
        'gain over `constant`, dB; worst',
        'one member',
        'one, 1.5 x deviation',
        'two members',
        'two, 1.5 x deviation',
    ]
    return _table(head, rows)


def _ratios(kept: dict[str, Any]) -> str:
    """Errors over deviations on recipes that were left out."""
    found = {f'`{recipe}`': f'{ratio:.2f}' for recipe, ratio in kept.get('ratios', {}).items()}
    mean = [f'{np.prod([*kept["ratios"].values()]) ** (1 / len(found)):.2f}'] if found else []
    rows = [['error over deviation', *found.values(), *mean]] if found else []
    return _table(['calibration photos, recipe left out', *found, 'geometric mean'], rows)


def _wild_label(run: Run, part: str) -> str:
    return f'`{part}`' if run.recipe == MIXTURE else f'`{part}`, left out of the mixture'


def _with_worst(kept: dict[str, Any], run: Run, part: str, end: str) -> list[str]:
    """Gain and that of the worst photo or degradation."""
    each = differences(kept, run, part, end)
    return ['', ''] if each is None else [_cell(bootstrap(each)), f'{each.min():+.2f}']


def _estimates(kept: dict[str, Any], part: str) -> str:
    """Spearman of estimated with true levels, coverage of the intervals, and what is flagged as out of range."""
    shown = ('blur', 'noise', 'jpeg', 'compression')
    rows = []
    for training, grades in kept.get(part, {}).items():
        left_out = training.partition('-')[2]
        for pool, grade in grades.items():
            place, _, recipe = pool.partition('/')
            if place != 'heldout' or (training != MIXTURE and recipe != left_out):
                continue
            inside = recipe in RECIPES
            spearman = [f'{grade["spearman"][one]:.2f}' if inside and one in grade['spearman'] else '' for one in shown]
            worst = min(grade['coverage'].items(), key=lambda item: item[1])
            rows.append([
                f'`{recipe}`' if training == MIXTURE else f'`{recipe}`, left out', *spearman, f'{share(grade):.1%}',
                f'{worst[1]:.0%} ({worst[0].replace("_", " ")})', f'{grade["flagged"]:.1%}',
                f'{grade["auroc"]:.3f}' if 'auroc' in grade else '',
            ])  # fmt: skip
    head = ['held-out crops', *shown, '90% intervals cover', 'lowest', 'flagged', 'AUROC']
    return _table(head, rows)


def _curve(kept: dict[str, Any]) -> str:
    """Gain against training steps, and of a larger network."""
    points = {(recipe, prior, share_): gain for recipe, prior, share_, gain in curve_points(kept)}
    shares = sorted({point[2] for point in points})
    rows = []
    for recipe, prior in dict.fromkeys(point[:2] for point in points):
        cells = [_cell(points.get((recipe, prior, share_))) for share_ in shares]
        large = _cell(gain_of(kept, Run(recipe, prior, **LARGE), recipe))
        rows.append([f'`{recipe}`', _LABELS[prior], *cells, large])
    steps = [f'{int(Sizes().steps * share_):,} steps' for share_ in shares]
    return _table(['gain over `constant`, dB', 'conditioned on', *steps, f'1 M, {Sizes().steps:,} steps'], rows)


def curve_points(kept: dict[str, Any]) -> Iterable[tuple[str, str, float, list[float]]]:
    """Recipe, prior, share of the steps, and gain; the mixture on all its recipes together."""
    for recipe in ('semantic', 'realesrgan', MIXTURE):
        for prior in ('estimated', 'true_effective'):
            for share_ in SHARES:
                gain = gain_of(kept, Run(recipe, prior, share=share_), recipe)
                if gain:
                    yield recipe, prior, share_, gain


def _fusions(kept: dict[str, Any]) -> str:
    """Gain by each fusion."""
    rows = []
    for fusion in FUSIONS:
        gains = [
            gain_of(kept, Run(MIXTURE, 'true_effective', share=SHORT, fusion=fusion), part)
            for part in (MIXTURE, *RECIPES, 'blur')
        ]
        if any(gains):
            rows.append([f'`{fusion}`', *(_cell(gain) for gain in gains)])
    return _table(['true levels over `constant`, dB', 'mixture', *RECIPES, 'semantic (blur)'], rows)


def _hours(kept: dict[str, Any]) -> str:
    """Time of all trainings."""
    seconds = sum(log['seconds'] for log in kept['training'].values())
    return f'{seconds / 3600:.1f} hours of training, summed over {len(kept["training"])} runs, up to ten at a time.'


def _cell(gain: list[float] | None) -> str:
    return '' if gain is None else f'{gain[0]:+.3f} ({gain[1]:+.3f} to {gain[2]:+.3f})'


def _table(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return '*Not measured yet.*'
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in [head, ['---'] * len(head), *rows])


def report(kept: dict[str, Any], results: Path, docs: Path) -> None:
    """Writes prior_summary.json, the tables of the pages that have their markers, and the figure."""
    (results / 'prior_summary.json').write_text(json.dumps(summarize(kept), indent=1) + '\n', encoding='utf-8')
    for page in PAGES:
        if (docs / page).exists() or page == PAGES[0]:
            write_tables(tables(kept), docs / page)
    points = list(curve_points(kept))
    if len({share_ for _, _, share_, _ in points}) > 1:
        draw_curves(points, docs / 'prior_gain.png')
    print(f'wrote {results / "prior_summary.json"} and the tables of the pages')
