"""Degradation levels as text embeddings, and embeddings of photos back to levels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from deplsr_arch.protocols import TextEstimator
from deplsr_data.degradation.level_tables import LevelTable
from deplsr_data.tokens import tokenize

__all__ = [
    'LevelEmbeddings',
    'LevelEstimator',
    'PriorForm',
    'TextCache',
    'Vocabulary',
    'embed_levels',
    'level_positions',
    'neighbour_shares',
    'neighbour_target',
    'positions_to_levels',
    'whiten_texts',
]

#: For each degradation type, its levels (L,) and the embeddings (L, D) of their captions.
Vocabulary = Sequence[tuple[Tensor, Tensor]]

#: How fine embeddings represent levels: as a mixture of level texts, or as the embeddings themselves (published).
PriorForm = Literal['mixture', 'embedding']


def embed_levels(
    adaptor: TextEstimator,
    table: LevelTable,
    levels: Sequence[Sequence[float]] | None = None,
    template: str = '{}',
) -> Vocabulary:
    """Embeds the captions of levels of each degradation type with the adaptor's frozen text tower.

    Args:
        adaptor: A DegradationAdaptor.
        table: The degradation types, of which the adaptor has the first.
        levels: For each of the adaptor's degradation types its levels; by default those of training.
        template: Text in which ``{}`` stands for the caption of a level.
    """
    types = table.types[: adaptor.num_degradation_types]
    if levels is None:
        levels = [degradation_type.training_levels for degradation_type in types]
    vocabulary = []
    for degradation_type, known in zip(types, levels, strict=True):
        texts = [template.format(degradation_type.caption(level)) for level in known]
        tokens = tokenize(texts, adaptor.tokenizer, adaptor.context_length)
        embeddings = adaptor.encode_text(tokens.to(adaptor.logit_scale.device)).float()
        vocabulary.append((torch.tensor(known, dtype=torch.float32, device=embeddings.device), embeddings))
    return vocabulary


def whiten_texts(texts: Tensor) -> Tensor:
    """Whitens the text embeddings of a degradation type's levels, so that all are equally far apart.

    The texts of neighbouring levels nearly agree: those of blur have cosines of 0.99 in a random tower, so that no
    image embedding of unit length can distinguish them sharply. What they share is subtracted, and the rest keeps its
    directions but not its lengths (the polar factor of the centred texts): every two levels are at the same distance,
    and a mixture of two represents a level between them.

    Shape:
        - texts: (L, D), L at most D + 1. Returns (L, D), rows of length sqrt((L - 1) / L), that add up to 0.
    """
    centred = (texts - texts.mean(dim=0)).double()
    u, lengths, vh = torch.linalg.svd(centred, full_matrices=False)
    rank = int((lengths > 1e-4 * lengths[0]).sum())
    return (u[:, :rank] @ vh[:rank]).to(texts)


def level_positions(levels: Tensor, table: LevelTable) -> Tensor:
    """Scales levels (B, K) to 0..1 between the first and the last training level of the first K degradation types.

    Types with ``root`` are scaled in proportion to the square root of the level.
    """
    low, high, root = _scale(levels, table)
    positions = ((levels - low) / (high - low)).clamp(0, 1)
    return torch.where(root, positions.sqrt(), positions)


def positions_to_levels(positions: Tensor, table: LevelTable) -> Tensor:
    """The inverse of :func:`level_positions`."""
    low, high, root = _scale(positions, table)
    return low + (high - low) * torch.where(root, positions.square(), positions)


def _scale(like: Tensor, table: LevelTable) -> tuple[Tensor, Tensor, Tensor]:
    """The first and the last training level of each degradation type (K,), and whether its root is taken."""
    types = table.types[: like.shape[-1]]
    low, high = (torch.tensor([one.training_levels[end] for one in types]).to(like) for end in (0, -1))
    return low, high, torch.tensor([one.root for one in types], device=like.device)


def neighbour_shares(positions: Tensor, count: int) -> Tensor:
    """Shares numbers (...) in 0..1 between the two of ``count`` evenly spaced levels next to them: (..., count)."""
    levels = torch.linspace(0, 1, count, device=positions.device)
    return (1 - (positions.clamp(0, 1)[..., None] - levels).abs() * (count - 1)).clamp(min=0)


def neighbour_target(levels: Tensor, text_levels: Tensor) -> Tensor:
    """Shares a level between the two texts next to it, in proportion to nearness.

    Its expectation is the level; a level beyond the ends of ``text_levels`` counts as the end.

    Args:
        levels: True level of each photo.
        text_levels: Levels that the texts name, ascending and evenly spaced.

    Shape:
        - levels: (B,). text_levels: (L,). Returns (B, L), rows that add up to 1.
    """
    first, last = text_levels[0], text_levels[-1]
    return neighbour_shares((levels - first) / (last - first), len(text_levels))


class LevelEmbeddings:
    """Represents levels in the space of text embeddings, so that neighbouring levels are close to each other.

    The embeddings of single captions need not keep the order of levels, and what they share (all of them name a blur)
    outweighs what distinguishes them. So a level is represented by a mixture of the texts of a few evenly spaced
    levels, which are whitened first (:func:`whiten_texts`); half of a token's energy encodes the degradation type, half
    the level. A true level mixes its two neighbours; an estimate mixes all texts by their probability, which also
    expresses how certain it is.

    A subclass for adaptors that were trained with another loss overrides :meth:`prepare`.

    Args:
        vocabulary: For each of K degradation types its levels (L,), evenly spaced, and their texts' embeddings (L, D).
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._levels = [known for known, _ in vocabulary]
        self._texts = [self.prepare(texts) for _, texts in vocabulary]
        means = torch.stack([texts.mean(dim=0) for _, texts in vocabulary])
        types = F.normalize(means - means.mean(dim=0), dim=1)
        self._tokens = [
            (direction + F.normalize(whiten_texts(texts), dim=1)) / 2**0.5
            for direction, (_, texts) in zip(types, vocabulary, strict=True)
        ]

    def prepare(self, texts: Tensor) -> Tensor:
        """Returns the texts that photos are compared with, prepared as the loss of stage 1 did: whitened."""
        return whiten_texts(texts)

    def from_levels(self, levels: Tensor) -> Tensor:
        """Embeds true levels; those beyond the vocabulary count as its ends.

        Shape:
            - levels: (B, K). Returns (B, K, D), of about unit length.
        """
        pairs = zip(levels.unbind(1), self._levels, strict=True)
        return self.mix([neighbour_target(level.to(known), known) for level, known in pairs])

    def from_estimate(self, fine: Tensor, logit_scale: Tensor) -> Tensor:
        """Embeds the levels that an adaptor's fine embeddings represent.

        Shape:
            - fine: (B, K, D) of unit length. logit_scale: scalar, exponentiated. Returns (B, K, D).
        """
        return self.mix(self.probabilities(fine, logit_scale))

    def estimate(self, fine: Tensor, logit_scale: Tensor) -> Tensor:
        """Returns the expected level of each degradation type: (B, K, D) to (B, K)."""
        weights = self.probabilities(fine, logit_scale)
        return torch.stack([one @ known for one, known in zip(weights, self._levels, strict=True)], dim=1)

    def probabilities(self, fine: Tensor, logit_scale: Tensor) -> list[Tensor]:
        """Returns for each degradation type how likely its levels are: (B, L) each, rows that add up to 1."""
        return [
            (logit_scale * one.to(texts.dtype) @ texts.T).softmax(dim=-1)
            for one, texts in zip(fine.unbind(1), self._texts, strict=True)
        ]

    def mix(self, weights: list[Tensor]) -> Tensor:
        """Returns the tokens (B, K, D) of distributions over levels, as :meth:`probabilities` returns them."""
        return torch.stack([one @ tokens for one, tokens in zip(weights, self._tokens, strict=True)], dim=1)


