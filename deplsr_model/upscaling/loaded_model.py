"""What belongs to a trained model: its files, and what is loaded from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from deplsr_arch.protocols import Estimator
from deplsr_data.degradation.level_tables import LevelTable

__all__ = ['LoadedModel', 'ModelFiles']


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Attributes:
        weights: Those of the SR network, or of the estimator where there is no other.
        options: Its option file, if there is one.
        opt: The content of that file, or what the metadata of the weights hold of it (`basicsr export`).
        named: Whether the option file names the weights, so that its ``path.param_key_*`` select among them.
    """

    weights: Path
    options: Path | None = None
    opt: Mapping[str, Any] = field(default_factory=dict)
    named: bool = False


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to enlarge photos.

    Attributes:
        files: Where it comes from.
        net: The SR network, in evaluation mode on the CPU.
        name: Its class.
        scale: Enlargement.
        multiple: What the sides of an image must be multiples of.
        block: ``type`` and arguments to build it; None for a network that spandrel recognised.
        estimator: The degradation estimator, if the network is conditioned on an estimate.
        table: The degradation types and levels that it estimates.
        facts: Licence, source and so on, as far as the files state them.
        notes: What the user should know, a line each.
    """

    files: ModelFiles
    net: nn.Module
    name: str
    scale: int
    multiple: int = 1
    block: Mapping[str, Any] | None = None
    estimator: Estimator | None = None
    table: LevelTable | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
