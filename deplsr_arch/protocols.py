"""What stage 2 expects of its two networks: an estimator of a prior, and a network that is conditioned on one.

Any class that has these members fits; it need not inherit. To check at run time, use the functions below: since Python
3.12 ``isinstance`` with a protocol looks attributes up statically and does not find the parameters of a torch module.
"""

from __future__ import annotations

from typing import Protocol, TypeGuard

from torch import Tensor

__all__ = [
    'ConditionedNetwork',
    'Estimator',
    'TextEstimator',
    'is_conditioned',
    'is_estimator',
    'is_text_estimator',
]


class Estimator(Protocol):
    """A degradation estimator: a network that estimates the prior of a photo (``network_da``).

    Attributes:
        num_degradation_types: Number K of degradation types, in the order of the degradation tokens.
    """

    num_degradation_types: int

    def prior(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """Returns content (B, 1, D) and degradation (B, K, D) of photos (B, 3, h, w) in 0..1."""
        ...


class TextEstimator(Estimator, Protocol):
    """An estimator whose degradation embeddings are in the space of a text tower.

    Attributes:
        tokenizer: open_clip model whose tokenizer the texts must go through.
        context_length: Number L of tokens that the text tower takes.
    """

    tokenizer: str
    context_length: int

    @property
    def logit_scale(self) -> Tensor:
        """Logarithm of the factor between cosines and logits, a scalar."""
        ...

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Returns embeddings (N, D) of unit length of texts (N, L), without gradient."""
        ...


class ConditionedNetwork(Protocol):
    """A super-resolution network that is conditioned on a prior (``network_g``).

    It may also have ``num_degradation_types``, the number K that it expects, and ``scale``, its enlargement.

    Attributes:
        prior_dim: Width D of the prior's embeddings.
    """

    prior_dim: int

    def __call__(self, lq: Tensor, content: Tensor, degradation: Tensor, /) -> Tensor:
        """Returns (B, C, scale h, scale w) of images (B, C, h, w), content (B, 1, D), degradation (B, K, D)."""
        ...


def is_estimator(network: object) -> TypeGuard[Estimator]:
    """Returns whether a network can estimate a prior."""
    return _has(network, 'prior', 'num_degradation_types')


def is_text_estimator(network: object) -> TypeGuard[TextEstimator]:
    """Returns whether a network can estimate a prior and has a text tower."""
    return is_estimator(network) and _has(network, 'encode_text', 'tokenizer', 'context_length', 'logit_scale')


def is_conditioned(network: object) -> TypeGuard[ConditionedNetwork]:
    """Returns whether a network takes a prior; an estimator's ``prior_dim`` is the width of what it returns."""
    return _has(network, 'prior_dim') and not _has(network, 'prior')


def _has(network: object, *names: str) -> bool:
    return all(hasattr(network, name) for name in names)
