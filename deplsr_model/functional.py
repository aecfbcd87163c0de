"""Losses of stage 1 as pure functions.

Source: Sci. Rep. 15, 28837 (2025), training of the Degradation Adaptor. Both losses are the published ones and share
their weakness: captions that are equal within a batch (many photos have ``no ringing``) count as negatives of each
other, and levels that nearly agree (sigma 1.0 and 1.1) as much as levels far apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    'ContrastiveTerms',
    'PairLoss',
    'contrastive_terms',
    'ordinal_cross_entropy',
    'sigmoid_contrastive',
    'softmax_contrastive',
]

PairLoss = Callable[[Tensor, Tensor], Tensor]


class ContrastiveTerms(NamedTuple):
    """The three terms of stage 1 before weighting, and their weighted sum; all scalars."""

    content: Tensor
    degradation: Tensor
    fine: Tensor
    total: Tensor


def softmax_contrastive(
    image: Tensor, text: Tensor, logit_scale: Tensor | float, equal_positive: bool = False
) -> Tensor:
    """CLIP's loss: mean cross-entropy of finding the text of an image and the image of a text among the batch.

    Args:
        image: Image embeddings of unit length.
        text: Text embeddings of unit length, row by row the partners of ``image``.
        logit_scale: Factor on the cosine similarities, already exponentiated.
        equal_positive: Whether all photos whose texts are equal are each other's partners, in equal shares.

    Shape:
        - image, text: (B, D), or (B, K, D) for K degradation types whose pairs are formed within a degradation type only.
        - returns a scalar, or (K,).
    """
    logits = logit_scale * _similarities(image, text)  # (..., B, B)
    if equal_positive:
        partners = (_similarities(text, text) > 1 - 1e-6).to(logits.dtype)
        partners = partners / partners.sum(dim=-1, keepdim=True)
        both = logits.log_softmax(dim=-1) + logits.transpose(-2, -1).log_softmax(dim=-1)
        return -(partners * both).sum(dim=-1).mean(dim=-1) / 2
    image_to_text = logits.log_softmax(dim=-1).diagonal(dim1=-2, dim2=-1)  # (..., B)
    text_to_image = logits.log_softmax(dim=-2).diagonal(dim1=-2, dim2=-1)
    return -(image_to_text + text_to_image).mean(dim=-1) / 2


def sigmoid_contrastive(
    image: Tensor, text: Tensor, logit_scale: Tensor | float, logit_bias: Tensor | float | None = None
) -> Tensor:
    """SigLIP's loss: each of the B x B pairs is a yes-or-no question; summed over all pairs, divided by B.

    Args:
        image: Image embeddings of unit length.
        text: Text embeddings of unit length, row by row the partners of ``image``.
        logit_scale: Factor on the cosine similarities, already exponentiated.
        logit_bias: Added to every logit; None for 0.

    Shape:
        - image, text: (B, D), or (B, K, D) for K degradation types whose pairs are formed within a degradation type only.
        - returns a scalar, or (K,).
    """
    logits = logit_scale * _similarities(image, text)  # (..., B, B)
    if logit_bias is not None:
        logits = logits + logit_bias
    labels = 2 * torch.eye(logits.shape[-1], dtype=logits.dtype, device=logits.device) - 1  # 1 for partners, else -1
    return -F.logsigmoid(labels * logits).sum(dim=(-2, -1)) / logits.shape[-1]


def ordinal_cross_entropy(
    image: Tensor,
    texts: Tensor,
    text_levels: Tensor,
    levels: Tensor,
    logit_scale: Tensor | float,
    softness: float = 0.0,
) -> Tensor:
    """Cross-entropy of finding a level among the texts of all levels of its degradation type, near misses counted as nearly right.

    The target is a Gaussian around the true level, ``softness`` steps of the level texts wide. With a softness of 0 the
    two texts beside the level share it so that its expectation is the level; a wider target is pulled inwards at the
    ends of the range. Unlike in the published losses, the negatives are levels and not other photos, so equal captions
    in a batch do no harm, and sigma 1.0 is nearer to 1.1 than to 2.9.

    Args:
        image: Fine embeddings of one degradation type, of unit length.
        texts: Embeddings of the texts of L levels, of unit length.
        text_levels: What these texts say, ascending and evenly spaced.
        levels: True level of each photo; beyond the ends of ``text_levels`` it counts as the end.
        logit_scale: Factor on the cosine similarities, already exponentiated.
        softness: Standard deviation of the target in steps between neighbouring texts, 0 or more.

    Shape:
        - image: (B, D). texts: (L, D). text_levels: (L,). levels: (B,). Returns a scalar.
    """
    logits = logit_scale * image.to(texts.dtype) @ texts.T  # (B, L)
    step = text_levels[1] - text_levels[0]
    levels = levels.clamp(text_levels[0], text_levels[-1])
    distance = (levels[:, None] - text_levels) / step
    soft = (-((distance / (softness or 1)) ** 2) / 2).softmax(dim=-1)
    target = soft if softness else (1 - distance.abs()).clamp(min=0)
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


def contrastive_terms(
    pair_loss: PairLoss,
    content: Tensor,
    degradation: Tensor,
    fine: Tensor,
    text: Tensor,
    weights: tuple[float, float, float] = (0.2, 0.3, 0.5),
) -> ContrastiveTerms:
    """The three terms of stage 1 and their weighted sum.

    Content goes with the semantic caption, the global degradation with the whole degradation caption, each fine
    embedding with its own fine caption; the fine term is the mean over the degradation types.

    Args:
        pair_loss: :func:`softmax_contrastive` or :func:`sigmoid_contrastive` with scale and bias bound.
        content: Content embeddings.
        degradation: Global degradation embeddings.
        fine: Fine degradation embeddings, K of each photo.
        text: Embeddings of each photo's captions: semantic, whole degradation, then the K fine ones.
        weights: Of content, degradation and fine term.

    Shape:
        - content, degradation: (B, D). fine: (B, K, D). text: (B, 2 + K, D). All of unit length.
    """
    terms = (
        pair_loss(content, text[:, 0]),
        pair_loss(degradation, text[:, 1]),
        pair_loss(fine, text[:, 2:]).mean(),
    )
    total = weights[0] * terms[0] + weights[1] * terms[1] + weights[2] * terms[2]
    return ContrastiveTerms(*terms, total)


def _similarities(image: Tensor, text: Tensor) -> Tensor:
    """Dot products of all pairs: (B, D) twice to (B, B), or (B, K, D) twice to (K, B, B).

    In float32 at least, under autocast too: at scale 100 a bfloat16 logit would be off by up to 0.4.
    """
    dtype = torch.promote_types(torch.promote_types(image.dtype, text.dtype), torch.float32)
    with torch.autocast(image.device.type, enabled=False):
        return torch.einsum('b...d,c...d->...bc', image.to(dtype), text.to(dtype))
