"""The losses of stage 1 as BasicSR losses: the two published ones, and one that knows the order of levels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from basicsr_plugin.errors import UserError
from deplsr_arch.degradation_adaptor_arch import AdaptorOutput
from deplsr_model.functional import (
    PairLoss,
    contrastive_terms,
    ordinal_cross_entropy,
    sigmoid_contrastive,
    softmax_contrastive,
)
from deplsr_model.vocabulary import Vocabulary, whiten_texts

__all__ = ['DegradationOrdinalLoss', 'DegradationSigmoidLoss', 'DegradationSoftmaxLoss']


class _DegradationContrastiveLoss(nn.Module):
    """What the losses share: the three terms, their weights and names."""

    def __init__(self, loss_weight: float = 1.0, weights: Sequence[float] = (0.2, 0.3, 0.5)) -> None:
        super().__init__()
        listed = isinstance(weights, (list, tuple)) and len(weights) == 3
        if not listed or min(weights) < 0 or sum(weights) == 0:
            raise UserError(
                f'weights: expected three numbers of at least 0 and not all 0, got {weights}; '
                f'published are [0.2, 0.3, 0.5]'
            )
        self.loss_weight = loss_weight
        self.weights = (weights[0], weights[1], weights[2])

    def _named_terms(self, pair_loss: PairLoss, output: AdaptorOutput, text: Tensor) -> dict[str, Tensor]:
        terms = contrastive_terms(pair_loss, *output, text, self.weights)
        return {
            'l_content': terms.content,
            'l_degradation': terms.degradation,
            'l_fine': terms.fine,
            'l_total': self.loss_weight * terms.total,
        }


@LOSS_REGISTRY.register()
class DegradationSoftmaxLoss(_DegradationContrastiveLoss):
    """CLIP's symmetric cross-entropy between an adaptor's embeddings and those of the captions.

    Pairs are formed within the process: with several processes each sees its own part of the batch.

    Source: Sci. Rep. 15, 28837 (2025); ``SrClipLossV2`` in the authors' code.

    Args:
        loss_weight: Factor on ``l_total``; the three terms are reported as they are.
        weights: Of content, degradation and fine term.
        equal_positive: Whether photos with equal captions are each other's positives; published: negatives.

    Shape:
        - output: content (B, D), degradation (B, D), fine (B, 5, D). text: (B, 7, D), semantic, whole degradation, five
          fine captions. All of unit length. logit_scale: scalar, already exponentiated.
        - returns scalars ``l_content``, ``l_degradation``, ``l_fine`` and ``l_total``.

    Raises:
        UserError: ``weights`` are not three numbers of at least 0.
    """

    def __init__(
        self, loss_weight: float = 1.0, weights: Sequence[float] = (0.2, 0.3, 0.5), equal_positive: bool = False
    ) -> None:
        super().__init__(loss_weight, weights)
        self.equal_positive = equal_positive

    def forward(
        self,
        output: AdaptorOutput,
        text: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        levels: Tensor | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> dict[str, Tensor]:
        """Computes the terms; what only other losses need is taken so that all fit the same call."""
        pair_loss = partial(softmax_contrastive, logit_scale=logit_scale, equal_positive=self.equal_positive)
        return self._named_terms(pair_loss, output, text)


@LOSS_REGISTRY.register()
class DegradationSigmoidLoss(_DegradationContrastiveLoss):
    """SigLIP's sigmoid loss between an adaptor's embeddings and those of the captions.

    The published weights were trained with it. Equal captions within a batch count as negatives, as published. Pairs
    are formed within the process: with several processes each sees its own part of the batch.

    Source: Sci. Rep. 15, 28837 (2025); ``SrClipSigLipLoss`` in the authors' code.

    Args:
        loss_weight: Factor on ``l_total``; the three terms are reported as they are.
        weights: Of content, degradation and fine term.

    Shape:
        - output: content (B, D), degradation (B, D), fine (B, 5, D). text: (B, 7, D), semantic, whole degradation, five
          fine captions. All of unit length. logit_scale: scalar, already exponentiated. logit_bias: scalar or None.
        - returns scalars ``l_content``, ``l_degradation``, ``l_fine`` and ``l_total``.

    Raises:
        UserError: ``weights`` are not three numbers of at least 0.
    """

    def forward(
        self,
        output: AdaptorOutput,
        text: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        levels: Tensor | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> dict[str, Tensor]:
        """Computes the terms; what only other losses need is taken so that all fit the same call."""
        pair_loss = partial(sigmoid_contrastive, logit_scale=logit_scale, logit_bias=logit_bias)
        return self._named_terms(pair_loss, output, text)


@LOSS_REGISTRY.register()
class DegradationOrdinalLoss(_DegradationContrastiveLoss):
    """Finds each level among the texts of all levels of its degradation type; near misses count as nearly right.

    The fine term of the published losses is replaced by :func:`ordinal_cross_entropy`; content and whole degradation
    keep CLIP's cross-entropy over the batch. With towers trained from scratch it reads well where the published losses
    still read at chance (README, "What the demo shows").

    Args:
        loss_weight: Factor on ``l_total``; the three terms are reported as they are.
        weights: Of content, degradation and fine term.
        softness: Width of the target in steps of the vocabulary; 0 for the two neighbours of the level alone.
        spread: Whether the texts are brought apart first (:func:`whiten_texts`); without, those of blur are too near to
            each other to be told apart sharply (docs/prior.md).

    Shape:
        - output, text, logit_scale: As in :class:`DegradationSoftmaxLoss`. levels: (B, 5) true levels. vocabulary: for
          each degradation type the levels (L,) and their texts' embeddings (L, D).
        - returns scalars ``l_content``, ``l_degradation``, ``l_fine`` and ``l_total``.

    Raises:
        UserError: ``weights`` are not three numbers of at least 0, or ``softness`` is below 0.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        weights: Sequence[float] = (0.2, 0.3, 0.5),
        softness: float = 0.0,
        spread: bool = True,
    ) -> None:
        super().__init__(loss_weight, weights)
        if softness < 0:
            raise UserError(f'softness: expected a number of at least 0, got {softness}; 1 is a step of the vocabulary')
        self.softness = softness
        self.spread = spread
        self._prepared: tuple[Vocabulary, Vocabulary] | None = None

    def forward(
        self,
        output: AdaptorOutput,
        text: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        levels: Tensor | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> dict[str, Tensor]:
        """Computes the terms; ``levels`` and ``vocabulary`` are needed."""
        if levels is None or vocabulary is None:
            raise UserError('DegradationOrdinalLoss: expected true levels and a vocabulary, got none; give both')
        fine = [
            ordinal_cross_entropy(image, texts, known.to(texts.device), true, logit_scale, self.softness)
            for image, (known, texts), true in zip(
                output.fine_degradation.unbind(1), self._spread(vocabulary), levels.unbind(1), strict=True
            )
        ]
        terms = {
            'l_content': softmax_contrastive(output.content, text[:, 0], logit_scale),
            'l_degradation': softmax_contrastive(output.global_degradation, text[:, 1], logit_scale),
            'l_fine': torch.stack(fine).mean(),
        }
        # a term without weight is left out of the sum: no time is spent on its gradient
        weighted = [weight * term for weight, term in zip(self.weights, terms.values(), strict=True) if weight]
        return {**terms, 'l_total': self.loss_weight * torch.stack(weighted).sum()}

    def _spread(self, vocabulary: Vocabulary) -> Vocabulary:
        """Spreads the texts, once for a vocabulary."""
        if not self.spread:
            return vocabulary
        if self._prepared is None or self._prepared[0] is not vocabulary:
            self._prepared = vocabulary, [(known, whiten_texts(texts)) for known, texts in vocabulary]
        return self._prepared[1]
