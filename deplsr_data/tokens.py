"""Captions to CLIP tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

from basicsr_plugin.errors import OptionError, UserError, first_line
from basicsr_plugin.names import nearest

__all__ = ['check_tokenizer', 'same_tokenizer', 'tokenize']


@lru_cache(maxsize=4)
def _tokenizer(model: str, context_length: int | None) -> Callable[[list[str]], Tensor]:
    import open_clip

    _check_transformers(model, 'tokenizer')
    try:
        return open_clip.get_tokenizer(model, context_length=context_length)
    except Exception as error:  # a tokenizer of a hub is downloaded, which may fail in any way
        raise UserError(
            f'tokenizer: cannot load that of {model!r}: {first_line(error, with_type=True)}; choose a model with the '
            'tokenizer of CLIP, such as ViT-B-32'
        ) from error


# levels are multiples of 0.1, so nearly all fine captions repeat: 7 cached captions take 0.01 ms, new ones 0.5 ms
@lru_cache(maxsize=16384)
def _tokens(text: str, model: str, context_length: int | None) -> Tensor:
    return _tokenizer(model, context_length)([text])[0]


def _check_transformers(model: str, where: str) -> None:
    """Refuses a model whose tokenizer is that of the package transformers where this is not installed."""
    import open_clip

    config = None if ':' in model else open_clip.get_model_config(model)
    foreign = model.startswith('hf-hub:') or (config and config['text_cfg'].get('hf_tokenizer_name'))
    if foreign and find_spec('transformers') is None:
        raise OptionError(
            f'{where}: expected a model with the tokenizer of CLIP, such as ViT-B-32, got {model!r}, whose tokenizer '
            'needs the package transformers; pip install transformers, or choose another model'
        )


def check_tokenizer(model: str, where: str) -> None:
    """Refuses a name that is not a model of open_clip, or whose tokenizer needs a package that is missing.

    Raises:
        OptionError: One line that begins with ``where`` and ends in the nearest name.
    """
    import open_clip

    if ':' not in model and model not in open_clip.list_models():
        known = open_clip.list_models()
        raise OptionError(f'{where}: expected the name of an open_clip model, got {model!r}{nearest(model, known)}')
    _check_transformers(model, where)


def tokenize(texts: Sequence[str], model: str, context_length: int | None = None) -> Tensor:
    """Returns the tokens of texts for an open_clip model.

    Args:
        texts: N texts; one longer than the context is cut.
        model: open_clip model whose tokenizer to use.
        context_length: L; that of the model if None.

    Returns:
        (N, L) int64.
    """
    return torch.stack([_tokens(text, model, context_length) for text in texts])


def same_tokenizer(model: str, other: str) -> bool:
    """Returns whether two models of open_clip have the same tokenizer, whatever their context lengths."""
    return model == other or _settings(model) == _settings(other)


def _settings(model: str) -> tuple[object, ...]:
    """What open_clip builds a tokenizer from; for a model of a hub, whose config is not known here, its name."""
    import open_clip

    config = None if ':' in model else open_clip.get_model_config(model)
    if config is None:
        return (model,)
    return config['text_cfg'].get('hf_tokenizer_name'), config['text_cfg'].get('tokenizer_kwargs')
