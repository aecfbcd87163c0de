"""Measurements on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gain.estimators import load_estimator
from benchmarks.gain.measure import CLEAN, FIXED, estimates, samples, scores
from benchmarks.gain.settings import OUT_OF_RANGE, RECIPES, Run, Sizes
from deplsr_arch.level_distribution_arch import LevelDistribution

PARTS = (*RECIPES, CLEAN, *FIXED, 'realsr100', 'set14se')
WITHOUT_LEVELS = ('realsr100', 'set14se')


def parts_measured(run: Run | None) -> tuple[str, ...]:
    """The parts that a network, or bicubic, is measured on: all for a mixture, else its own recipe and a real set."""
    if run is None or run.recipe.startswith('mixture'):
        return PARTS
    return (run.recipe, *(FIXED if run.recipe == 'semantic' else ('realsr100',)))


def measure_estimator(path: Path, net: LevelDistribution, graded: Path) -> None:
    """Writes the estimates of every graded pool."""
    found = {
        f'{folder.name}/{name}': estimates(net, folder / name)
        for folder in (graded / 'heldout', graded / 'sets')
        for name in (*RECIPES, CLEAN, *OUT_OF_RANGE)
        if (folder / name / 'done').exists()
    }
    write(path, found)


def measure_network(
    path: Path, run: Run | None, work: Path, photos: list[np.ndarray], sets: Path | None, sizes: Sizes
) -> None:
    """Writes the PSNR-Y of each image of every part."""
    estimator = load_estimator(work / 'estimators' / run.estimator) if run and run.prior == 'estimated' else None
    folder = work / 'networks' / (run.name if run else '')
    found = {}
    for part in parts_measured(run):
        without = part in WITHOUT_LEVELS
        if (without and sets is None) or (without and run and run.prior.startswith('true')):
            continue
        found[part] = scores(run, folder, estimator, samples(part, work / 'graded' / 'heldout', photos, sets, sizes))
    write(path, found)


def write(path: Path, value: Any) -> None:
    """Writes JSON, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    part.write_text(json.dumps(value), encoding='utf-8')
    os.replace(part, path)
