"""Estimated levels of a photo, and edits of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from basicsr_plugin.errors import UserError
from basicsr_plugin.names import nearest
from deplsr_data.degradation.level_tables import LevelTable
from deplsr_data.degradation.types import DegradationType
from deplsr_model.prior import parse_levels

__all__ = [
    'Edit',
    'PhotoEstimate',
    'Steering',
    'Types',
    'check_edits',
    'edited_levels',
    'is_edited',
    'names',
    'parse_edit',
    'span',
    'stated_levels',
]

Types = Sequence[DegradationType[Any]]

#: Names that edits may use for several degradation types, where no type has that name (nominal levels). A level has a
#: unit, so only a percentage changes all of them; the first is the one that other edits change.
_GROUPS = {'noise': ('gaussian', 'poisson')}


@dataclass(frozen=True)
class Edit:
    """A change of an estimated level.

    Attributes:
        name: Degradation type.
        form: ``percent`` of the distance from the zero level, ``shift`` by an amount in units of the level, or
            ``level``, which replaces the estimate.
        amount: Percentage, amount or level.
    """

    name: str
    form: Literal['percent', 'shift', 'level']
    amount: float

    @property
    def changes_nothing(self) -> bool:
        """Whether every level stays as it is."""
        return self.form != 'level' and self.amount == 0

    def apply(self, levels: Tensor, degradation_type: DegradationType[Any]) -> Tensor:
        """Returns changed levels, any shape; they may be out of range."""
        if self.form == 'level':
            return torch.full_like(levels, self.amount)
        if self.form == 'shift':
            return levels + self.amount
        zero = degradation_type.zero_level
        return zero + (levels - zero) * (1 + self.amount / 100)


def parse_edit(name: str, text: str) -> Edit:
    """Parses ``-50%``, ``+0.5``, ``-2`` or ``40``: a percentage, a shift, or, without a sign, a level.

    Raises:
        UserError: It is none of them; one line.
    """
    match = re.fullmatch(r'([+-]?)(\d+(?:\.\d*)?|\.\d+)(%?)', text.strip())
    if not match:
        raise UserError(
            f"--{name}: expected a percentage such as -50%, a shift such as +0.5 or a level such as 12, got '{text}'"
        )
    sign, number, percent = match.groups()
    amount = float(number) * (-1 if sign == '-' else 1)
    return Edit(name, 'percent' if percent else 'shift' if sign else 'level', amount)


@dataclass(frozen=True)
class Steering:
    """How a photo's prior is made.

    Attributes:
        edits: Changes of the estimate.
        prior: Fine captions that replace the estimate, or ``none`` for no prior; None for the estimate.
        strength: Weight of the prior, 0..1; 0 is no prior.
        local: Whether the prior is estimated on a grid of crops, instead of once for the photo.
    """

    edits: tuple[Edit, ...] = ()
    prior: str | None = None
    strength: float = 1.0
    local: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UserError(f'--strength: expected a number from 0 to 1, got {self.strength}')

    @property
    def is_default(self) -> bool:
        """Whether the prior is the photo's estimate as it is."""
        return self == Steering()


@dataclass(frozen=True)
class PhotoEstimate:
    """What is known about the levels of a photo, in the order of the degradation types.

    Attributes:
        names: The degradation types.
        levels: Their expected levels.
        low: Lower ends of the 90% intervals; none where the estimator has no intervals.
        high: Upper ends.
        distance: How far the photo is out of the range of the training photos; above 1 it is. None if the estimator
            cannot judge that.
        calibrated: Whether the intervals were calibrated.
    """

    names: tuple[str, ...]
    levels: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    distance: float | None = None
    calibrated: bool = False

    @property
    def out_of_range(self) -> bool:
        """Whether the photo is out of the range of the training photos, as far as the estimator can judge that."""
        return self.distance is not None and self.distance > 1

    def as_dict(self) -> dict[str, object]:
        """Returns levels and intervals by degradation type, and the rest, for JSON."""
        found: dict[str, object] = {'levels': dict(zip(self.names, _rounded(self.levels), strict=True))}
        if self.low is not None and self.high is not None:
            pairs = zip(_rounded(self.low), _rounded(self.high), strict=True)
            found['intervals_90'] = dict(zip(self.names, map(list, pairs), strict=True))
            found['calibrated'] = self.calibrated
        if self.distance is not None:
            found |= {'distance': round(self.distance, 3), 'out_of_range': self.out_of_range}
        return found

    def __str__(self) -> str:
        cells = [f'{name} {level:.1f}' for name, level in zip(self.names, self.levels, strict=True)]
        if self.low is not None and self.high is not None:
            ends = zip(cells, self.low, self.high, strict=True)
            cells = [f'{cell} ({low:.1f} to {high:.1f})' for cell, low, high in ends]
        return ', '.join(cells) + ('; outside of what the estimator was trained on' if self.out_of_range else '')


def _rounded(levels: Sequence[float]) -> list[float]:
    return [round(float(level), 3) for level in levels]


def check_edits(edits: Sequence[Edit], types: Types) -> tuple[Edit, ...]:
    """Resolves the names of edits to degradation types and leaves out those that change nothing.

    Raises:
        UserError: A name is unknown, or there are no levels; one line.
    """
    names = [one.name for one in types]
    resolved = []
    for edit in edits:
        targets = [name for name in _GROUPS.get(edit.name, ()) if name in names and edit.name not in names]
        if not targets and edit.name not in names:
            hint = nearest(edit.name, names) or f'; it has {", ".join(names) or "no levels"}'
            raise UserError(f"--{edit.name}: the model estimates no level called '{edit.name}'{hint}")
        targets = targets or [edit.name]
        targets = targets if edit.form == 'percent' else targets[:1]
        resolved += [dataclasses.replace(edit, name=name) for name in targets if not edit.changes_nothing]
    return tuple(resolved)


def names(types: Types) -> tuple[str, ...]:
    """Returns the names of degradation types."""
    return tuple(one.name for one in types)


def span(one: DegradationType[Any]) -> tuple[float, float]:
    """Returns the lowest and the highest level of training."""
    return one.training_levels[0], one.training_levels[-1]


def edited_levels(levels: Tensor, edits: Sequence[Edit], types: Types) -> Tensor:
    """Applies edits to the levels (..., K) of K degradation types; the result may be out of range."""
    columns = list(levels.unbind(-1))
    for k, one in enumerate(types):
        for edit in edits:
            if edit.name == one.name:
                columns[k] = edit.apply(columns[k], one)
    return torch.stack(columns, dim=-1)


def is_edited(edits: Sequence[Edit], types: Types, form: str | None = None) -> list[bool]:
    """Returns for each degradation type whether there is an edit of it, of one form or of any."""
    return [any(edit.name == one.name and form in (None, edit.form) for edit in edits) for one in types]


def stated_levels(text: str, edits: Sequence[Edit], table: LevelTable) -> tuple[float, ...]:
    """Parses fine captions to the level of each degradation type, and edits them.

    Raises:
        OptionError: The text is not made of captions; one line.
    """
    levels = []
    for one, level in zip(table.types, parse_levels(text, table), strict=True):
        for edit in edits:
            if edit.name == one.name:
                low, high = span(one)
                level = min(max(float(edit.apply(torch.tensor(level), one)), low), high)
        levels.append(level)
    return tuple(levels)
