"""Gains with their intervals, shares and means, from what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.figures import bootstrap_ranks, bootstrap_share
from benchmarks.prior.photos import COLUMNS, DEGRADATIONS, IN_CROPS
from benchmarks.prior.runs import VARIANTS
from deplsr_model.statistics import bootstrap

TEST_SETS = ('Set14', 'B100', 'Urban100')
#: Sets of photos that gains are averaged over.
PARTS = {'heldout': ('heldout',), 'whole': ('whole',), 'sets': TEST_SETS}
SHARES = ('adaptor', 'regressor', 'clip')  #: variants whose share of the oracle's gain is computed


def summarize(measured: dict[str, Any]) -> dict[str, Any]:
    """Everything that tables and figure show.

    Returns:
        The measurements without single photos, and by set of photos (:data:`PARTS`): ``gain`` of each variant over its
        baseline, ``share`` of the oracle's gain, ``adaptor_over_regressor``; ``psnr`` and ``ssim``, means of each
        variant; ``rank_difference`` and ``error_difference`` of the two estimators.
    """
    scores = measured['scores']
    variants = [name for name in VARIANTS if name in scores and not VARIANTS[name].seed]

    def means(metric: str, digits: int) -> dict[str, dict[str, float]]:
        return {
            name: {key: round(float(values.mean()), digits) for key, values in averaged(scores, name, metric).items()}
            for name in ('bicubic', *variants)
            if name in scores
        }

    return {
        **{key: value for key, value in measured.items() if key not in ('scores', 'points')},
        'rank_difference': compare_estimators(measured['points'], bootstrap_ranks),
        'error_difference': compare_estimators(measured['points'], error_difference),
        'gain': {
            part: {name: gains(scores, name, VARIANTS[name].baseline, sets) for name in variants}
            for part, sets in PARTS.items()
        },
        'share': {part: {name: shares(scores, name, sets) for name in SHARES} for part, sets in PARTS.items()},
        'adaptor_over_regressor': {part: gains(scores, 'adaptor', 'regressor', sets) for part, sets in PARTS.items()},
        'psnr': means('psnr', 3),
        'ssim': means('ssim', 4),
    }


def seeds_of(scores: dict[str, Any], name: str) -> list[str]:
    """The trainings of a variant, by the suffix of their seed; '' is the first."""
    return [suffix for suffix in ('', '_1') if f'{name}{suffix}' in scores]


def averaged(scores: dict[str, Any], name: str, metric: str) -> dict[str, np.ndarray]:
    """The score of each photo, by set and degradation, averaged over seeds."""
    runs = [scores[name + seed] for seed in seeds_of(scores, name)]
    return {key: np.mean([run[key][metric] for run in runs if key in run], axis=0) for key in runs[0]}


def differences(scores: dict[str, Any], name: str, baseline: str, sets: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Difference in PSNR of two variants for each photo, by degradation, averaged over the seeds that both have."""
    both = [seed for seed in seeds_of(scores, name) if seed in seeds_of(scores, baseline)]
    pairs = [(scores[name + seed], scores[baseline + seed]) for seed in both]
    keys = [f'{one}/{column}' for one in sets for column in COLUMNS]
    if not pairs or not all(key in run for pair in pairs for run in pair for key in keys):
        return {}

    def photos(run: dict[str, Any], column: str) -> np.ndarray:
        return np.concatenate([run[f'{one}/{column}']['psnr'] for one in sets])

    return {
        column: np.mean([photos(ours, column) - photos(theirs, column) for ours, theirs in pairs], axis=0)
        for column in COLUMNS
    }


def gains(scores: dict[str, Any], name: str, baseline: str, sets: tuple[str, ...]) -> dict[str, list[float]]:
    """Mean and interval of the :func:`differences`."""
    return {column: bootstrap(values) for column, values in differences(scores, name, baseline, sets).items()}


def shares(scores: dict[str, Any], name: str, sets: tuple[str, ...]) -> dict[str, list[float]]:
    """A variant's share of the oracle's gain, with its interval; only where the interval of the latter is above 0.

    Both gains are over the seeds that the variant has.
    """
    runs = (f'{one}{seed}' for one in (name, 'oracle', 'constant') for seed in seeds_of(scores, name))
    same_seeds = {run: scores[run] for run in runs if run in scores}
    ours, oracle = (differences(same_seeds, one, 'constant', sets) for one in (name, 'oracle'))
    return {
        column: bootstrap_share(ours[column], oracle[column])
        for column in DEGRADATIONS
        if ours and oracle and bootstrap(oracle[column])[1] > 0
    }


def compare_estimators(
    points: dict[str, Any], compare: Callable[[np.ndarray, np.ndarray, np.ndarray], list[float]]
) -> dict[str, dict[str, list[float]]]:
    """Compares adaptor and regressor on the same inputs, by ``compare(true, adaptor, regressor)``.

    The regressor's estimates in crops are compared with the adaptor's of the same 128 pixels.
    """
    if not {'adaptor', 'regressor'} <= points.keys():
        return {}
    ours = {**points['adaptor'], IN_CROPS: points['adaptor']['128']}
    found: dict[str, dict[str, list[float]]] = {}
    for size, theirs in points['regressor'].items():
        for degradation_type, (true, other) in theirs.items():
            same, estimated = ours[size][degradation_type]
            if same != true:
                raise ValueError(
                    f"points of '{size}': expected the same true levels for adaptor and regressor, got others; "
                    'measure both again'
                )
            found.setdefault(size, {})[degradation_type] = compare(*map(np.array, (true, estimated, other)))
    return found


def error_difference(true: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    """Mean error of ``ours`` minus that of ``theirs``, (photos, draws) each, with its interval over photos."""
    return bootstrap((abs(ours - true) - abs(theirs - true)).mean(axis=1))
