"""Semantic captions of photos by open_clip's CoCa.

Source: CoCa: Contrastive Captioners are Image-Text Foundation Models (TMLR 2022). open_clip's own ``generate`` needs
transformers below version 5; the search here does not need it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

import open_clip
import torch
from PIL import Image
from torch import Tensor

from basicsr_plugin.errors import UserError, first_line
from basicsr_plugin.names import nearest
from deplsr_data.files.tables import plain_cell

__all__ = ['Captioner', 'CoCaCaptioner', 'Transform', 'beam_search', 'tidy']

Transform = Callable[[Image.Image], Tensor]


class Captioner(Protocol):
    """Writes captions.

    Attributes:
        transform: Turns a PIL image into the (3, H, W) tensor of a batch; it runs in workers.
    """

    transform: Transform

    def __call__(self, batch: Tensor) -> list[str]:
        """Returns a caption for each of (B, 3, H, W); it may be empty."""
        ...


class CoCaCaptioner:
    """A pretrained CoCa.

    Args:
        model: Its name in open_clip, or ``local-dir:FOLDER`` with ``open_clip_config.json`` and weights.
        pretrained: Checkpoint file, or a tag of open_clip, which is downloaded; None for ``local-dir:``.
        device: Where it runs.
        beams: Width of the beam search; 1 takes the most likely token each time.
        max_tokens: Length of the longest caption.

    Raises:
        UserError: The model is unknown or not a CoCa, or its weights cannot be loaded; one line.
    """

    def __init__(self, model: str, pretrained: str | None, device: str, beams: int, max_tokens: int) -> None:
        _check_names(model, pretrained)
        try:
            net, _, self.transform = open_clip.create_model_and_transforms(
                model, pretrained=pretrained, device=device, require_pretrained=True
            )
            self._tokenizer = open_clip.get_tokenizer(model)
        except Exception as error:
            raise UserError(
                f"--pretrained: cannot load '{pretrained or model}': {first_line(error)}; "
                'without network, name a file that was downloaded elsewhere'
            ) from error
        if not hasattr(net, 'text_decoder') or not hasattr(self._tokenizer, 'eot_token_id'):
            raise UserError(f"--model: expected a CoCa with CLIP's tokenizer, which writes captions, got '{model}'")
        self._net = net.eval()
        self._device = device
        self._beams = beams
        self._max_tokens = min(max_tokens, net.context_length - 1)

    @torch.no_grad()
    def __call__(self, batch: Tensor) -> list[str]:
        """Returns a caption for each of (B, 3, H, W)."""
        latent, tokens = self._net._encode_image(batch.to(self._device))

        def step(texts: Tensor, which: Tensor) -> Tensor:
            out = self._net(None, texts, image_latent=latent[which], image_embs=tokens[which], output_labels=False)
            return out['logits'][:, -1]

        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        found = beam_search(step, len(batch), start, end, self._max_tokens, self._beams, self._device)
        return [tidy(self._tokenizer.decode(caption)) for caption in found]


def _check_names(model: str, pretrained: str | None) -> None:
    if model.startswith('local-dir:'):
        return
    known = open_clip.list_models()
    if model not in known:
        raise UserError(f"--model: expected the name of an open_clip model, got '{model}'{nearest(model, known)}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained is None or not (os.path.isfile(pretrained) or pretrained in tags):
        raise UserError(
            f'--pretrained: expected a checkpoint file or a tag of {model} ({", ".join(tags) or "it has none"}), got '
            f"'{pretrained}'; name one, or use only --template"
        )


def tidy(text: str) -> str:
    """Returns a caption in one line without special tokens and without a dot at its end."""
    for token in ('<start_of_text>', '<end_of_text>'):
        text = text.replace(token, ' ')
    return plain_cell(text).rstrip(' .')


@torch.no_grad()
def beam_search(
    step: Callable[[Tensor, Tensor], Tensor],
    batch: int,
    start: int,
    end: int,
    max_tokens: int,
    beams: int,
    device: str | torch.device = 'cpu',
) -> list[list[int]]:
    """Finds a likely text for each image: that of the highest mean log-probability per token among the beams.

    Args:
        step: Takes N texts (N, T) and for each the number of its image (N,); returns logits (N, V) of the next token.
        batch: Number of images B.
        start: Token that each text begins with.
        end: Token that ends a text.
        max_tokens: Longest text, ``end`` included.
        beams: Texts of one image that are extended at a time.
        device: Device of the tensors.

    Returns:
        For each image its tokens, without ``start`` and ``end``.
    """
    which = torch.arange(batch, device=device).repeat_interleave(beams)
    texts = torch.full((batch, beams, 1), start, device=device)
    scores = torch.full((batch, beams), -torch.inf, device=device)
    scores[:, 0] = 0  # all beams are the same at first
    lengths = torch.zeros(batch, beams, device=device)
    ended = torch.zeros(batch, beams, dtype=torch.bool, device=device)
    for _ in range(max_tokens):
        gains = step(texts.flatten(0, 1), which).float().log_softmax(-1).unflatten(0, (batch, beams))
        # a text that has ended stays as it is
        gains = gains.masked_fill(ended[..., None], -torch.inf)
        gains[..., end] = gains[..., end].masked_fill(ended, 0)
        scores, best = (scores[..., None] + gains).flatten(1).topk(beams)
        parent, token = best // gains.shape[-1], best % gains.shape[-1]
        texts = torch.cat([texts.gather(1, parent[..., None].expand(-1, -1, texts.shape[2])), token[..., None]], 2)
        lengths = lengths.gather(1, parent) + ~ended.gather(1, parent)
        ended = ended.gather(1, parent) | (token == end)
        if ended.all():
            break
    chosen = (scores / lengths).argmax(1)
    found = texts[torch.arange(batch, device=device), chosen, 1:].tolist()
    return [text[: text.index(end)] if end in text else text for text in found]
