"""Texts of levels and their embeddings: what a level is looked for among."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deplsr_data.degradation.captions import DEGRADATION_TYPES
from deplsr_data.tokens import tokenize

__all__ = ['TRAINING_LEVELS', 'Vocabulary', 'embed_levels', 'level_positions', 'positions_to_levels', 'whiten_texts']

#: For each degradation type, levels (L,) and the embeddings (L, D) of the texts that say them.
Vocabulary = Sequence[tuple[Tensor, Tensor]]

#: For each degradation type, the evenly spaced levels that training tells apart: blur, gaussian, poisson, jpeg, ringing.
TRAINING_LEVELS: tuple[tuple[float, ...], ...] = (
    tuple(0.25 * i for i in range(13)),
    tuple(2.5 * i for i in range(13)),
    tuple(0.25 * i for i in range(13)),
    tuple(30.0 + 5 * i for i in range(15)),
    (0.0, 1.0),
)


def embed_levels(
    adaptor: Any, levels: Sequence[Sequence[float]], tokenizer: str, template: str, device: torch.device
) -> Vocabulary:
    """Embeds the texts of the given levels of each degradation type with the adaptor's frozen text tower.

    Args:
        adaptor: A DegradationAdaptor.
        levels: For each degradation type in the order of ``DEGRADATION_TYPES``, its levels.
        tokenizer: open_clip model whose tokenizer the captions of training went through.
        template: Text in which ``{}`` stands for the fine caption of a level.
        device: Where the adaptor is.
    """
    vocabulary = []
    for degradation_type, known in zip(DEGRADATION_TYPES, levels, strict=True):
        tokens = tokenize(
            [template.format(degradation_type.say(level)) for level in known], tokenizer, adaptor.context_length
        )
        vocabulary.append((torch.tensor(known).to(device), adaptor.encode_text(tokens.to(device)).float()))
    return vocabulary


def whiten_texts(texts: Tensor) -> Tensor:
    """Brings the texts of a degradation type's levels as far apart as they can be, in the space between them.

    The texts of neighbouring levels nearly agree: those of blur have cosines of 0.99 in a random tower, so that no
    image embedding of unit length can tell them apart sharply. What they share is taken off, and what is left keeps its
    directions but not its lengths (the polar factor of the centred texts): every two levels are at the same distance,
    and a mixture of two says a level between them.

    Shape:
        - texts: (L, D), L at most D + 1. Returns (L, D), rows of length sqrt((L - 1) / L), that add up to 0.
    """
    centred = (texts - texts.mean(dim=0)).double()
    u, lengths, vh = torch.linalg.svd(centred, full_matrices=False)
    rank = int((lengths > 1e-4 * lengths[0]).sum())
    return (u[:, :rank] @ vh[:rank]).to(texts)


def level_positions(levels: Tensor) -> Tensor:
    """Brings levels (B, 5) to 0..1 between the first and the last training level of their degradation types."""
    low, high = _ends(levels)
    return ((levels - low) / (high - low)).clamp(0, 1)


def positions_to_levels(positions: Tensor) -> Tensor:
    """The inverse of :func:`level_positions`."""
    low, high = _ends(positions)
    return low + (high - low) * positions


def _ends(like: Tensor) -> Tensor:
    """The first and the last training level of each degradation type: (2, 5)."""
    return torch.tensor([[known[end] for known in TRAINING_LEVELS] for end in (0, -1)]).to(like)
