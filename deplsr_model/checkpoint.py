"""Loads checkpoints into networks, and records in those of degradation estimators which levels they estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from basicsr_plugin.atomic import save_tensors
from basicsr_plugin.checkpoint import read_file, read_metadata, read_state_dict
from basicsr_plugin.weights import MisfitError, check_finite, first_names, load_weights
from deplsr_arch.protocols import is_estimator

__all__ = ['ESTIMATOR_PREFIX', 'Loaded', 'load_into', 'recorded_levels', 'save_estimator']

#: Of the names of the estimator's weights in a file that holds those of an SR network too (`basicsr export`).
ESTIMATOR_PREFIX = 'network_da.'

_LEVELS = 'levels'  # key next to that of the weights


class Loaded(NamedTuple):
    """What a checkpoint had for a network.

    Attributes:
        kept: Names of the fusion weights that the file, a backbone's checkpoint, does not have; they keep their start
            values.
        missing: Names of the other weights that it does not have; none after a strict load.
        total: How many weights the network has, except for those of fusions.
    """

    kept: list[str]
    missing: list[str]
    total: int

    def summary(self, name: str) -> str:
        """Returns a line: how many weights of a network were loaded, and which were not."""
        rest = f'; missing: {first_names(self.missing)}' if self.missing else ''
        return f'{self.total - len(self.missing)} of {self.total} weights of {name} were loaded{rest}'


def load_into(
    net: nn.Module,
    path: str | Path,
    *,
    param_key: str | None = 'params',
    strict: bool = True,
    where: str = 'checkpoint',
) -> Loaded:
    """Loads a checkpoint into a network; one with fusion also takes a checkpoint of its backbone.

    From a file that holds an SR network and an estimator, a network takes its own part.

    Args:
        net: The network. After an error its weights are not defined.
        path: See :func:`~basicsr_plugin.checkpoint.read_state_dict`.
        param_key: See :func:`~basicsr_plugin.checkpoint.read_state_dict`.
        strict: Whether the names must be the same on both sides; otherwise some must, other than those of fusions.
            Shapes and types must always agree.
        where: The option that named the file, for messages.

    Returns:
        Which weights the file does not have.

    Raises:
        UserError: The file cannot be read, its weights are not finite, or its names, shapes or types do not fit the
            network; one line.
    """
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = getattr(net, 'own_names', dict)
    state = rename(_part_of(net, read_state_dict(path, param_key, where)))
    fusion = _missing_fusion(net, state)
    own = [key for key in net.state_dict() if not key.startswith(_fusion_prefixes(net))]
    missing = [key for key in own if key not in state]
    if len(missing) < len(own):  # otherwise nothing of the file fits, which is an error
        state.update(fusion)
    elif not strict and state.keys() & net.state_dict().keys():
        raise MisfitError(
            f'{where}: expected weights of {type(net).__name__} in {path}, got only those of fusions, none of its '
            f'other {len(own)}; name the checkpoint of this network'
        )
    load_weights(net, state, path, where, strict=strict)
    return Loaded(list(fusion), missing, len(own))


def _part_of(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    estimator = {key: value for key, value in state.items() if key.startswith(ESTIMATOR_PREFIX)}
    if not estimator:
        return state
    if is_estimator(net):
        return {key.removeprefix(ESTIMATOR_PREFIX): value for key, value in estimator.items()}
    return {key: value for key, value in state.items() if key not in estimator}


def _missing_fusion(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the network's own fusion weights if the checkpoint has none at all."""
    prefixes = _fusion_prefixes(net)
    if not prefixes or any(key.startswith(prefixes) for key in state):
        return {}
    return {key: value for key, value in net.state_dict().items() if key.startswith(prefixes)}


def _fusion_prefixes(net: nn.Module) -> tuple[str, ...]:
    return tuple(getattr(net, 'fusion_prefixes', ()))


def save_estimator(net: nn.Module, path: str | Path, levels: str, hint: str = 'correct this, then save again') -> None:
    """Writes the checkpoint of a degradation estimator: its weights, and which levels it estimates.

    Args:
        net: The network.
        path: The file.
        levels: ``effective`` or ``nominal``.
        hint: End of the error message: how to continue.

    Raises:
        UserError: Weights are not finite, or the file cannot be written (DiskError); one that was there before is
            untouched.
    """
    weights = {key: value.cpu() for key, value in net.state_dict().items()}
    check_finite(weights, path, 'not saved', hint)
    save_tensors({'params': weights, _LEVELS: levels}, path, hint)


def recorded_levels(path: str | Path, where: str = 'checkpoint') -> str:
    """Returns which levels the estimator of a checkpoint estimates: ``nominal`` if the file does not state it.

    A ``.safetensors`` file states it in its metadata.

    Raises:
        UserError: The file cannot be read.
    """
    content: object = read_metadata(path, where) or read_file(path, where)
    found = content.get(_LEVELS) if isinstance(content, Mapping) else None
    return found if isinstance(found, str) else 'nominal'
