"""Embeddings of captions by a frozen text tower, each computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ['TextCache']


class TextCache:
    """Remembers the embeddings of captions that come again.

    The text tower is frozen and levels are rounded to one decimal, so of the seven captions of a photo only the one
    that names the whole degradation is new in most steps: the tower runs on about a seventh of the captions.

    Args:
        encode: Frozen text tower, tokens (N, L) to embeddings (N, D).
        size: Number of embeddings kept; the longest unused go first.
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
