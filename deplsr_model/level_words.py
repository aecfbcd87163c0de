"""Levels as embeddings that keep their order, and embeddings back to levels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deplsr_model.vocabulary import Vocabulary, whiten_texts

__all__ = ['LevelEmbeddings']


class LevelEmbeddings:
    """Says levels in the space of texts, so that neighbouring levels lie side by side.

    The embeddings of single captions need not keep the order of levels, and what they share (all of them speak of a
    blur) outweighs what tells them apart. So a level is said by a mixture of the texts of a few evenly spaced levels,
    which are spread out first (:func:`whiten_texts`); half of a token's energy tells the degradation type, half the level. A true
    level mixes its two neighbours; a reading mixes all texts by their probability, which also says how sure it is.

    Args:
        vocabulary: For each of K degradation types its levels (L,), evenly spaced, and their texts' embeddings (L, D).
        spread: Whether photos are compared with the spread texts, as DegradationOrdinalLoss trains them, or with the
            texts as they are, as the published losses do.
    """

    def __init__(self, vocabulary: Vocabulary, spread: bool = True) -> None:
        self._levels = [known for known, _ in vocabulary]
        apart = [whiten_texts(texts) for _, texts in vocabulary]
        self._texts = apart if spread else [texts for _, texts in vocabulary]
        means = torch.stack([texts.mean(dim=0) for _, texts in vocabulary])
        degradation_types = F.normalize(means - means.mean(dim=0), dim=1)
        self._tokens = [
            (degradation_type + F.normalize(texts, dim=1)) / 2**0.5
            for degradation_type, texts in zip(degradation_types, apart, strict=True)
        ]

    def from_levels(self, levels: Tensor) -> Tensor:
        """Says true levels; those beyond the vocabulary count as its ends.

        Shape:
            - levels: (B, K). Returns (B, K, D), of about unit length.
        """
        weights = [
            (1 - (level[:, None].to(known) - known).abs() / (known[1] - known[0])).clamp(min=0)
            for level, known in (
                (one.to(known).clamp(known[0], known[-1]), known)
                for one, known in zip(levels.unbind(1), self._levels, strict=True)
            )
        ]
        return self._mix(weights)

    def from_estimate(self, fine: Tensor, logit_scale: Tensor) -> Tensor:
        """Says what the fine embeddings of an adaptor mean.

        Shape:
            - fine: (B, K, D) of unit length. logit_scale: scalar, exponentiated. Returns (B, K, D).
        """
        return self._mix(self._probabilities(fine, logit_scale))

    def read(self, fine: Tensor, logit_scale: Tensor) -> Tensor:
        """Returns the level that is expected for each degradation type: (B, K, D) to (B, K)."""
        weights = self._probabilities(fine, logit_scale)
        return torch.stack([one @ known for one, known in zip(weights, self._levels, strict=True)], dim=1)

    def _probabilities(self, fine: Tensor, logit_scale: Tensor) -> list[Tensor]:
        return [
            (logit_scale * one.to(texts.dtype) @ texts.T).softmax(dim=-1)
            for one, texts in zip(fine.unbind(1), self._texts, strict=True)
        ]

    def _mix(self, weights: list[Tensor]) -> Tensor:
        return torch.stack([one @ tokens for one, tokens in zip(weights, self._tokens, strict=True)], dim=1)
