"""Estimators whose estimates can be averaged over crops, shown and edited: one class for each sort of estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from basicsr_plugin.errors import UserError
from deplsr_arch.level_distribution_arch import LevelDistribution, cautious, quantile, trust
from deplsr_arch.level_regressor_arch import LevelRegressor
from deplsr_arch.number_tokens import distribution_tokens, number_tokens
from deplsr_arch.protocols import Estimator, TextEstimator, is_text_estimator
from deplsr_data.degradation.level_tables import LevelTable
from deplsr_data.tokens import tokenize
from deplsr_model.level_text import (
    LevelEmbeddings,
    LevelEstimator,
    PriorForm,
    embed_levels,
    level_positions,
    neighbour_shares,
    positions_to_levels,
)
from deplsr_model.upscaling.edits import Edit, PhotoEstimate, Types, edited_levels, is_edited, names, span

__all__ = ['Prior', 'SteeredEstimator', 'steered']

#: Content (1, 1, D) and degradation (1, K, D).
Prior = tuple[Tensor, Tensor]


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


def steered(
    estimator: Estimator, table: LevelTable, form: PriorForm = 'mixture', template: str = '{}'
) -> SteeredEstimator:
    """Returns the form of an estimator that can be edited.

    Args:
        estimator: A degradation estimator.
        table: The degradation types, of which it has the first.
        form: How levels are represented, option ``prior_form``.
        template: Text in which ``{}`` stands for a caption, for the form ``embedding``.
    """
    types = table.types[: estimator.num_degradation_types]
    if len(types) < estimator.num_degradation_types:
        raise UserError(
            f'network_da.num_degradation_types: expected at most {len(types)}, the types of {table.name} levels, got '
            f'{estimator.num_degradation_types}; name the plug-in that registers more'
        )
    if isinstance(estimator, LevelDistribution):
        return _Distribution(estimator, table)
    if isinstance(estimator, LevelRegressor):
        return _Numbers(estimator, table)
    if is_text_estimator(estimator):
        return _Mixture(estimator, table) if form == 'mixture' else _Embedding(estimator, table, template)
    return _Opaque(estimator)


class _Distribution:
    """LevelDistribution: edits move its distributions; a level that replaces the estimate is trusted anywhere."""

    def __init__(self, estimator: LevelDistribution, table: LevelTable) -> None:
        self.types: Types = table.types[: estimator.num_degradation_types]
        self._table = table
        self._net = estimator

    def observe(self, lq: Tensor) -> Tensor:
        return self._net.features(lq).float()

    def _shares(self, seen: Tensor, edits: Sequence[Edit]) -> Tensor:
        share = self._net.shares(seen)
        if not edits:
            return share
        positions = self._net.positions()[:, None].expand(-1, len(self.types))  # (L, K)
        levels = edited_levels(positions_to_levels(positions, self._table), edits, self.types)
        positions = level_positions(levels, self._table)
        changed = is_edited(edits, self.types)
        return torch.stack(
            [_moved(share[:, k], positions[:, k]) if changed[k] else share[:, k] for k in range(len(self.types))], dim=1
        )

    def estimate(self, seen: Tensor, edits: Sequence[Edit] = ()) -> PhotoEstimate:
        share = self._shares(seen, edits)
        mean, _ = self._net.moments(share)
        low, high = self._net.interval(share)
        ends = torch.cat([mean, low.minimum(mean), high.maximum(mean)])
        means, lows, highs = map(tuple, positions_to_levels(ends, self._table).tolist())
        calibrated = bool(self._net.whitening.any())
        distance = float(self._net.range_distance(seen)) if calibrated else None
        return PhotoEstimate(names(self.types), means, lows, highs, distance, calibrated)

    def prior(self, seen: Tensor, edits: Sequence[Edit] = ()) -> Prior:
        mean, deviation = self._net.moments(self._shares(seen, edits))
        weight = trust(self._net.distance(seen))[:, None, None]
        certain = is_edited(edits, self.types, 'level')
        wider = cautious(deviation)
        if any(certain):
            known = torch.tensor(certain, device=weight.device)[None]
            weight, wider = torch.where(known[..., None], 1.0, weight), torch.where(known, deviation, wider)
        tokens = weight * distribution_tokens(mean, wider, self._net.prior_dim)
        return seen.new_zeros(1, 1, self._net.prior_dim), tokens

    def stated(self, levels: Sequence[float]) -> Prior:
        at = _positions(levels, self.types, self._table).to(self._net.temperature)
        mean, deviation = self._net.moments(neighbour_shares(at, self._net.num_levels))
        return at.new_zeros(1, 1, self._net.prior_dim), distribution_tokens(mean, deviation, self._net.prior_dim)


def _moved(share: Tensor, positions: Tensor) -> Tensor:
    """Moves what a distribution (1, L) has at each of its levels to a position (L,) in 0..1."""
    return share @ neighbour_shares(positions, share.shape[-1])


def _positions(levels: Sequence[float], types: Types, table: LevelTable) -> Tensor:
    """Scales levels to 0..1 as the estimators that work with numbers do: (1, K)."""
    return level_positions(torch.tensor([list(levels)[: len(types)]], dtype=torch.float32), table)


class _Numbers:
    """LevelRegressor: edits change its numbers."""

    def __init__(self, estimator: LevelRegressor, table: LevelTable) -> None:
        self.types: Types = table.types[: estimator.num_degradation_types]
        self._table = table
        self._net = estimator

    def observe(self, lq: Tensor) -> Tensor:
        return self._net(lq)

    def _edited(self, seen: Tensor, edits: Sequence[Edit]) -> Tensor:
        levels = edited_levels(positions_to_levels(seen, self._table), edits, self.types)
        changed = torch.tensor(is_edited(edits, self.types), device=seen.device)
        return torch.where(changed, level_positions(levels, self._table), seen)

    def estimate(self, seen: Tensor, edits: Sequence[Edit] = ()) -> PhotoEstimate:
        levels = positions_to_levels(self._edited(seen, edits), self._table)
        return PhotoEstimate(names(self.types), tuple(levels[0].tolist()))

    def prior(self, seen: Tensor, edits: Sequence[Edit] = ()) -> Prior:
        content = seen.new_zeros(1, 1, self._net.prior_dim)
        return content, number_tokens(self._edited(seen, edits), self._net.prior_dim)

    def stated(self, levels: Sequence[float]) -> Prior:
        at = _positions(levels, self.types, self._table).to(next(self._net.parameters()))
        return at.new_zeros(1, 1, self._net.prior_dim), number_tokens(at, self._net.prior_dim)


class _Text:
    """An adaptor: content and fine embeddings, of unit length also as means over crops."""

    def __init__(self, estimator: TextEstimator, table: LevelTable) -> None:
        self.types: Types = table.types[: estimator.num_degradation_types]
        self._net = estimator

    def observe(self, lq: Tensor) -> Tensor:
        return torch.cat(self._net.prior(lq), dim=1)  # (1, 1 + K, D)

    def _no_content(self, like: Tensor) -> Tensor:
        return like.new_zeros(1, 1, like.shape[-1])


class _Mixture(_Text):
    """An adaptor in the form ``mixture``: edits move the probabilities of its level texts."""

    def __init__(self, estimator: TextEstimator, table: LevelTable) -> None:
        super().__init__(estimator, table)
        self._embeddings = LevelEmbeddings(embed_levels(estimator, table))

    def _shares(self, seen: Tensor, edits: Sequence[Edit]) -> list[Tensor]:
        shares = self._embeddings.probabilities(seen[:, 1:], self._net.logit_scale.exp())
        changed = is_edited(edits, self.types)
        for k, one in enumerate(self.types):
            if changed[k]:
                low, high = span(one)
                levels = torch.linspace(low, high, shares[k].shape[-1], device=seen.device)[:, None]
                edited = edited_levels(levels, edits, [one])[:, 0]
                shares[k] = _moved(shares[k], (edited - low) / (high - low))
        return shares

    def estimate(self, seen: Tensor, edits: Sequence[Edit] = ()) -> PhotoEstimate:
        found: list[tuple[float, float, float]] = []
        for share, one in zip(self._shares(seen, edits), self.types, strict=True):
            mean = float(share @ torch.linspace(0, 1, share.shape[-1], device=share.device))
            ends = (mean, min(float(quantile(share, 0.05)), mean), max(float(quantile(share, 0.95)), mean))
            low, high = span(one)
            found.append((low + (high - low) * ends[0], low + (high - low) * ends[1], low + (high - low) * ends[2]))
        return PhotoEstimate(names(self.types), *zip(*found, strict=True))  # type: ignore[arg-type]

    def prior(self, seen: Tensor, edits: Sequence[Edit] = ()) -> Prior:
        return seen[:, :1], self._embeddings.mix(self._shares(seen, edits))

    def stated(self, levels: Sequence[float]) -> Prior:
        known = torch.tensor([list(levels)[: len(self.types)]], device=self._net.logit_scale.device)
        degradation = self._embeddings.from_levels(known)
        return self._no_content(degradation), degradation


class _Embedding(_Text):
    """An adaptor in the published form: the estimate is the nearest text; edits replace embeddings by captions'."""

    def __init__(self, estimator: TextEstimator, table: LevelTable, template: str) -> None:
        super().__init__(estimator, table)
        self._levels = LevelEstimator(estimator, table, 'embedding', template)

    def _edited(self, seen: Tensor, edits: Sequence[Edit]) -> Tensor:
        levels = edited_levels(self._levels.estimate(F.normalize(seen[:, 1:], dim=-1))[0], edits, self.types)
        low, high = (torch.tensor(ends).to(levels) for ends in zip(*map(span, self.types), strict=True))
        return torch.where(
            torch.tensor(is_edited(edits, self.types)).to(levels.device), levels.clamp(low, high), levels
        )

    def estimate(self, seen: Tensor, edits: Sequence[Edit] = ()) -> PhotoEstimate:
        return PhotoEstimate(names(self.types), tuple(self._edited(seen, edits).tolist()))

    def prior(self, seen: Tensor, edits: Sequence[Edit] = ()) -> Prior:
        degradation = seen[:, 1:].clone()
        if edits:
            texts = self._captions(self._edited(seen, edits).tolist())
            changed = is_edited(edits, self.types)
            degradation[:, changed] = texts[changed]
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
