"""Where the prior of stage 2 comes from: one class for each source, and a registry of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from basicsr_plugin.errors import OptionError, UserError
from deplsr_arch.degradation_types import NUM_DEGRADATION_TYPES
from deplsr_arch.level_distribution_arch import LevelDistribution
from deplsr_arch.protocols import Estimator, TextEstimator, is_text_estimator
from deplsr_data.degradation.level_tables import LevelTable
from deplsr_data.tokens import tokenize
from deplsr_model.level_text import LevelEmbeddings, PriorForm, TextCache, embed_levels

__all__ = [
    'PRIORS',
    'CaptionPrior',
    'EstimatedPrior',
    'NoPrior',
    'PriorInputs',
    'PriorSetup',
    'PriorSource',
    'TextPrior',
    'build_prior',
    'check_source',
    'needs_estimator',
    'parse_levels',
    'register_prior',
    'text_estimator',
]

_LEAD = 'a photo with '


@dataclass(frozen=True)
class PriorInputs:
    """What a source may use of a batch.

    Attributes:
        lq: (B, 3, h, w), the LR photos, or what surrounds them where the data set returns a ``context``.
        tokens: (B, 2 + K, L), the tokens of the captions, if the data set has captions; K may be larger than the
            networks' number of degradation types.
        levels: (B, K), the true levels, likewise.
        at_use: Whether the photos are those of a validation, a test or a user, and not of the training.
    """

    lq: Tensor
    tokens: Tensor | None = None
    levels: Tensor | None = None
    at_use: bool = False


@dataclass(frozen=True)
class PriorSetup:
    """What a source is built from.

    Attributes:
        estimator: A frozen degradation estimator on its device; None where the source needs none.
        dim: Width D of the SR network's prior.
        table: The degradation types and levels of the run.
        form: How levels are represented: ``mixture`` of level texts (:class:`~deplsr_model.level_text.LevelEmbeddings`)
            or ``embedding``, the embeddings of photos and captions themselves, as published.
        num_types: Number K of degradation types of the networks, which are the first of the table.
    """

    estimator: Estimator | None
    dim: int
    table: LevelTable
    form: PriorForm = 'mixture'
    num_types: int = NUM_DEGRADATION_TYPES


class PriorSource(Protocol):
    """Returns the prior of a batch: content (B, 1, D) and degradation (B, K, D)."""

    def __call__(self, inputs: PriorInputs) -> tuple[Tensor, Tensor]:
        """Returns content and degradation; raises a UserError if an input that it needs is missing."""
        ...


PriorFactory = Callable[[PriorSetup], PriorSource]
Factory = TypeVar('Factory', bound=PriorFactory)


class RegisteredPrior(NamedTuple):
    """A row of the table: what builds a source, and whether stage 2 has to load ``network_da`` for it."""

    build: PriorFactory
    needs_estimator: bool


#: The sources that option ``prior`` can name; any other text is parsed as fine captions.
PRIORS: dict[str, RegisteredPrior] = {}


def register_prior(name: str, *, needs_estimator: bool = True) -> Callable[[Factory], Factory]:
    """Registers a source of the prior under the name that option ``prior`` uses.

    Args:
        name: The name.
        needs_estimator: Whether stage 2 has to load ``network_da`` for it.

    Returns:
        A decorator of a class or function that builds a source from a :class:`PriorSetup`.

    Raises:
        ValueError: The name is taken.
    """

    def register(factory: Factory) -> Factory:
        if name in PRIORS:
            raise ValueError(f"expected a new name of a prior, got '{name}', which is taken; choose another")
        PRIORS[name] = RegisteredPrior(factory, needs_estimator)
        return factory

    return register


def needs_estimator(source: str) -> bool:
    """Returns whether a source, a registered name or a text, needs ``network_da``."""
    return source not in PRIORS or PRIORS[source].needs_estimator


def check_source(source: str, table: LevelTable) -> None:
    """Refuses a source that is neither a registered name nor a text of fine captions.

    Raises:
        OptionError: One line.
    """
    if source not in PRIORS:
        parse_levels(source, table)


def build_prior(source: str, setup: PriorSetup) -> PriorSource:
    """Builds the source that option ``prior`` names; a text that is no name is parsed as fine captions.

    Raises:
        OptionError: The text is not made of captions, or the estimator cannot do what the source needs.
    """
    return PRIORS[source].build(setup) if source in PRIORS else TextPrior(setup, source)


@register_prior('estimated')
class EstimatedPrior:
    """Content and degradation that the estimator estimates from the LR photo.

    An estimator without a text tower defines its own tokens, whatever the form.
    """

    def __init__(self, setup: PriorSetup) -> None:
        if setup.estimator is None:
            raise OptionError('prior: expected a network_da for prior: estimated, got none; add it, or set prior: none')
        self._estimator = setup.estimator
        self._text: tuple[TextEstimator, LevelEmbeddings] | None = None
        if setup.form == 'mixture' and is_text_estimator(setup.estimator):
            self._text = setup.estimator, LevelEmbeddings(embed_levels(setup.estimator, setup.table))

    @torch.no_grad()
    def __call__(self, inputs: PriorInputs) -> tuple[Tensor, Tensor]:
        """Returns content (B, 1, D) and degradation (B, K, D)."""
        prior = self._estimator.prior
        if inputs.at_use and isinstance(self._estimator, LevelDistribution):
            prior = self._estimator.prior_at_use
        content, degradation = prior(inputs.lq)
        if self._text is not None:
            estimator, embeddings = self._text
            degradation = embeddings.from_estimate(degradation, estimator.logit_scale.exp())
        return content, degradation


@register_prior('none', needs_estimator=False)
class NoPrior:
    """Zeros: the same network without knowledge of content and degradation."""

    def __init__(self, setup: PriorSetup) -> None:
        self._setup = setup

    def __call__(self, inputs: PriorInputs) -> tuple[Tensor, Tensor]:
        """Returns content (B, 1, D) and degradation (B, K, D)."""
        shape = len(inputs.lq), self._setup.num_types, self._setup.dim
        return no_content(inputs, self._setup), inputs.lq.new_zeros(shape)


@register_prior('captions')
class CaptionPrior:
    """The true captions of the data set, without content: levels in the form ``mixture``, tokens in ``embedding``."""

    def __init__(self, setup: PriorSetup) -> None:
        estimator = text_estimator(setup, 'captions')
        self._setup = setup
        self._encode = TextCache(estimator.encode_text)
        mixture = setup.form == 'mixture'
        self._embeddings = LevelEmbeddings(embed_levels(estimator, setup.table)) if mixture else None

    @torch.no_grad()
    def __call__(self, inputs: PriorInputs) -> tuple[Tensor, Tensor]:
        """Returns content (B, 1, D) and degradation (B, K, D)."""
        if self._embeddings is not None:
            levels = _required(inputs.levels, 'levels', self._setup.form).to(inputs.lq.device)
            degradation = self._embeddings.from_levels(levels[:, : self._setup.num_types])
        else:
            tokens = _required(inputs.tokens, 'tokens', self._setup.form)
            degradation = self._encode(tokens[:, 2 : 2 + self._setup.num_types].cpu(), inputs.lq.device)
        return no_content(inputs, self._setup), degradation


class TextPrior:
    """Fine captions given by the user, the same for all photos, without content.

    Args:
        setup: See :class:`PriorSetup`.
        text: Captions as :func:`parse_levels` takes them.
    """

    def __init__(self, setup: PriorSetup, text: str) -> None:
        known = parse_levels(text, setup.table)
        estimator = text_estimator(setup, text)
        self._setup = setup
        with torch.no_grad():
            if setup.form == 'mixture':
                levels = torch.tensor([known[: setup.num_types]], device=estimator.logit_scale.device)
                embeddings = LevelEmbeddings(embed_levels(estimator, setup.table))
                self._degradation = embeddings.from_levels(levels)  # (1, K, D)
            else:
                texts = setup.table.fine_captions(known)[: setup.num_types]
                tokens = tokenize(texts, estimator.tokenizer, estimator.context_length)
                self._degradation = estimator.encode_text(tokens.to(estimator.logit_scale.device))[None]

    def __call__(self, inputs: PriorInputs) -> tuple[Tensor, Tensor]:
        """Returns content (B, 1, D) and degradation (B, K, D)."""
        degradation = self._degradation.to(inputs.lq.device).expand(len(inputs.lq), -1, -1)
        return no_content(inputs, self._setup), degradation


def parse_levels(text: str, table: LevelTable) -> tuple[float, ...]:
    """Parses fine captions to a level of each degradation type; one that they do not name is at its zero level.

    >>> from deplsr_data.degradation.level_tables import level_table
    >>> parse_levels('A photo with blur with sigma:1.5, jpeg with quality factor:40.0', level_table('nominal'))
    (1.5, 0.0, 0.0, 40.0, 0.0)

    Raises:
        OptionError: A part is no caption, or a degradation type is named twice; one line.
    """
    stripped = text.strip()
    stripped = stripped[len(_LEAD) :] if stripped.lower().startswith(_LEAD) else stripped
    levels: dict[str, float] = {}
    for part in stripped.split(','):
        try:
            name, level = table.parse_caption(part)
        except ValueError:
            raise OptionError(
                f"prior: expected {', '.join(PRIORS)}, or a text such as '{table.types[1].caption(25)}, "
                f"jpeg with quality factor:40.0', got '{text}'; '{part.strip()}' is no caption of {table.name} levels"
            ) from None
        if name in levels:
            raise OptionError(f"prior: expected each degradation type once, got '{text}'; leave one {name} out")
        levels[name] = level
    return table.ordered_levels(levels)


def text_estimator(setup: PriorSetup, source: str) -> TextEstimator:
    """Returns the estimator of a setup.

    Raises:
        OptionError: There is none, or it has no text tower, which the source needs; one line.
    """
    if is_text_estimator(setup.estimator):
        return setup.estimator
    given = 'none' if setup.estimator is None else type(setup.estimator).__name__
    raise OptionError(
        f'prior: expected a network_da with a text tower for {source!r}, got {given}; take DegradationAdaptor, or '
        'prior: estimated'
    )


def no_content(inputs: PriorInputs, setup: PriorSetup) -> Tensor:
    """Returns the content (B, 1, D) of a source that has none: zeros."""
    return inputs.lq.new_zeros(len(inputs.lq), 1, setup.dim)


def _required(value: Tensor | None, name: str, form: PriorForm) -> Tensor:
    if value is None:
        raise UserError(
            f"prior: expected a data set with captions for prior: captions, got one without; in the form '{form}' it "
            f"needs '{name}'; take CaptionedDegradationDataset or CaptionedPairDataset, or prior: estimated"
        )
    return value
