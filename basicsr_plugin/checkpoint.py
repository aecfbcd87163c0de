"""Reads checkpoint files without running code from them, and names in one line what does not fit a network."""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from basicsr_plugin.errors import UserError, first_line

__all__ = ['check_finite', 'damage', 'mismatches', 'read_file', 'read_state_dict', 'shape_mismatches']

# what the reader of a zip raises on damaged lengths, offsets, flags and names
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError, LookupError)
_SAVE_HINT = 'save the state dict with torch.save or as .safetensors'


def damage(path: str | Path) -> str | None:
    """Returns what is damaged in a file that ``torch.save`` has written; None if nothing is, or for another format.

    Such a file is a zip: its parts have checksums, which ``torch.load`` ignores, and its table of contents comes last.
    """
    with open(path, 'rb') as file:
        if file.read(2) != b'PK':
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except _ZIP_ERRORS as error:
        return f'it is truncated or damaged: {first_line(error)}'
    return f'it is damaged: {broken} has another checksum' if broken else None


def read_file(path: str | Path, where: str = 'checkpoint', hint: str = _SAVE_HINT) -> Any:
    """Reads what a ``.pth`` or ``.safetensors`` file holds: tensors, and containers and numbers around them.

    Args:
        path: The file.
        where: Beginning of error messages: the option that names the file.
        hint: End of the message if the file cannot be read: how to fix it.

    Raises:
        UserError: The file is missing, damaged, cannot be read, or holds more than plain tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'{where}: expected a checkpoint file, got {path}, which does not exist; check the path')
    problem = damage(path)
    if problem:
        raise UserError(f'{where}: {path} cannot be read as a checkpoint of plain tensors ({problem}); copy it again')
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        return torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise UserError(
            f'{where}: {path} cannot be read as a checkpoint of plain tensors ({first_line(error)}); {hint}'
        ) from error


def read_state_dict(path: str | Path, param_key: str | None = 'params', where: str = 'checkpoint') -> dict[str, Tensor]:
    """Reads the weights in a ``.pth`` (BasicSR's or a bare state dict) or ``.safetensors`` file.

    Args:
        path: The file.
        param_key: Key of the weights in a BasicSR file. If the file has the key ``params`` only, that is taken;
            ``None``: the file is the state dict itself.
        where: Beginning of error messages: the option that names the file.

    Raises:
        UserError: The file is missing, is no checkpoint, holds more than plain tensors, or does not have the key.
    """
    content = read_file(path, where)
    if not isinstance(content, Mapping):
        raise UserError(f'{where}: {path} holds a {type(content).__name__}, expected a state dict')
    nested = [key for key, value in content.items() if isinstance(value, Mapping)]
    if nested:
        wanted = [key for key in (param_key, 'params') if key in nested]
        if not wanted:
            raise UserError(f"{where}: {path} has no key '{param_key}'; it has {', '.join(map(repr, nested))}")
        content = content[wanted[0]]
    return {str(key).removeprefix('module.'): value for key, value in content.items()}


def check_finite(state: Mapping[str, Any], path: str | Path, where: str, hint: str) -> None:
    """Refuses weights that are not finite.

    Args:
        state: Weights by name.
        path: Their file.
        where: Beginning of the error message.
        hint: Its end: how to continue.

    Raises:
        UserError: Some are not; one line that names the first.
    """
    floats = [(name, value) for name, value in state.items() if isinstance(value, Tensor) and value.is_floating_point()]
    bad = [name for name, value in floats if not value.isfinite().all()]
    if bad:
        raise UserError(f'{where}: expected finite weights, got NaN or infinity in {_first(bad)} for {path}; {hint}')


def shape_mismatches(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Returns at most one line: which entries of a state dict have another shape in the network."""
    own = net.state_dict()
    other = [
        f'{key} (file {tuple(value.shape)}, network {tuple(own[key].shape)})'
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    return [f'{len(other)} of another shape: {_first(other)}'] if other else []


def mismatches(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Returns why a state dict does not fit a network: missing and unexpected names, then other shapes."""
    own = net.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    names = (('missing', missing), ('unexpected', unexpected))
    return [f'{len(keys)} {what}: {_first(keys)}' for what, keys in names if keys] + shape_mismatches(net, state)


def _first(names: Iterable[str], limit: int = 3) -> str:
    names = list(names)
    return ', '.join(names[:limit]) + (f' and {len(names) - limit} more' if len(names) > limit else '')
