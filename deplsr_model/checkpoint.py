"""The one loader of checkpoints: never runs code from a file, and says in one line what does not fit."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from basicsr_plugin.errors import UserError

__all__ = ['load_into', 'read_state_dict']


def read_state_dict(path: str | Path, param_key: str | None = 'params', where: str = 'checkpoint') -> dict[str, Tensor]:
    """Reads the weights in a ``.pth`` (BasicSR's or a bare state dict) or ``.safetensors`` file.

    Args:
        path: The file.
        param_key: Key of the weights in a BasicSR file. If the file has the key ``params`` only, that is taken;
            ``None`` stands for a file that is the state dict itself.
        where: What the message of an error begins with: the option that named the file.

    Raises:
        UserError: The file is missing, is no checkpoint, holds more than plain tensors, or lacks the key.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'{where}: expected a checkpoint file, got {path}, which does not exist; check the path')
    try:
        if path.suffix == '.safetensors':
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, SafetensorError) as error:
        reason = str(error).strip().split('\n')[0]
        raise UserError(f'{where}: {path} cannot be read as a checkpoint of plain tensors ({reason})') from error
    return _strip_module(_select(content, param_key, path, where))


def _select(content: Any, param_key: str | None, path: Path, where: str) -> Mapping[str, Tensor]:
    if not isinstance(content, Mapping):
        raise UserError(f'{where}: {path} holds a {type(content).__name__}, expected a state dict')
    nested = [key for key, value in content.items() if isinstance(value, Mapping)]
    if not nested:  # a bare state dict needs no key
        return content
    wanted = [key for key in (param_key, 'params') if key in nested]
    if not wanted:
        raise UserError(f"{where}: {path} has no key '{param_key}'; it has {', '.join(map(repr, nested))}")
    return content[wanted[0]]


def _strip_module(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix('module.'): value for key, value in state.items()}


def _some(names: Iterable[str], limit: int = 3) -> str:
    names = list(names)
    return ', '.join(names[:limit]) + (f' and {len(names) - limit} more' if len(names) > limit else '')


def load_into(
    net: nn.Module,
    path: str | Path,
    *,
    param_key: str | None = 'params',
    strict: bool = True,
    where: str = 'checkpoint',
) -> list[str]:
    """Loads a checkpoint into a network; one with fusion also takes a checkpoint of its backbone.

    Args:
        net: The network. After an error its weights are not defined.
        path: See :func:`read_state_dict`.
        param_key: See :func:`read_state_dict`.
        strict: Whether the names must be the same on both sides. Shapes must always agree.
        where: The option that named the file, for messages.

    Returns:
        Names of the fusion weights that the file, a backbone's checkpoint, lacks; they keep their start.

    Raises:
        UserError: The file cannot be read, or its names or shapes do not fit the network.
    """
    rename: Any = getattr(net, 'own_names', dict)
    state = rename(read_state_dict(path, param_key, where))
    lacking = _lacking_fusion(net, state)
    state.update(lacking)
    problems = _differing_shapes(net, state)
    if not problems:
        try:
            net.load_state_dict(state, strict=strict)
            return list(lacking)
        except RuntimeError as error:
            problems = _differing_names(net, state) or [str(error).replace('\n', ' ')]
    name = type(net).__name__
    raise UserError(
        f'{where}: {path} does not fit {name}: {"; ".join(problems)}; give the options the file was trained with'
    )


def _lacking_fusion(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the network's own fusion weights if the checkpoint has none at all."""
    prefixes = getattr(net, 'fusion_prefixes', ())
    if not prefixes or any(key.startswith(prefixes) for key in state):
        return {}
    return {key: value for key, value in net.state_dict().items() if key.startswith(prefixes)}


def _differing_shapes(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    own = net.state_dict()
    other = [
        f'{key} (file {tuple(value.shape)}, network {tuple(own[key].shape)})'
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    return [f'{len(other)} of another shape: {_some(other)}'] if other else []


def _differing_names(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    own = net.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    return [
        f'{len(names)} {what}: {_some(names)}'
        for what, names in (('missing', missing), ('unexpected', unexpected))
        if names
    ]
