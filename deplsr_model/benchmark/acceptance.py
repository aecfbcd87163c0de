"""Figures of a test set of many representative degradations: acceptance rate, relative performance and worst cases.

Source: Zhang et al., SEAL: A Framework for Systematic Evaluation of Real-World Super-Resolution, ICLR 2024. The lines
are FSRCNN (acceptance) and SRResNet (excellence), each trained on that one degradation.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from basicsr_plugin.errors import UserError
from deplsr_model.benchmark.pairs import TestSet
from deplsr_model.benchmark.results import Column

__all__ = ['Acceptance', 'Lines', 'acceptance', 'accepted', 'published_models', 'read_lines']

_WORST = 0.1


@dataclass(frozen=True)
class Lines:
    """Values of both lines, (degradations,) each, PSNR on Y without border."""

    acceptance: np.ndarray
    excellence: np.ndarray


@dataclass(frozen=True)
class Acceptance:
    """Figures of a model.

    Attributes:
        rate: AR, the share of degradations at or above the acceptance line.
        relative: RPR, the mean of the logistic function of (model - acceptance) / (excellence - acceptance): 0.5 on
            the acceptance line, 0.73 on the excellence line. Degradations whose excellence line is not above the
            acceptance line (1 of 100 in the published lines) are left out.
        worst: Mean of (model - acceptance) over the 10% of degradations where it is least.
        worst_names: Those degradations.
    """

    rate: float
    relative: float
    worst: float
    worst_names: tuple[str, ...]


def acceptance(values: Mapping[str, float], lines: Lines) -> Acceptance:
    """Computes the figures.

    Args:
        values: PSNR of a model by degradation, in the order of the lines.
        lines: Of the same degradations.

    Raises:
        UserError: The numbers of degradations differ; one line.
    """
    if len(values) != len(lines.acceptance):
        raise UserError(f'expected {len(lines.acceptance)} degradations, those of the lines, got {len(values)}')
    model = np.array(list(values.values()))
    above = model - lines.acceptance
    gap = lines.excellence - lines.acceptance
    relative = 1 / (1 + np.exp(-above[gap > 0] / gap[gap > 0]))
    order = np.argsort(above)[: max(1, math.ceil(_WORST * len(above)))]
    names = list(values)
    return Acceptance(
        float((above >= 0).mean()), float(relative.mean()), float(above[order].mean()), tuple(names[i] for i in order)
    )


def accepted(found: Sequence[Column], test_sets: Sequence[TestSet]) -> dict[str, object]:
    """Returns ``acceptance``, the figures of each model by test set, and ``lines``, the acceptance line by degradation.

    A set has them if it has ``published_lines.csv``, all of its images were measured, and PSNR is on Y without border,
    as the lines are.
    """
    figures: dict[str, object] = {}
    shown: dict[str, object] = {}
    for test_set in test_sets:
        lines = read_lines(test_set.folder) if test_set.folder else None
        column = next((one for one in found if (one.set, one.metric) == (test_set.name, 'psnr')), None)
        if lines is None or column is None or not _has_protocol_of_lines(column, test_set):
            continue
        figures[test_set.name] = {
            model: asdict(acceptance(column.by_degradation(model), lines)) for model in column.values
        }
        names = list(dict.fromkeys(pair.degradation for pair in test_set.pairs))
        shown[test_set.name] = dict(zip(names, lines.acceptance.tolist(), strict=True))
    return {'acceptance': figures, 'lines': shown}


def _has_protocol_of_lines(column: Column, test_set: TestSet) -> bool:
    complete = len(next(iter(column.values.values()))) == len(test_set.pairs)
    return complete and 'PSNR, Y' in column.protocol and 'border 0;' in column.protocol


def read_lines(folder: Path) -> Lines | None:
    """Reads ``published_lines.csv`` of a test set; None if it has none.

    Raises:
        UserError: It has other columns; one line.
    """
    path = folder / 'published_lines.csv'
    if not path.is_file():
        return None
    rows = _rows(path, ('fsrcnn_psnr', 'srresnet_psnr'))
    return Lines(*(np.array([float(row[key]) for row in rows]) for key in ('fsrcnn_psnr', 'srresnet_psnr')))


def published_models(folder: Path) -> dict[str, dict[str, float]]:
    """Returns PSNR of the models in ``published_models.csv`` by degradation; empty if there is none."""
    path = folder / 'published_models.csv'
    if not path.is_file():
        return {}
    rows = _rows(path, ())
    names = [key.removesuffix('_psnr') for key in rows[0] if key.endswith('_psnr')]
    return {name: {f'deg_{index}': float(row[f'{name}_psnr']) for index, row in enumerate(rows)} for name in names}


def _rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    with path.open(encoding='utf-8-sig', newline='') as file:
        rows = list(csv.DictReader(file))
    missing = [key for key in needed if not rows or key not in rows[0]]
    if missing or not rows:
        raise UserError(f"'{path}': expected a table with the column {', '.join(needed) or 'NAME_psnr'}, got another")
    return rows
