"""What the experiment alone uses, registered with BasicSR and with the package: priors and losses.

Runs load it by ``plugins: [benchmarks.prior.controls]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor

from basicsr_plugin.errors import OptionError, UserError
from deplsr_arch.degradation_adaptor_arch import DegradationAdaptor
from deplsr_arch.number_tokens import number_tokens
from deplsr_model.degradation_contrastive_loss import DegradationOrdinalLoss, DegradationSoftmaxLoss
from deplsr_model.functional import ContrastiveBatch, PairLoss, pair_similarities
from deplsr_model.level_text import LevelEmbeddings, level_positions
from deplsr_model.prior import PriorInputs, PriorSetup, register_prior

__all__ = [
    'AblatedOrdinalLoss',
    'EqualPositivesSoftmaxLoss',
    'FrozenCLIPPrior',
    'TrueNumbersPrior',
    'UnwhitenedLevels',
]


@register_prior('levels', needs_estimator=False)
class TrueNumbersPrior:
    """The true levels as number tokens, without text and without content."""

    def __init__(self, setup: PriorSetup) -> None:
        self._dim, self._table = setup.dim, setup.table

    def __call__(self, inputs: PriorInputs) -> tuple[Tensor, Tensor]:
        """Returns content (B, 1, D), zeros, and degradation (B, K, D).

        Raises:
            UserError: The levels are missing.
        """
        if inputs.levels is None:
            raise UserError(
                'prior: levels: expected a data set with levels, got none; take CaptionedDegradationDataset'
            )
        lq = inputs.lq
        positions = level_positions(inputs.levels.to(lq), self._table)
        return lq.new_zeros(len(lq), 1, self._dim), number_tokens(positions, self._dim)


@register_prior('clip')
class FrozenCLIPPrior:
    """The image embedding of the adaptor's frozen CLIP, once as content and K times as degradation.

    Raises:
        OptionError: The estimator has no CLIP.
    """

    def __init__(self, setup: PriorSetup) -> None:
        if not isinstance(setup.estimator, DegradationAdaptor):
            raise OptionError(
                f'prior: clip: expected network_da: DegradationAdaptor, got {type(setup.estimator).__name__}; '
                'only the adaptor has a CLIP'
            )
        self._adaptor = setup.estimator
        self._num_types = setup.num_types

    @torch.no_grad()
    def __call__(self, inputs: PriorInputs) -> tuple[Tensor, Tensor]:
        """Returns content (B, 1, D) and degradation (B, K, D)."""
        seen = self._adaptor.clip_embedding(inputs.lq).unsqueeze(1)
        return seen, seen.expand(-1, self._num_types, -1)


@LOSS_REGISTRY.register()
class EqualPositivesSoftmaxLoss(DegradationSoftmaxLoss):
    """DegradationSoftmaxLoss in which all photos with equal captions are each other's positives, in equal shares."""

    def pair_loss(self, batch: ContrastiveBatch) -> PairLoss:
        """Returns the loss on pairs of image and text embeddings."""
        return partial(equal_positives_softmax, logit_scale=batch.logit_scale)


def equal_positives_softmax(image: Tensor, text: Tensor, logit_scale: Tensor | float) -> Tensor:
    """softmax_contrastive with a target that is shared by all photos whose texts are equal."""
    logits = logit_scale * pair_similarities(image, text)  # (..., B, B)
    positives = (pair_similarities(text, text) > 1 - 1e-6).to(logits.dtype)
    positives = positives / positives.sum(dim=-1, keepdim=True)
    both = logits.log_softmax(dim=-1) + logits.transpose(-2, -1).log_softmax(dim=-1)
    return -(positives * both).sum(dim=-1).mean(dim=-1) / 2


@LOSS_REGISTRY.register()
class AblatedOrdinalLoss(DegradationOrdinalLoss):
    """DegradationOrdinalLoss with soft targets, or with texts that are not whitened.

    Args:
        loss_weight: As in DegradationOrdinalLoss.
        weights: As in DegradationOrdinalLoss.
        softness: Standard deviation of a Gaussian target in steps between neighbouring texts; 0 for the target of
            DegradationOrdinalLoss. A wide target is pulled inwards at the ends of the range.
        whitened: Whether the texts are whitened.

    Raises:
        UserError: ``softness`` is below 0.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        weights: Sequence[float] = (0.2, 0.3, 0.5),
        softness: float = 0.0,
        whitened: bool = True,
    ) -> None:
        super().__init__(loss_weight, weights)
        if softness < 0:
            raise UserError(f'softness: expected a number of at least 0, got {softness}; 1 is a step between texts')
        self.softness = softness
        self.whitened = whitened

    def prepare(self, texts: Tensor) -> Tensor:
        """Prepares the texts (L, D) of a degradation type."""
        return super().prepare(texts) if self.whitened else texts

    def target(self, levels: Tensor, text_levels: Tensor) -> Tensor:
        """Returns the share (B, L) that each text has in the target."""
        if not self.softness:
            return super().target(levels, text_levels)
        step = text_levels[1] - text_levels[0]
        distance = (levels.clamp(text_levels[0], text_levels[-1])[:, None] - text_levels) / step
        return (-((distance / self.softness) ** 2) / 2).softmax(dim=-1)


class UnwhitenedLevels(LevelEmbeddings):
    """LevelEmbeddings for adaptors that were trained with texts that are not whitened."""

    def prepare(self, texts: Tensor) -> Tensor:
        """Returns the texts that photos are compared with."""
        return texts
