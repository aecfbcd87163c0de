"""Losses and accuracy of stage 1 as pure functions.

Source: Sci. Rep. 15, 28837 (2025), training of the Degradation Adaptor. :func:`softmax_contrastive` and
:func:`sigmoid_contrastive` are the published losses and share their weakness: captions that are equal within a batch
(many photos have ``no ringing``) count as negatives of each other, and levels that nearly agree (sigma 1.0 and 1.1) as
much as levels far apart. :func:`ordinal_cross_entropy` is ours and avoids both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deplsr_model.level_text import Vocabulary

if TYPE_CHECKING:
    from deplsr_arch.degradation_adaptor_arch import AdaptorOutput

__all__ = [
    'PUBLISHED_WEIGHTS',
    'ContrastiveBatch',
    'ContrastiveTerms',
    'PairLoss',
    'contrastive_terms',
    'level_accuracy',
    'ordinal_cross_entropy',
    'pair_similarities',
    'sigmoid_contrastive',
    'softmax_contrastive',
]

#: Image and text embeddings, both (B, D) or (B, K, D), to a scalar or (K,).
#: Weights of the content, the global and the fine term.
PUBLISHED_WEIGHTS = (0.2, 0.3, 0.5)

PairLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ContrastiveBatch:
    """What a loss of stage 1 may use of a batch; all embeddings are of unit length.

    Attributes:
        output: The adaptor's embeddings of the photos, content (B, D), global (B, D) and fine (B, K, D).
        text: (B, 2 + K, D) embeddings of each photo's captions: semantic, whole degradation, then the K fine ones.
        logit_scale: Factor on the cosine similarities, a scalar, already exponentiated.
        logit_bias: Added to every logit, a scalar; None for 0.
        levels: (B, K) true levels.
        vocabulary: For each degradation type its training levels (L,) and the embeddings (L, D) of their texts.
    """

    output: AdaptorOutput
    text: Tensor
    logit_scale: Tensor
    logit_bias: Tensor | None
    levels: Tensor
    vocabulary: Vocabulary


class ContrastiveTerms(NamedTuple):
    """The three terms of stage 1 before weighting; all scalars."""

    content: Tensor
    degradation: Tensor
    fine: Tensor

    def total(self, weights: tuple[float, float, float] = PUBLISHED_WEIGHTS) -> Tensor:
        """Returns the weighted sum; a term without weight is left out, so that no time is spent on its gradient."""
        return torch.stack([weight * term for weight, term in zip(weights, self, strict=True) if weight]).sum()


def softmax_contrastive(image: Tensor, text: Tensor, logit_scale: Tensor | float) -> Tensor:
    """CLIP's loss: mean cross-entropy of finding the text of an image and the image of a text among the batch.

    Args:
        image: Image embeddings of unit length.
        text: Text embeddings of unit length, row by row the partners of ``image``.
        logit_scale: Factor on the cosine similarities, already exponentiated.

    Shape:
        - image, text: (B, D), or (B, K, D) for K degradation types whose pairs are formed within a type only.
        - returns a scalar, or (K,).
    """
    logits = logit_scale * pair_similarities(image, text)  # (..., B, B)
    image_to_text = logits.log_softmax(dim=-1).diagonal(dim1=-2, dim2=-1)  # (..., B)
    text_to_image = logits.log_softmax(dim=-2).diagonal(dim1=-2, dim2=-1)
    return -(image_to_text + text_to_image).mean(dim=-1) / 2


def sigmoid_contrastive(
    image: Tensor, text: Tensor, logit_scale: Tensor | float, logit_bias: Tensor | float | None = None
) -> Tensor:
    """SigLIP's loss: each of the B x B pairs is a binary classification; summed over all pairs, divided by B.

    Args:
        image: Image embeddings of unit length.
        text: Text embeddings of unit length, row by row the partners of ``image``.
        logit_scale: Factor on the cosine similarities, already exponentiated.
        logit_bias: Added to every logit; None for 0.

    Shape:
        - image, text: (B, D), or (B, K, D) for K degradation types whose pairs are formed within a type only.
        - returns a scalar, or (K,).
    """
    logits = logit_scale * pair_similarities(image, text)  # (..., B, B)
    if logit_bias is not None:
        logits = logits + logit_bias
    labels = 2 * torch.eye(logits.shape[-1], dtype=logits.dtype, device=logits.device) - 1  # 1 for partners, else -1
    return -F.logsigmoid(labels * logits).sum(dim=(-2, -1)) / logits.shape[-1]


def ordinal_cross_entropy(image: Tensor, texts: Tensor, target: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Cross-entropy of finding a level among the texts of all levels of its degradation type.

    Unlike in the published losses, the negatives are levels and not other photos, so equal captions in a batch do no
    harm, and a target that neighbouring levels share makes sigma 1.0 nearer to 1.1 than to 2.9.

    Args:
        image: Fine embeddings of one degradation type, of unit length.
        texts: Embeddings of the texts of L levels.
        target: Share of each level in the target, such as :func:`~deplsr_model.level_text.neighbour_target`.
        logit_scale: Factor on the similarities, already exponentiated.

    Shape:
        - image: (B, D). texts: (L, D). target: (B, L). Returns a scalar.
    """
    logits = logit_scale * image.to(texts.dtype) @ texts.T  # (B, L)
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


def contrastive_terms(pair_loss: PairLoss, output: AdaptorOutput, text: Tensor) -> ContrastiveTerms:
    """The three terms of stage 1 with one loss on pairs for all.

    Content is paired with the semantic caption, the global degradation with the whole degradation caption, each fine
    embedding with its own fine caption; the fine term is the mean over the degradation types.

    Args:
        pair_loss: :func:`softmax_contrastive` or :func:`sigmoid_contrastive` with scale and bias bound.
        output: The adaptor's embeddings; see :class:`ContrastiveBatch`.
        text: Embeddings of the captions; see :class:`ContrastiveBatch`.
    """
    return ContrastiveTerms(
        pair_loss(output.content, text[:, 0]),
        pair_loss(output.global_degradation, text[:, 1]),
        pair_loss(output.fine_degradation, text[:, 2:]).mean(),
    )


def level_accuracy(estimated: Tensor, true: Tensor, tolerance: float) -> float:
    """Returns the share of levels whose estimate is nearer to the true one than ``tolerance``.

    Args:
        estimated: (N,) estimated levels.
        true: (N,) levels as applied.
        tolerance: In the unit of the level; for yes or no (ringing), anything up to 1.

    Source: method of evaluation of Sci. Rep. 15, 28837 (2025), with levels compared as numbers.
    """
    return ((estimated - true).abs() < tolerance).double().mean().item()


def pair_similarities(image: Tensor, text: Tensor) -> Tensor:
    """Dot products of all pairs: (B, D) twice to (B, B), or (B, K, D) twice to (K, B, B).

    In float32 at least, under autocast too: at scale 100 a bfloat16 logit would be off by up to 0.4.
    """
    dtype = torch.promote_types(torch.promote_types(image.dtype, text.dtype), torch.float32)
    with torch.autocast(image.device.type, enabled=False):
        return torch.einsum('b...d,c...d->...bc', image.to(dtype), text.to(dtype))
