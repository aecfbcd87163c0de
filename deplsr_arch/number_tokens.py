"""Numbers as the tokens of a prior."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['distribution_tokens', 'number_tokens']


def number_tokens(positions: Tensor, dim: int) -> Tensor:
    """Writes numbers as tokens without text: number k of 0..1 becomes, scaled to -1..1, entry k of token k.

    Entries have the size of those of embeddings of unit length, which the fusion expects.

    Shape:
        - positions: (B, K). Returns (B, K, dim), dim at least K.
    """
    tokens = torch.diag_embed((2 * positions - 1) / dim**0.5)  # (B, K, K)
    return F.pad(tokens, (0, dim - positions.shape[1]))


def distribution_tokens(mean: Tensor, deviation: Tensor, dim: int) -> Tensor:
    """Writes means and standard deviations of numbers as tokens without text.

    Token k has the mean, scaled to -1..1, as entry k and the deviation, 0..0.5 scaled likewise, as entry K + k.

    Shape:
        - mean, deviation: (B, K). Returns (B, K, dim), dim at least 2 K.
    """
    count = mean.shape[1]
    uncertainty = torch.diag_embed((4 * deviation - 1) / dim**0.5)  # (B, K, K)
    return number_tokens(mean, dim) + F.pad(uncertainty, (count, dim - 2 * count))
