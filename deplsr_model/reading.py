"""Reading levels back from the adaptor's embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deplsr_data.captions import KINDS
from deplsr_data.tokens import tokenize

__all__ = ['DegradationReader']


class DegradationReader:
    """Compares each fine embedding with the embeddings of texts that name the levels of its kind; the nearest wins.

    Source: method of evaluation of Sci. Rep. 15, 28837 (2025).

    Args:
        adaptor: A DegradationAdaptor; its text tower is asked once.
        tokenizer: open_clip model whose tokenizer the captions of training went through.
        template: Text in which ``{}`` stands for the fine caption of a level.
    """

    def __init__(self, adaptor: Any, tokenizer: str = 'ViT-B-32', template: str = '{}') -> None:
        self._adaptor = adaptor
        self._tokenizer = tokenizer
        self._template = template
        self._texts: list[Tensor] | None = None

    def _embeddings(self, device: torch.device) -> list[Tensor]:
        if self._texts is None:
            self._texts = []
            for kind in KINDS:
                texts = [self._template.format(kind.say(level)) for level in kind.evaluation_levels]
                tokens = tokenize(texts, self._tokenizer, self._adaptor.context_length)
                self._texts.append(self._adaptor.encode_text(tokens.to(device)).float())
        return self._texts

    @torch.no_grad()
    def read(self, fine: Tensor) -> Tensor:
        """Gives the level read for each kind.

        Shape:
            - fine: (B, 5, D) unit length. Returns (B, 5) float32, in the order and units of ``KINDS``.
        """
        levels = []
        for k, (kind, texts) in enumerate(zip(KINDS, self._embeddings(fine.device), strict=True)):
            nearest = (fine[:, k].float() @ texts.T).argmax(dim=-1)
            levels.append(fine.new_tensor(kind.evaluation_levels, dtype=torch.float32)[nearest])
        return torch.stack(levels, dim=1)
