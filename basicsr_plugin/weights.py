"""Compares weights with a network, in one line for each difference, and loads them only if all of them fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from basicsr_plugin.errors import UserError

__all__ = [
    'MisfitError',
    'check_finite',
    'first_names',
    'load_weights',
    'mismatches',
    'shape_mismatches',
    'type_mismatches',
]


class MisfitError(UserError):
    """Weights do not have the names, shapes and types of a network."""


def load_weights(
    net: nn.Module,
    state: Mapping[str, Tensor],
    path: str | Path,
    where: str = 'checkpoint',
    *,
    strict: bool = True,
) -> int:
    """Loads weights into a network if all of them fit.

    Args:
        net: The network. After an error its weights are not defined.
        state: Weights by name, as :func:`~basicsr_plugin.checkpoint.weights_in` returns them.
        path: Their file.
        where: Beginning of error messages: the option that names the file.
        strict: Whether the names must be the same on both sides. Shapes and types must always agree.

    Returns:
        How many of the weights the network has.

    Raises:
        MisfitError: They do not fit, or with ``strict=False`` none has a name of the network; one line.
        UserError: They are not finite; one line.
    """
    own = net.state_dict()
    used = {key: value for key, value in state.items() if key in own}
    problems = [*shape_mismatches(net, state), *type_mismatches(net, state)]
    if not used or (problems and strict):
        problems = mismatches(net, state)
    elif not problems:
        check_finite(used, path, where, 'name a checkpoint saved before it')
        try:
            net.load_state_dict(state, strict=strict)
            return len(used)
        except RuntimeError as error:
            problems = mismatches(net, state) or [str(error).replace('\n', ' ')]
    raise MisfitError(
        f'{where}: {path} does not fit {type(net).__name__}: {"; ".join(problems)}; set the options that the file was '
        'trained with'
    )


def check_finite(state: Mapping[str, Any], path: str | Path, where: str, hint: str) -> None:
    """Refuses weights that are not finite, in float32 if they have more bits.

    Args:
        state: Weights by name.
        path: Their file.
        where: Beginning of the error message.
        hint: Its end: how to continue.

    Raises:
        UserError: Some are not; one line that names the first.
    """
    floats = [(name, value) for name, value in state.items() if isinstance(value, Tensor) and value.is_floating_point()]
    bad = [name for name, value in floats if not _narrowed(value).isfinite().all()]
    if bad:
        names = first_names(bad)
        raise UserError(f'{where}: expected finite weights, got NaN or infinity in {names} for {path}; {hint}')


def _narrowed(value: Tensor) -> Tensor:
    return value.float() if value.dtype == torch.float64 else value


def shape_mismatches(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Returns at most one line: which entries of a state dict have another shape in the network."""
    own = net.state_dict()
    other = [
        f'{key} (file {tuple(value.shape)}, network {tuple(own[key].shape)})'
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    return [f'{len(other)} of another shape: {first_names(other)}'] if other else []


def type_mismatches(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Returns at most one line: which entries would be cut, such as fractions in a network's whole numbers."""
    own = net.state_dict()
    other = [
        f'{key} (file {_dtype(value)}, network {_dtype(own[key])})'
        for key, value in state.items()
        if key in own and _sort(value) != _sort(own[key])
    ]
    return [f'{len(other)} of another type: {first_names(other)}'] if other else []


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix('torch.')


def _sort(value: Tensor) -> str:
    """Returns what a tensor holds, whatever its number of bits."""
    if value.is_complex():
        return 'complex'
    if value.is_floating_point():
        return 'float'
    return 'bool' if value.dtype == torch.bool else 'integer'


def mismatches(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Returns why a state dict does not fit a network: missing and unexpected names, other shapes, other types."""
    own = net.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    names = (('missing', missing), ('unexpected', unexpected))
    lines = [f'{len(keys)} {what}: {first_names(keys)}' for what, keys in names if keys]
    return [*lines, *shape_mismatches(net, state), *type_mismatches(net, state)]


def first_names(names: Iterable[str], limit: int = 3) -> str:
    """Returns the first names of a list and how many more there are."""
    names = list(names)
    return ', '.join(names[:limit]) + (f' and {len(names) - limit} more' if len(names) > limit else '')