class LevelEstimator:
    """Estimates levels by comparing each fine embedding with the texts of the levels of its degradation type.

    Source: method of evaluation of Sci. Rep. 15, 28837 (2025), for the form ``embedding``.

    Args:
        adaptor: A DegradationAdaptor; its text tower runs once.
        table: The degradation types, of which the adaptor has the first.
        form: ``mixture``: the level that is expected among the whitened texts of all training levels
            (:class:`LevelEmbeddings`), for what DegradationOrdinalLoss trained. ``embedding``: the nearest of the texts
            of ``evaluation_levels`` is chosen, as published.
        template: Text in which ``{}`` stands for the caption of a level, for the form ``embedding``.
    """

    def __init__(
        self, adaptor: TextEstimator, table: LevelTable, form: PriorForm = 'mixture', template: str = '{}'
    ) -> None:
        self._adaptor = adaptor
        self._table = table
        self._form = form
        self._template = template
        self._vocabulary: Vocabulary | None = None
        self._embeddings: LevelEmbeddings | None = None

    @torch.no_grad()
    def estimate(self, fine: Tensor) -> Tensor:
        """Returns the estimated level of each degradation type.

        Shape:
            - fine: (B, K, D) unit length. Returns (B, K) float32, in the order and units of the table.
        """
        if self._form == 'mixture':
            if self._embeddings is None:
                self._embeddings = LevelEmbeddings(embed_levels(self._adaptor, self._table))
            return self._embeddings.estimate(fine, self._adaptor.logit_scale.exp())
        if self._vocabulary is None:
            types = self._table.types[: self._adaptor.num_degradation_types]
            levels = [degradation_type.evaluation_levels for degradation_type in types]
            self._vocabulary = embed_levels(self._adaptor, self._table, levels, self._template)
        nearest = [
            known[(embedding.float() @ texts.T).argmax(dim=-1)]
            for embedding, (known, texts) in zip(fine.unbind(1), self._vocabulary, strict=True)
        ]
        return torch.stack(nearest, dim=1)


class TextCache:
    """Caches the embeddings of captions that occur again.

    The text tower is frozen and levels are rounded to one decimal, so of the captions of a photo only the whole
    degradation caption is new in most steps: the tower runs on about a seventh of the captions.

    Args:
        encode: Frozen text tower, tokens (N, L) to embeddings (N, D).
        size: Number of embeddings kept; the least recently used are removed first.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], size: int = 8192) -> None:
        self._encode = encode
        self._size = size
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(self, tokens: Tensor, device: torch.device) -> Tensor:
        """Returns the embeddings of the rows of ``tokens``.

        Shape:
            - tokens: (..., L) int64, on the CPU. Returns (..., D) on ``device``.
        """
        rows = tokens.reshape(-1, tokens.shape[-1])
        keys = [row.tobytes() for row in rows.numpy()]
        missing = {key: i for i, key in enumerate(keys) if key not in self._known}
        if missing:
            new = self._encode(rows[list(missing.values())].to(device)).detach()
            self._known.update(zip(missing, new.unbind(), strict=True))
        for key in keys:
            self._known.move_to_end(key)
        embeddings = torch.stack([self._known[key] for key in keys])
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return embeddings.reshape(*tokens.shape[:-1], -1)
