"""Columns of the table: the values of all models in one test set by one metric under one protocol."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from basicsr_plugin.errors import UserError
from deplsr_model.benchmark.measure import Row
from deplsr_model.statistics import bootstrap

__all__ = ['Column', 'Difference', 'columns', 'compare', 'to_csv']

DIGITS = {'psnr': 3}
_DIGITS = 4


@dataclass(frozen=True)
class Column:
    """All values of one set and one metric.

    Attributes:
        set: The test set.
        metric: Name of the metric.
        protocol: Everything that the values depend on.
        lower_is_better: Whether it is a distance.
        values: Of each model, by degradation and image.
    """

    set: str
    metric: str
    protocol: str
    lower_is_better: bool
    values: Mapping[str, Mapping[tuple[str, str], float]]

    @property
    def digits(self) -> int:
        """Decimal places that are shown."""
        return DIGITS.get(self.metric.partition('_')[0], _DIGITS)

    def mean(self, model: str) -> float:
        """Returns the mean over all images and degradations."""
        return float(np.mean(list(self.values[model].values())))

    def by_degradation(self, model: str) -> dict[str, float]:
        """Returns the mean of each degradation, in the order of the set."""
        found: dict[str, list[float]] = {}
        for (degradation, _), value in self.values[model].items():
            found.setdefault(degradation, []).append(value)
        return {name: float(np.mean(values)) for name, values in found.items()}


@dataclass(frozen=True)
class Difference:
    """A model minus the baseline on the same images.

    Attributes:
        mean: Of the differences.
        low: Lower end of the 95% interval over images; None where a value is infinite.
        high: Upper end.
        wins: Outputs that are better than those of the baseline.
        losses: Those that are worse.
    """

    mean: float
    low: float | None
    high: float | None
    wins: int
    losses: int


def columns(rows: Iterable[Row], lower_is_better: Mapping[str, bool]) -> list[Column]:
    """Groups values by set and metric.

    Args:
        rows: The values.
        lower_is_better: For each metric whether it is a distance.

    Raises:
        UserError: A column would mix protocols, or models with different images; one line.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.set, row.metric), []).append(row)
    return [_column(group, lower_is_better.get(group[0].metric, False)) for group in groups.values()]


def _column(rows: Sequence[Row], lower: bool) -> Column:
    first = rows[0]
    other = next((row for row in rows if row.protocol != first.protocol), None)
    if other is not None:
        raise UserError(
            f"{first.set}, {first.metric}: expected one protocol in a column, got '{first.protocol}' of {first.model} "
            f"and '{other.protocol}' of {other.model}; measure both with the same options"
        )
    values: dict[str, dict[tuple[str, str], float]] = {}
    for row in rows:
        values.setdefault(row.model, {})[row.degradation, row.image] = row.value
    for model, found in values.items():
        if found.keys() != values[first.model].keys():
            raise UserError(
                f'{first.set}, {first.metric}: expected the same images of all models, got {len(values[first.model])} '
                f'of {first.model} and {len(found)} of {model}; --common compares those that all have'
            )
    return Column(first.set, first.metric, first.protocol, lower, values)


def compare(column: Column, model: str, baseline: str) -> Difference:
    """Compares a model with the baseline, image by image.

    The interval is over images: the degradations of an image are averaged first, since they are not independent.
    """
    ours, theirs = column.values[model], column.values[baseline]
    pairs = {key: ours[key] - theirs[key] if ours[key] != theirs[key] else 0.0 for key in ours}
    better = [-one if column.lower_is_better else one for one in pairs.values()]
    images: dict[str, list[float]] = {}
    for (_, image), one in pairs.items():
        images.setdefault(image, []).append(one)
    gains = np.array([np.mean(values) for values in images.values()])
    wins, losses = sum(one > 0 for one in better), sum(one < 0 for one in better)
    if not np.isfinite(gains).all():
        return Difference(float(gains.mean()) if not np.isnan(gains.mean()) else math.inf, None, None, wins, losses)
    mean, low, high = bootstrap(gains, digits=column.digits + 1)
    return Difference(mean, low, high, wins, losses)


def to_csv(rows: Iterable[Row]) -> str:
    """Returns ``results.csv``: a line for each value."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator='\n')
    table.writerow([one.name for one in fields(Row)])
    for row in rows:
        table.writerow([*[getattr(row, one.name) for one in fields(Row)][:-1], f'{row.value:.6f}'])
    return out.getvalue()
