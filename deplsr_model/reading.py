"""Reading levels back from the adaptor's embeddings."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from deplsr_data.degradation.captions import DEGRADATION_TYPES
from deplsr_model.level_words import LevelEmbeddings
from deplsr_model.vocabulary import TRAINING_LEVELS, Vocabulary, embed_levels

__all__ = ['LevelEstimator', 'PriorForm']

PriorForm = Literal['words', 'embedding']


class LevelEstimator:
    """Compares each fine embedding with the embeddings of texts that name the levels of its degradation type.

    Source: method of evaluation of Sci. Rep. 15, 28837 (2025), for the form ``embedding``.

    Args:
        adaptor: A DegradationAdaptor; its text tower is asked once.
        tokenizer: open_clip model whose tokenizer the captions of training went through.
        template: Text in which ``{}`` stands for the fine caption of a level, for the form ``embedding``.
        form: ``embedding``: the nearest of a few texts wins, as published. ``words``: the level that is expected among
            the spread texts of all levels (:class:`LevelEmbeddings`), for what DegradationOrdinalLoss trained.
    """

    def __init__(
        self, adaptor: Any, tokenizer: str = 'ViT-B-32', template: str = '{}', form: PriorForm = 'words'
    ) -> None:
        self._adaptor = adaptor
        self._tokenizer = tokenizer
        self._template = template
        self._form = form
        self._vocabulary: Vocabulary | None = None
        self._words: LevelEmbeddings | None = None

    @torch.no_grad()
    def read(self, fine: Tensor) -> Tensor:
        """Returns the level read for each degradation type.

        Shape:
            - fine: (B, 5, D) unit length. Returns (B, 5) float32, in the order and units of ``DEGRADATION_TYPES``.
        """
        if self._form == 'words':
            if self._words is None:
                self._words = LevelEmbeddings(
                    embed_levels(self._adaptor, TRAINING_LEVELS, self._tokenizer, '{}', fine.device)
                )
            return self._words.read(fine, self._adaptor.logit_scale.exp())
        if self._vocabulary is None:
            levels = [degradation_type.evaluation_levels for degradation_type in DEGRADATION_TYPES]
            self._vocabulary = embed_levels(self._adaptor, levels, self._tokenizer, self._template, fine.device)
        read = [
            known[(embedding.float() @ texts.T).argmax(dim=-1)]
            for embedding, (known, texts) in zip(fine.unbind(1), self._vocabulary, strict=True)
        ]
        return torch.stack(read, dim=1)
