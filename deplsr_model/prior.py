"""Where the prior of stage 2 comes from: read off the photo, said in words, or nowhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from basicsr_plugin.errors import OptionError, UserError
from deplsr_data.captions import KIND_NAMES, KINDS, parse_caption
from deplsr_data.sampling import rng_for
from deplsr_data.tokens import tokenize
from deplsr_model.text_cache import TextCache

__all__ = ['Prior', 'drop_prior', 'fine_texts']

_LEAD = 'a photo with '


def fine_texts(words: str) -> list[str]:
    """Gives the five fine captions that words stand for; a kind that they do not name is at its zero level.

    >>> fine_texts('A photo with blur with sigma:1.5, jpeg with quality factor:40.0')[0]
    'blur with sigma:1.5'

    Raises:
        OptionError: They are no captions, or name a kind twice; one line.
    """
    text = words.strip()
    text = text[len(_LEAD) :] if text.lower().startswith(_LEAD) else text
    levels: dict[str, float] = {}
    for part in text.split(','):
        try:
            kind, level = parse_caption(part)
        except ValueError:
            raise OptionError(
                "prior: expected adaptor, none, captions, or words such as 'gaussian noise with sigma:25.0, "
                f"jpeg with quality factor:40.0', got '{words}'; '{part.strip()}' is no caption"
            ) from None
        if kind in levels:
            raise OptionError(f"prior: expected each kind once, got '{words}'; leave one {kind} out")
        levels[kind] = level
    return [kind.say(levels.get(kind.name, kind.zero)) for kind in KINDS]


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
    """Gives the prior of a batch as the SR network takes it.

    Args:
        source: ``adaptor`` reads it off the photos; ``none`` gives zeros; ``captions`` encodes the fine captions that
            the data set gives along, which are true; other words are fine captions themselves, the same for all photos.
            Words say nothing of the content: that part is zeros.
        net_da: A frozen adaptor on its device; not needed for ``none``.
        dim: Width D of the SR network's prior.
        tokenizer: open_clip model whose tokenizer the captions of training went through.

    Raises:
        OptionError: Words that are no captions.
    """

    def __init__(self, source: str, net_da: Any, dim: int, tokenizer: str) -> None:
        self._source = source
        self._net_da = net_da
        self._dim = dim
        self._encode = TextCache(net_da.encode_text) if net_da is not None else None
        self._tokens: Tensor | None = None
        if source not in ('adaptor', 'none', 'captions'):
            self._tokens = tokenize(fine_texts(source), tokenizer, net_da.context_length)  # (5, L)

    @torch.no_grad()
    def __call__(self, lq: Tensor, tokens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gives content (B, 1, D) and degradation (B, 5, D).

        Args:
            lq: (B, 3, h, w).
            tokens: (B, 7, L) of the captions, for ``captions``.

        Raises:
            UserError: The data set gives no captions where they are needed.
        """
        if self._source == 'adaptor':
            return self._net_da.prior(lq)
        content = lq.new_zeros(len(lq), 1, self._dim)
        if self._encode is None:
            return content, lq.new_zeros(len(lq), len(KIND_NAMES), self._dim)
        if self._tokens is not None:
            return content, self._encode(self._tokens, lq.device).expand(len(lq), -1, -1)
        if tokens is None:
            raise UserError(
                'prior: expected a data set with captions for prior: captions, got one without; '
                'take CaptionedDegradationDataset or CaptionedPairDataset, or prior: adaptor'
            )
        return content, self._encode(tokens[:, 2:].cpu(), lq.device)
