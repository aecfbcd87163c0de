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
    tokens = _diagonal((2 * positions - 1) / dim**0.5)
    return F.pad(tokens, (0, dim - positions.shape[1]))


def distribution_tokens(mean: Tensor, deviation: Tensor, dim: int) -> Tensor:
    """Writes means and standard deviations of numbers as tokens without text.

    Token k has the mean, scaled to -1..1, as entry k and the deviation, 0..0.5 scaled likewise, as entry K + k.

    Shape:
        - mean, deviation: (B, K). Returns (B, K, dim), dim at least 2 K.
    """
    count = mean.shape[1]
    uncertainty = _diagonal((4 * deviation - 1) / dim**0.5)
    return number_tokens(mean, dim) + F.pad(uncertainty, (count, dim - 2 * count))


def _diagonal(values: Tensor) -> Tensor:
    """Returns ``values`` (B, K) on the diagonals of (B, K, K); ONNX does not have torch.diag_embed."""
    return values.unsqueeze(1) * torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
