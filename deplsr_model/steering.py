"""Estimates of one photo's degradation, edits of them, and the prior that results."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from basicsr_plugin.errors import UserError
from basicsr_plugin.names import nearest
from deplsr_arch.level_distribution_arch import LevelDistribution, quantile, trust
from deplsr_arch.level_regressor_arch import LevelRegressor
from deplsr_arch.number_tokens import distribution_tokens, number_tokens
from deplsr_arch.protocols import Estimator, TextEstimator, is_text_estimator
from deplsr_data.degradation.types import DEGRADATION_TYPES, DegradationType
from deplsr_data.tokens import tokenize
from deplsr_model.calibration import neighbour_shares
from deplsr_model.level_text import LevelEmbeddings, LevelEstimator, PriorForm, embed_levels
from deplsr_model.prior import parse_levels

__all__ = ['Edit', 'PhotoEstimate', 'SteeredEstimator', 'Steering', 'parse_edit', 'steered']

Types = Sequence[DegradationType]
Prior = tuple[Tensor, Tensor]

#: Names that edits may use for several degradation types. A level has a unit, so only a percentage changes all of them;
#: the first is the one that other edits change.
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

    def apply(self, levels: Tensor, degradation_type: DegradationType) -> Tensor:
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
        distance: Distance from the training photos; above 1 the photo is outside of what the estimator was trained on.
            None if the estimator cannot judge that.
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
        """Whether the photo is outside of what the estimator was trained on, as far as it can judge that."""
        return self.distance is not None and self.distance > 1

    def as_dict(self) -> dict[str, Any]:
        """Returns levels and intervals by degradation type, and the rest, for JSON."""
        found: dict[str, Any] = {'levels': dict(zip(self.names, _rounded(self.levels), strict=True))}
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


class SteeredEstimator(Protocol):
    """An estimator whose estimates can be averaged over crops, shown, and edited.

    Attributes:
        types: Its degradation types; empty if its estimate cannot be expressed in levels.
    """

    types: Types

    def observe(self, lq: Tensor) -> Tensor:
        """Returns what is estimated from (1, 3, h, w), in a form whose mean over crops is an estimate too."""
        ...

    def estimate(self, seen: Tensor, edits: Sequence[Edit] = ()) -> PhotoEstimate:
        """Returns levels, after edits."""
        ...

    def prior(self, seen: Tensor, edits: Sequence[Edit] = ()) -> Prior:
        """Returns content (1, 1, D) and degradation (1, K, D), after edits."""
        ...

    def stated(self, levels: Sequence[float]) -> Prior:
        """Returns content, zeros, and degradation for levels that are known."""
        ...


def steered(estimator: Estimator, form: PriorForm = 'mixture', template: str = '{}') -> SteeredEstimator:
    """Returns the form of an estimator that can be edited.

    Args:
        estimator: A degradation estimator.
        form: How levels are represented, option ``prior_form``.
        template: Text in which ``{}`` stands for a caption, for the form ``embedding``.
    """
    types = tuple(DEGRADATION_TYPES[: estimator.num_degradation_types])
    if isinstance(estimator, LevelDistribution):
        return _Distribution(estimator, types)
    if isinstance(estimator, LevelRegressor):
        return _Numbers(estimator, types)
    if is_text_estimator(estimator):
        return _Mixture(estimator, types) if form == 'mixture' else _Embedding(estimator, types, template)
    return _Opaque(estimator)


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


def _span(one: DegradationType) -> tuple[float, float]:
    return one.training_levels[0], one.training_levels[-1]


def _to_levels(positions: Sequence[float], types: Types) -> tuple[float, ...]:
    spans = map(_span, types)
    return tuple(low + (high - low) * float(at) for at, (low, high) in zip(positions, spans, strict=True))


def _moved(share: Tensor, edits: Sequence[Edit], one: DegradationType) -> Tensor:
    """Moves a distribution (1, L) over evenly spaced levels as edits of its type change each level."""
    low, high = _span(one)
    for edit in edits:
        if edit.name == one.name:
            levels = torch.linspace(low, high, share.shape[-1], device=share.device)
            positions = (edit.apply(levels, one) - low) / (high - low)
            share = share @ neighbour_shares(positions, share.shape[-1])
    return share


class _Distribution:
    """LevelDistribution: edits move its distributions; a level that replaces the estimate is trusted anywhere."""

    def __init__(self, estimator: LevelDistribution, types: Types) -> None:
        self.types = types
        self._net = estimator

    def observe(self, lq: Tensor) -> Tensor:
        return self._net.features(lq).float()

    def _shares(self, seen: Tensor, edits: Sequence[Edit]) -> Tensor:
        share = self._net.shares(seen)
        if not edits:
            return share
        return torch.stack([_moved(share[:, k], edits, one) for k, one in enumerate(self.types)], dim=1)

    def estimate(self, seen: Tensor, edits: Sequence[Edit] = ()) -> PhotoEstimate:
        share = self._shares(seen, edits)
        mean, _ = self._net.moments(share)
        low, high = self._net.interval(share)
        low, high = low.minimum(mean), high.maximum(mean)
        calibrated = bool(self._net.whitening.any())
        ends = [_to_levels(one[0].tolist(), self.types) for one in (mean, low, high)]
        distance = float(self._net.distance(seen)) if calibrated else None
        return PhotoEstimate(tuple(one.name for one in self.types), *ends, distance, calibrated)

    def prior(self, seen: Tensor, edits: Sequence[Edit] = ()) -> Prior:
        mean, deviation = self._net.moments(self._shares(seen, edits))
        weight = trust(self._net.distance(seen))[:, None, None].expand(-1, len(self.types), 1)
        certain = [any(edit.name == one.name and edit.form == 'level' for edit in edits) for one in self.types]
        if any(certain):
            weight = torch.where(torch.tensor(certain, device=weight.device)[None, :, None], 1.0, weight)
        tokens = weight * distribution_tokens(mean, deviation, self._net.prior_dim)
        return seen.new_zeros(1, 1, self._net.prior_dim), tokens

    def stated(self, levels: Sequence[float]) -> Prior:
        at = _positions(levels, self.types).to(self._net.temperature)
        mean, deviation = self._net.moments(neighbour_shares(at, self._net.num_levels))
        return at.new_zeros(1, 1, self._net.prior_dim), distribution_tokens(mean, deviation, self._net.prior_dim)


def _positions(levels: Sequence[float], types: Types) -> Tensor:
    """Scales levels to 0..1: (1, K)."""
    pairs = zip(levels, map(_span, types), strict=False)
    return torch.tensor([[(level - low) / (high - low) for level, (low, high) in pairs]]).clamp(0, 1)


class _Numbers:
    """LevelRegressor: edits change its numbers."""

    def __init__(self, estimator: LevelRegressor, types: Types) -> None:
        self.types = types
        self._net = estimator

    def observe(self, lq: Tensor) -> Tensor:
        return self._net(lq)

    def _edited(self, seen: Tensor, edits: Sequence[Edit]) -> Tensor:
        seen = seen.clone()
        for edit in edits:
            k = [one.name for one in self.types].index(edit.name)
            low, high = _span(self.types[k])
            level = edit.apply(low + (high - low) * seen[:, k], self.types[k])
            seen[:, k] = ((level - low) / (high - low)).clamp(0, 1)
        return seen

    def estimate(self, seen: Tensor, edits: Sequence[Edit] = ()) -> PhotoEstimate:
        levels = _to_levels(self._edited(seen, edits)[0].tolist(), self.types)
        return PhotoEstimate(tuple(one.name for one in self.types), levels)

    def prior(self, seen: Tensor, edits: Sequence[Edit] = ()) -> Prior:
        content = seen.new_zeros(1, 1, self._net.prior_dim)
        return content, number_tokens(self._edited(seen, edits), self._net.prior_dim)

    def stated(self, levels: Sequence[float]) -> Prior:
        at = _positions(levels, self.types).to(next(self._net.parameters()))
        return at.new_zeros(1, 1, self._net.prior_dim), number_tokens(at, self._net.prior_dim)


class _Text:
    """An adaptor: content and fine embeddings, of unit length also as means over crops."""

    def __init__(self, estimator: TextEstimator, types: Types) -> None:
        self.types = types
        self._net = estimator

    def observe(self, lq: Tensor) -> Tensor:
        return torch.cat(self._net.prior(lq), dim=1)  # (1, 1 + K, D)

    def _no_content(self, like: Tensor) -> Tensor:
        return like.new_zeros(1, 1, like.shape[-1])


class _Mixture(_Text):
    """An adaptor in the form ``mixture``: edits move the probabilities of its level texts."""

    def __init__(self, estimator: TextEstimator, types: Types) -> None:
        super().__init__(estimator, types)
        self._embeddings = LevelEmbeddings(embed_levels(estimator))

    def _shares(self, seen: Tensor, edits: Sequence[Edit]) -> list[Tensor]:
        shares = self._embeddings.probabilities(seen[:, 1:], self._net.logit_scale.exp())
        return [_moved(share, edits, one) for share, one in zip(shares, self.types, strict=True)]

    def estimate(self, seen: Tensor, edits: Sequence[Edit] = ()) -> PhotoEstimate:
        shares = self._shares(seen, edits)
        means = [float(share @ torch.linspace(0, 1, share.shape[-1], device=share.device)) for share in shares]
        low = [min(float(quantile(share, 0.05)), mean) for share, mean in zip(shares, means, strict=True)]
        high = [max(float(quantile(share, 0.95)), mean) for share, mean in zip(shares, means, strict=True)]
        names = tuple(one.name for one in self.types)
        return PhotoEstimate(names, *(_to_levels(ends, self.types) for ends in (means, low, high)))

    def prior(self, seen: Tensor, edits: Sequence[Edit] = ()) -> Prior:
        return seen[:, :1], self._embeddings.mix(self._shares(seen, edits))

    def stated(self, levels: Sequence[float]) -> Prior:
        known = torch.tensor([list(levels)[: len(self.types)]], device=self._net.logit_scale.device)
        degradation = self._embeddings.from_levels(known)
        return self._no_content(degradation), degradation


class _Embedding(_Text):
    """An adaptor in the published form: the estimate is the nearest text; edits replace embeddings by captions'."""

    def __init__(self, estimator: TextEstimator, types: Types, template: str) -> None:
        super().__init__(estimator, types)
        self._levels = LevelEstimator(estimator, 'embedding', template)

    def _edited(self, seen: Tensor, edits: Sequence[Edit]) -> Tensor:
        levels = self._levels.estimate(F.normalize(seen[:, 1:], dim=-1))[0]
        for edit in edits:
            k = [one.name for one in self.types].index(edit.name)
            low, high = _span(self.types[k])
            levels[k] = edit.apply(levels[k], self.types[k]).clamp(low, high)
        return levels

    def estimate(self, seen: Tensor, edits: Sequence[Edit] = ()) -> PhotoEstimate:
        return PhotoEstimate(tuple(one.name for one in self.types), tuple(self._edited(seen, edits).tolist()))

    def prior(self, seen: Tensor, edits: Sequence[Edit] = ()) -> Prior:
        degradation = seen[:, 1:].clone()
        if edits:
            texts = self._captions(self._edited(seen, edits).tolist())
            for k, one in enumerate(self.types):
                if any(edit.name == one.name for edit in edits):
                    degradation[:, k] = texts[k]
        return seen[:, :1], degradation

    def stated(self, levels: Sequence[float]) -> Prior:
        degradation = self._captions(levels)[None]
        return self._no_content(degradation), degradation

    def _captions(self, levels: Sequence[float]) -> Tensor:
        texts = [one.caption(level) for one, level in zip(self.types, levels, strict=False)]
        tokens = tokenize(texts, self._net.tokenizer, self._net.context_length)
        return self._net.encode_text(tokens.to(self._net.logit_scale.device))


class _Opaque:
    """An estimator of another package: its prior is used as it is."""

    types: Types = ()

    def __init__(self, estimator: Estimator) -> None:
        self._net = estimator

    def observe(self, lq: Tensor) -> Tensor:
        return torch.cat(self._net.prior(lq), dim=1)

    def estimate(self, seen: Tensor, edits: Sequence[Edit] = ()) -> PhotoEstimate:
        return PhotoEstimate((), ())

    def prior(self, seen: Tensor, edits: Sequence[Edit] = ()) -> Prior:
        return seen[:, :1], seen[:, 1:]

    def stated(self, levels: Sequence[float]) -> Prior:
        raise UserError('--prior: expected an estimator with levels, got one of another package; leave it out')


def stated_levels(text: str, edits: Sequence[Edit], types: Types) -> tuple[float, ...]:
    """Parses fine captions to levels of the estimator's degradation types, and edits them.

    Raises:
        OptionError: The text is not made of captions; one line.
    """
    levels = []
    for one, level in zip(types, parse_levels(text), strict=False):
        for edit in edits:
            if edit.name == one.name:
                low, high = _span(one)
                level = min(max(float(edit.apply(torch.tensor(level), one)), low), high)
        levels.append(level)
    return tuple(levels)
