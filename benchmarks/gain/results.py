"""Measurements on disk: a file for each estimator and each network, complete or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from basicsr_plugin.atomic import write_file
from benchmarks.gain.estimators import TYPES, load_estimator
from benchmarks.gain.measure import CLEAN, FIXED, estimates, samples, scores
from benchmarks.gain.settings import MIXTURE, OUT_OF_RANGE, RECIPES, Run, Sizes
from deplsr_arch.level_distribution_arch import LevelDistribution

PARTS = (*RECIPES, CLEAN, *FIXED, 'realsr100', 'set14se')
WITHOUT_LEVELS = ('realsr100', 'set14se')


def parts_measured(run: Run | None) -> tuple[str, ...]:
    """The parts that a network, or bicubic, is measured on: all for the mixture, the recipe that is left out of one."""
    if run and run.recipe.startswith(f'{MIXTURE}-'):
        return (run.recipe.partition('-')[2],)
    if run and not run.usual:  # curve, size and fusions
        return (*RECIPES, 'blur') if run.recipe == MIXTURE else (run.recipe,)
    if run is None or run.recipe == MIXTURE:
        return PARTS
    return (run.recipe, *(FIXED if run.recipe == 'semantic' else ('realsr100',)))


def measure_estimator(path: Path, net: LevelDistribution, graded: Path) -> None:
    """Writes, for held-out photos and photos of the test sets, how good the estimates of each recipe are."""
    found: dict[str, Any] = {}
    for folder in (graded / 'heldout', graded / 'sets'):
        pools = [name for name in (*RECIPES, CLEAN, *OUT_OF_RANGE) if (folder / name / 'done').exists()]
        known = {name: estimates(net, folder / name) for name in pools}
        inside = np.concatenate([known[name]['distance'] for name in RECIPES if name in known]) if known else []
        for name, one in known.items():
            found[f'{folder.name}/{name}'] = grade(one)
            if name in OUT_OF_RANGE:
                found[f'{folder.name}/{name}']['auroc'] = round(auroc(inside, one['distance']), 4)
    write(path, found)


def grade(one: dict[str, np.ndarray]) -> dict[str, Any]:
    """Spearman and mean error of each type, share of true levels in their intervals, share out of range."""
    true, mean, low, high = (one[name] for name in ('true', 'mean', 'low', 'high'))
    inside = (low <= true + 1e-6) & (true <= high + 1e-6)
    familiar = one['distance'] <= 1
    varied = [k for k in range(len(TYPES)) if true[:, k].std() > 0.01 and mean[:, k].std() > 0]
    names = list(TYPES)
    return {
        'crops': len(true),
        'spearman': {names[k]: round(float(spearmanr(true[:, k], mean[:, k])[0]), 4) for k in varied},
        'mean_error': {names[k]: round(float(np.abs(true[:, k] - mean[:, k]).mean()), 4) for k in varied},
        'width': {name: round(float((high - low)[:, k].mean()), 4) for k, name in enumerate(names)},
        'coverage': {name: round(float(inside[:, k].mean()), 4) for k, name in enumerate(names)},
        'coverage_familiar': round(float(inside[familiar].mean()), 4) if familiar.any() else None,
        'flagged': round(float(1 - familiar.mean()), 4),
    }


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """How often a crop out of range is further away than one in range."""
    ranks = rankdata(np.concatenate([inside, outside]))[len(inside) :]
    return float((ranks.sum() - len(outside) * (len(outside) + 1) / 2) / (len(inside) * len(outside)))


def measure_network(
    path: Path,
    run: Run | None,
    work: Path,
    photos: list[np.ndarray],
    sets: Path | None,
    sizes: Sizes,
    estimator: LevelDistribution | None = None,
    plain: bool = False,
) -> None:
    """Writes the PSNR-Y of each image of every part.

    Args:
        path: The file.
        run: The network; None for bicubic enlargement.
        work: Folder of the networks, estimators and degraded photos.
        photos: The held-out photos.
        sets: Folder of the test sets, if there are any.
        sizes: How much is measured.
        estimator: What a network is conditioned on; None for the estimator of the run.
        plain: See :func:`~benchmarks.gain.measure.scores`.
    """
    if estimator is None and run and run.prior == 'estimated':
        estimator = load_estimator(work / 'estimators' / run.estimator)
    folder = work / 'networks' / (run.name if run else '')
    found = {}
    for part in parts_measured(run):
        without = part in WITHOUT_LEVELS
        if (without and sets is None) or (without and run and run.prior.startswith('true')):
            continue
        found[part] = scores(
            run, folder, estimator, samples(part, work / 'graded' / 'heldout', photos, sets, sizes), plain
        )
    write(path, found)


def write(path: Path, value: Any) -> None:
    """Writes JSON, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(value).encode())
