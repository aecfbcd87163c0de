"""Reads checkpoint files without running code from them, and names in one line what does not fit a network.

Every command reads its checkpoints here: train, test, upscale, describe, export, benchmark and resuming. What torch
reports about a damaged file is never shown: it advises to load files in the way that runs their code.
"""

from __future__ import annotations

import json
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from basicsr_plugin.errors import UserError, first_line
from basicsr_plugin.file_types import FIRST_BYTES, foreign_content
from basicsr_plugin.weights import (
    check_finite,
    first_names,
    load_weights,
    mismatches,
    shape_mismatches,
    type_mismatches,
)

__all__ = [
    'check_finite',
    'damage',
    'load_weights',
    'mismatches',
    'read_file',
    'read_metadata',
    'read_state_dict',
    'shape_mismatches',
    'type_mismatches',
    'weights_in',
    'weights_key',
]

# what the reader of a zip raises on damaged lengths, offsets, flags and names
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError, LookupError)
_PACKED = 2**16  # bytes above which a part of an archive may not be packed to a hundredth
_SAVE_HINT = 'save the state dict with torch.save or as .safetensors'
_ANY_KEY = (None, 'params', 'params_ema', 'state_dict')  # with these a file may also be the state dict itself
_OTHER_STATES = (
    ({'optimizers', 'schedulers'}, 'the training state of a run', 'name a file in its folder models'),
    ({'state', 'param_groups'}, 'the state of an optimizer', 'name the checkpoint of the network'),
)


def damage(path: str | Path) -> str | None:
    """Returns what is damaged in a file that ``torch.save`` has written; None if nothing is, or for another format.

    Such a file is a zip: its parts have checksums, which ``torch.load`` ignores, and its table of contents comes last.
    """
    with open(path, 'rb') as file:
        if file.read(2) != b'PK':
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if any(part.file_size > max(_PACKED, 100 * part.compress_size) for part in parts):
                return 'it is a compressed archive, which torch.save never writes'
            if not any(part.filename.endswith('data.pkl') for part in parts):
                return 'it is an archive that torch.save has not written'
            broken = archive.testzip()
    except _ZIP_ERRORS as error:
        return f'it is truncated or damaged: {first_line(error)}'
    return f'it is damaged: {broken} has another checksum' if broken else None


def read_file(path: str | Path, where: str = 'checkpoint', hint: str = _SAVE_HINT) -> Any:
    """Reads what a ``.pth`` or ``.safetensors`` file holds: tensors, and containers and numbers around them.

    The content decides which of both it is, not the suffix.

    Args:
        path: The file.
        where: Beginning of error messages: the option that names the file.
        hint: End of the message if the file cannot be read: how to fix it.

    Raises:
        UserError: The file is missing, damaged, cannot be read, or holds more than plain tensors.
    """
    start = _start_of(path, where, None if hint is _SAVE_HINT else hint)
    try:
        if _is_safetensors(start):
            return load_file(path)
        problem = damage(path)
        if problem is None:
            with warnings.catch_warnings(), open(path, 'rb') as file:  # by its path, torch would go by the suffix
                warnings.simplefilter('ignore')  # of old ways to save
                return torch.load(file, map_location='cpu', weights_only=True)
    except Exception as error:  # unpickling damaged bytes may raise anything
        raise UserError(
            f'{where}: {path} cannot be read as a checkpoint of plain tensors ({_reason(error)}); {hint}'
        ) from error
    raise UserError(f'{where}: {path} cannot be read as a checkpoint of plain tensors ({problem}); copy it again')


def read_metadata(path: str | Path, where: str = 'checkpoint') -> dict[str, str]:
    """Returns the texts in the header of a ``.safetensors`` file; none for another format.

    Raises:
        UserError: The file cannot be read.
    """
    start = _start_of(path, where)
    if not _is_safetensors(start):
        return {}
    try:
        with open(path, 'rb') as file:
            header = json.loads(file.read(8 + int.from_bytes(start[:8], 'little'))[8:])
        found = header.get('__metadata__') or {}
        return {key: value for key, value in found.items() if isinstance(value, str)}
    except (OSError, ValueError, AttributeError, RecursionError):
        read_file(path, where)  # raises with the reason
        return {}


def _start_of(path: str | Path, where: str, hint: str | None = None) -> bytes:
    """Returns the first bytes of a file that may be a checkpoint; ``hint`` replaces that for files of another sort.

    Raises:
        UserError: It is missing, a folder, unreadable, empty, or something else; one line.
    """
    if os.path.isdir(path):
        raise UserError(f'{where}: expected a checkpoint file, got the folder {path}; name a file in it')
    if not os.path.isfile(path):
        what = 'is no file' if os.path.exists(path) else 'does not exist'
        raise UserError(f'{where}: expected a checkpoint file, got {path}, which {what}; check the path')
    try:
        with open(path, 'rb') as file:
            start = file.read(FIRST_BYTES)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise UserError(
            f'{where}: expected a readable checkpoint, got {path}: {reason}; check its rights and its disk'
        ) from None
    if not start:
        raise UserError(f'{where}: expected a checkpoint, got {path}, which is empty; copy or download it again')
    foreign = foreign_content(start)
    if foreign:
        what, usual_hint = foreign
        raise UserError(
            f'{where}: {path} cannot be read as a checkpoint of plain tensors (it is {what}); {hint or usual_hint}'
        )
    return start


