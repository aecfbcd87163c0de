"""Where the prior of stage 2 comes from: read off the photo, said in words, or nowhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from basicsr_plugin.errors import OptionError, UserError
from deplsr_arch.level_regressor_arch import number_tokens
from deplsr_data.degradation.captions import DEGRADATION_TYPE_NAMES, DEGRADATION_TYPES, parse_caption
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.tokens import tokenize
from deplsr_model.level_words import LevelEmbeddings
from deplsr_model.text_cache import TextCache
from deplsr_model.vocabulary import TRAINING_LEVELS, embed_levels, level_positions

__all__ = ['SOURCES', 'Prior', 'drop_prior', 'parse_levels']

#: Where the prior may come from, beside words.
SOURCES = ('adaptor', 'none', 'captions', 'levels', 'clip')

_LEAD = 'a photo with '


def parse_levels(words: str) -> list[float]:
    """Returns the five levels that words stand for; a degradation type that they do not name is at its zero level.

    >>> parse_levels('A photo with blur with sigma:1.5, jpeg with quality factor:40.0')
    [1.5, 0.0, 0.0, 40.0, 0.0]

    Raises:
        OptionError: They are no captions, or name a degradation type twice; one line.
    """
    text = words.strip()
    text = text[len(_LEAD) :] if text.lower().startswith(_LEAD) else text
    levels: dict[str, float] = {}
    for part in text.split(','):
        try:
            degradation_type, level = parse_caption(part)
        except ValueError:
            raise OptionError(
                f"prior: expected {', '.join(SOURCES)}, or words such as 'gaussian noise with sigma:25.0, "
                f"jpeg with quality factor:40.0', got '{words}'; '{part.strip()}' is no caption"
            ) from None
        if degradation_type in levels:
            raise OptionError(
                f"prior: expected each degradation type once, got '{words}'; leave one {degradation_type} out"
            )
        levels[degradation_type] = level
    return [levels.get(degradation_type.name, degradation_type.zero) for degradation_type in DEGRADATION_TYPES]


def drop_prior(prior: tuple[Tensor, Tensor], probability: float, key: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Replaces the content and the degradation prior of each photo by zeros, independently, with a probability.

    Args:
        prior: Content (B, 1, D) and degradation (B, 5, D).
        probability: 0 to 1.
        key: Seed, rank and iteration of the run, from which alone all is drawn: a resumed run draws as the whole one.

    Returns:
        Both in the same shapes; the very tensors for a probability of 0.
    """
    if not probability:
        return prior
    seed, rank, iteration = key
    drawn = rng_for(seed, 0, iteration, rank, 'prior').random((2, len(prior[0]), 1, 1))
    content, degradation = (
        part * torch.from_numpy(kept).to(part) for part, kept in zip(prior, drawn >= probability, strict=True)
    )
    return content, degradation


class Prior:
    """Returns the prior of a batch as the SR network takes it.

    Args:
        source: ``adaptor`` reads it off the photos. ``none`` gives zeros. ``captions`` says what the data set knows to
            be true; other words are fine captions themselves, the same for all photos. ``levels`` gives the true levels
            as numbers. ``clip`` gives what the frozen CLIP sees, once as content and five times as degradation. But for
            ``adaptor`` and ``clip`` nothing is said of the content: that part is zeros.
        net_da: A frozen adaptor on its device, or another network with its method ``prior``; not needed for ``none``
            and ``levels``.
        dim: Width D of the SR network's prior.
        tokenizer: open_clip model whose tokenizer the captions of training went through.
        form: ``words``: levels are said so that their order is kept, see :class:`LevelEmbeddings`. ``embedding``: the fine
            embeddings of photos and captions as they are, as published.

    Raises:
        OptionError: Words that are no captions, or a network that cannot do what the source needs.
    """

    def __init__(self, source: str, net_da: Any, dim: int, tokenizer: str, form: str = 'words') -> None:
        self._source = source
        self._net_da = net_da
        self._dim = dim
        self._words: LevelEmbeddings | None = None
        has_text = hasattr(net_da, 'encode_text')
        if not has_text and (source not in SOURCES or source in ('captions', 'clip')):
            raise OptionError(
                f'prior: expected a network_da with a text tower for {source!r}, got {type(net_da).__name__}; '
                'take DegradationAdaptor, or prior: adaptor'
            )
        self._said: tuple[Tensor, Tensor] | None = None  # fine tokens (1, 5, L) and levels (1, 5)
        if source not in SOURCES:
            known = parse_levels(source)
            texts = [
                degradation_type.say(level) for degradation_type, level in zip(DEGRADATION_TYPES, known, strict=True)
            ]
            self._said = tokenize(texts, tokenizer, net_da.context_length)[None], torch.tensor([known])
        self._encode = TextCache(net_da.encode_text) if has_text else None
        if has_text and form == 'words':
            device = next(net_da.parameters()).device
            self._words = LevelEmbeddings(embed_levels(net_da, TRAINING_LEVELS, tokenizer, '{}', device))

    @torch.no_grad()
    def __call__(self, lq: Tensor, tokens: Tensor | None = None, levels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns content (B, 1, D) and degradation (B, 5, D).

        Args:
            lq: (B, 3, h, w).
            tokens: (B, 7, L) of the captions, for ``captions`` in the form ``embedding``.
            levels: (B, 5) of the captions, for ``levels``, and ``captions`` in the form ``words``.

        Raises:
            UserError: The data set gives no captions where they are needed.
        """
        if self._source == 'adaptor':
            content, degradation = self._net_da.prior(lq)
            if self._words is not None:
                degradation = self._words.from_estimate(degradation, self._net_da.logit_scale.exp())
            return content, degradation
        if self._source == 'clip':
            seen = self._net_da.clip_embedding(lq).unsqueeze(1)
            return seen, seen.expand(-1, len(DEGRADATION_TYPE_NAMES), -1)
        return lq.new_zeros(len(lq), 1, self._dim), self._degradation(lq, tokens, levels)

    def _degradation(self, lq: Tensor, tokens: Tensor | None, levels: Tensor | None) -> Tensor:
        if self._source == 'none':
            return lq.new_zeros(len(lq), len(DEGRADATION_TYPE_NAMES), self._dim)
        fine = None if tokens is None else tokens[:, 2:]
        if self._said is not None:
            fine, levels = (part.expand(len(lq), *part.shape[1:]) for part in self._said)
        numbers = self._source == 'levels'
        if not numbers and self._words is None and self._encode is not None and fine is not None:
            return self._encode(fine.cpu(), lq.device)
        if levels is None:
            raise UserError(
                f'prior: expected a data set with captions for prior: {self._source}, got one without; '
                'take CaptionedDegradationDataset or CaptionedPairDataset, or prior: adaptor'
            )
        levels = levels.to(lq.device)
        if numbers or self._words is None:
            return number_tokens(level_positions(levels), self._dim)
        return self._words.from_levels(levels)
