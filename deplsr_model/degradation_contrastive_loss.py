"""The two published losses of stage 1, as BasicSR losses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from basicsr_plugin.errors import UserError
from deplsr_arch.degradation_adaptor_arch import AdaptorOutput
from deplsr_model.functional import PairLoss, contrastive_terms, sigmoid_contrastive, softmax_contrastive

__all__ = ['DegradationSigmoidLoss', 'DegradationSoftmaxLoss']


class _DegradationContrastiveLoss(nn.Module):
    """What both losses share: the three terms, their weights and names."""

    def __init__(self, loss_weight: float = 1.0, weights: Sequence[float] = (0.2, 0.3, 0.5)) -> None:
        super().__init__()
        if len(weights) != 3 or min(weights) < 0:
            raise UserError(
                f'weights: expected three numbers of at least 0 (content, degradation, fine), got {list(weights)}; '
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

    Equal captions within a batch count as negatives, as published. Pairs are formed within the process: with several
    processes each sees its own part of the batch.

    Source: Sci. Rep. 15, 28837 (2025); ``SrClipLossV2`` in the authors' code.

    Args:
        loss_weight: Factor on ``l_total``; the three terms are reported as they are.
        weights: Of content, degradation and fine term.

    Shape:
        - output: content (B, D), degradation (B, D), fine (B, 5, D). text: (B, 7, D), semantic, whole degradation, five
          fine captions. All of unit length. logit_scale: scalar, already exponentiated.
        - returns scalars ``l_content``, ``l_degradation``, ``l_fine`` and ``l_total``.

    Raises:
        UserError: ``weights`` are not three numbers of at least 0.
    """

    def forward(
        self, output: AdaptorOutput, text: Tensor, logit_scale: Tensor, logit_bias: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes the terms; a softmax does not feel ``logit_bias``, which is taken so that both losses fit."""
        return self._named_terms(partial(softmax_contrastive, logit_scale=logit_scale), output, text)


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
        self, output: AdaptorOutput, text: Tensor, logit_scale: Tensor, logit_bias: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes the terms."""
        pair_loss = partial(sigmoid_contrastive, logit_scale=logit_scale, logit_bias=logit_bias)
        return self._named_terms(pair_loss, output, text)