def _is_safetensors(start: bytes) -> bool:
    """Whether a file begins with the length of a JSON header and that header."""
    return start[8:9] == b'{' and start[4:8] == bytes(4)


def _reason(error: Exception) -> str:
    """Returns why a file cannot be read, without torch's own text."""
    if isinstance(error, SafetensorError):
        return f'it is damaged: {first_line(error)}'
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return 'it is damaged, or larger than the free memory'
    text = str(error)
    if 'TorchScript' in text:
        return 'it is a TorchScript program, which is code'
    named = re.search(r'GLOBAL (\S+) was not an allowed|nsupported (?:class|type) (\S+)', text)
    if named:
        return f'it holds objects other than tensors: {named[1] or named[2]}'
    return 'it is truncated or damaged, or torch.save has not written it'


def read_state_dict(path: str | Path, param_key: str | None = 'params', where: str = 'checkpoint') -> dict[str, Tensor]:
    """Reads the weights in a ``.pth`` (BasicSR's or a bare state dict) or ``.safetensors`` file.

    Args:
        path: The file.
        param_key: See :func:`weights_key`.
        where: Beginning of error messages: the option that names the file.

    Raises:
        UserError: The file is missing, is no checkpoint, holds more than plain tensors, or does not have the key.
    """
    return weights_in(read_file(path, where), path, param_key, where)


def weights_in(
    content: Any, path: str | Path, param_key: str | None = 'params', where: str = 'checkpoint'
) -> dict[str, Tensor]:
    """Returns the weights in what :func:`read_file` has returned, without the ``module.`` of data-parallel networks.

    Raises:
        UserError: There are none, or something else is among them; one line.
    """
    key = weights_key(content, path, param_key, where)
    weights = content if key is None else content[key]
    if not weights:
        raise UserError(f'{where}: expected weights in {path}, got none; {_SAVE_HINT}')
    for name, value in weights.items():
        problem = _not_a_weight(name, value)
        if problem:
            raise UserError(f'{where}: expected tensors by name in {path}, got {problem}; {_SAVE_HINT}')
    found = {name.removeprefix('module.'): value for name, value in weights.items()}
    if len(found) < len(weights):
        raise UserError(f'{where}: expected each weight once in {path}, got some also with module.; save it again')
    return found


def weights_key(
    content: Any, path: str | Path, param_key: str | None = 'params', where: str = 'checkpoint'
) -> str | None:
    """Returns the key of the weights in what :func:`read_file` has returned; None if it is the state dict itself.

    Args:
        content: Of the file.
        path: The file, for messages.
        param_key: The key that is wanted. For ``params_ema``, ``params`` is taken if the file has no averaged weights,
            as BasicSR does; ``None``: the file is the state dict itself.
        where: Beginning of error messages.

    Raises:
        UserError: The key is not there, or this is the state of something else; one line.
    """
    if not isinstance(content, Mapping):
        raise UserError(f'{where}: expected a state dict in {path}, got a {type(content).__name__}; {_SAVE_HINT}')
    for keys, name, hint in _OTHER_STATES:
        if keys <= content.keys():
            raise UserError(f'{where}: expected the weights of a network in {path}, got {name}; {hint}')
    nested = [key for key, value in content.items() if isinstance(value, Mapping)]
    for key in (param_key, 'params') if param_key == 'params_ema' else (param_key,):
        if key in nested:
            return key
    if nested:
        missing = 'no weights at its top level' if param_key is None else f'no key {param_key!r}'
        names = first_names(map(repr, nested))
        raise UserError(f'{where}: {path} has {missing}; it has {names}; name one as param_key')
    if param_key not in _ANY_KEY:
        raise UserError(f'{where}: {path} has no key {param_key!r}; it is a state dict itself; set param_key to ~')
    return None


def _not_a_weight(name: Any, value: Any) -> str | None:
    """Returns what is wrong with an entry of a state dict."""
    if not isinstance(name, str):
        return f'the key {name!r} ({type(name).__name__})'
    if not isinstance(value, Tensor):
        return f'{name} of type {type(value).__name__}'
    if value.layout != torch.strided or value.is_quantized:
        return f'{name}, which is {"quantized" if value.is_quantized else "sparse"}'
    return f'{name} without values' if value.is_meta else None
