"""The losses of stage 1 as BasicSR losses: the two published ones, and one that respects the order of levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from basicsr_plugin.errors import UserError
from deplsr_model.functional import (
    PUBLISHED_WEIGHTS,
    ContrastiveBatch,
    ContrastiveTerms,
    PairLoss,
    contrastive_terms,
    ordinal_cross_entropy,
    sigmoid_contrastive,
    softmax_contrastive,
)
from deplsr_model.level_text import PriorForm, Vocabulary, neighbour_target, whiten_texts

__all__ = ['ContrastiveLoss', 'DegradationOrdinalLoss', 'DegradationSigmoidLoss', 'DegradationSoftmaxLoss']


class ContrastiveLoss(nn.Module, ABC):
    """Base of the losses of stage 1: a subclass computes three terms, which are weighted and named here.

    Args:
        loss_weight: Factor on ``l_total``; the three terms are reported unweighted.
        weights: Of content, degradation and fine term.

    Raises:
        UserError: ``weights`` are not three numbers of at least 0.
    """

    #: How :class:`~deplsr_model.level_text.LevelEstimator` estimates levels from embeddings that this loss trained.
    estimate_form: ClassVar[PriorForm] = 'embedding'

    def __init__(self, loss_weight: float = 1.0, weights: Sequence[float] = PUBLISHED_WEIGHTS) -> None:
        super().__init__()
        listed = isinstance(weights, (list, tuple)) and len(weights) == 3
        if not listed or min(weights) < 0 or sum(weights) == 0:
            raise UserError(
                f'weights: expected three numbers of at least 0 and not all 0, got {weights}; '
                f'published are [0.2, 0.3, 0.5]'
            )
        self.loss_weight = loss_weight
        self.weights = (weights[0], weights[1], weights[2])

    @abstractmethod
    def terms(self, batch: ContrastiveBatch) -> ContrastiveTerms:
        """Computes the unweighted terms."""

    def forward(self, batch: ContrastiveBatch) -> dict[str, Tensor]:
        """Returns scalars ``l_content``, ``l_degradation``, ``l_fine`` and ``l_total``."""
        terms = self.terms(batch)
        named = {f'l_{name}': term for name, term in terms._asdict().items()}
        return {**named, 'l_total': self.loss_weight * terms.total(self.weights)}


@LOSS_REGISTRY.register()
class DegradationSoftmaxLoss(ContrastiveLoss):
    """CLIP's symmetric cross-entropy between an adaptor's embeddings and those of the captions.

    With several processes the model joins their batches first. Arguments are those of :class:`ContrastiveLoss`; a
    subclass with another loss on pairs overrides :meth:`pair_loss`.

    Source: Sci. Rep. 15, 28837 (2025); ``SrClipLossV2`` in the authors' code.
    """

    def pair_loss(self, batch: ContrastiveBatch) -> PairLoss:
        """Returns the loss on pairs of image and text embeddings."""
        return partial(softmax_contrastive, logit_scale=batch.logit_scale)

    def terms(self, batch: ContrastiveBatch) -> ContrastiveTerms:
        """Computes the unweighted terms."""
        return contrastive_terms(self.pair_loss(batch), batch.output, batch.text)


@LOSS_REGISTRY.register()
class DegradationSigmoidLoss(DegradationSoftmaxLoss):
    """SigLIP's sigmoid loss between an adaptor's embeddings and those of the captions.

    The published weights were trained with it. Equal captions within a batch count as negatives, as published.
    Arguments are those of :class:`ContrastiveLoss`.

    Source: Sci. Rep. 15, 28837 (2025); ``SrClipSigLipLoss`` in the authors' code.
    """

    def pair_loss(self, batch: ContrastiveBatch) -> PairLoss:
        """Returns the loss on pairs of image and text embeddings."""
        return partial(sigmoid_contrastive, logit_scale=batch.logit_scale, logit_bias=batch.logit_bias)


@LOSS_REGISTRY.register()
class DegradationOrdinalLoss(ContrastiveLoss):
    """Finds each level among the texts of all levels of its degradation type; near misses count as nearly right.

    The fine term of the published losses is replaced by :func:`ordinal_cross_entropy`; content and whole degradation
    keep CLIP's cross-entropy over the batch. With towers trained from scratch it estimates levels well where the
    published losses still perform like a constant answer (docs/prior_nominal.md).

    Arguments are those of :class:`ContrastiveLoss`. A subclass may override :meth:`prepare` (and ``estimate_form`` with
    it) and :meth:`target`.
    """

    estimate_form: ClassVar[PriorForm] = 'mixture'

    def __init__(self, loss_weight: float = 1.0, weights: Sequence[float] = PUBLISHED_WEIGHTS) -> None:
        super().__init__(loss_weight, weights)
        self._prepared: tuple[Vocabulary, Vocabulary] | None = None

    def prepare(self, texts: Tensor) -> Tensor:
        """Prepares the texts (L, D) of a degradation type, once for a vocabulary: whitened.

        Unchanged, those of blur are too close to each other to be distinguished sharply (docs/prior_nominal.md).
        """
        return whiten_texts(texts)

    def target(self, levels: Tensor, text_levels: Tensor) -> Tensor:
        """Returns the share (B, L) that each text has in the target, from levels (B,) and those of the texts (L,)."""
        return neighbour_target(levels, text_levels)

    def terms(self, batch: ContrastiveBatch) -> ContrastiveTerms:
        """Computes the unweighted terms."""
        output, text, scale = batch.output, batch.text, batch.logit_scale
        fine = [
            ordinal_cross_entropy(image, texts, self.target(true, known.to(texts.device)), scale)
            for image, (known, texts), true in zip(
                output.fine_degradation.unbind(1), self._prepare(batch.vocabulary), batch.levels.unbind(1), strict=True
            )
        ]
        return ContrastiveTerms(
            softmax_contrastive(output.content, text[:, 0], scale),
            softmax_contrastive(output.global_degradation, text[:, 1], scale),
            torch.stack(fine).mean(),
        )

    def _prepare(self, vocabulary: Vocabulary) -> Vocabulary:
        if self._prepared is None or self._prepared[0] is not vocabulary:
            self._prepared = vocabulary, [(known, self.prepare(texts)) for known, texts in vocabulary]
        return self._prepared[1]
