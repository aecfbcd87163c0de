"""Recognises, among the errors of BasicSR and torch, those that are the user's to mend."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable
from typing import Any

from basicsr_plugin.errors import without_worker_traceback

__all__ = ['one_line']


def one_line(error: Exception) -> str | None:
    """Says a user's known mistake in one line; None for what may be a bug, whose traceback is wanted."""
    loading = _locals_of(error, 'load_network')
    if loading and isinstance(error, (RuntimeError, KeyError, pickle.UnpicklingError, EOFError)):
        return _bad_weights(error, loading)
    if isinstance(error, FileNotFoundError):
        if error.filename:
            return f'{error.filename}: no such file or folder'
        return re.sub(r'^(\w+): (\[Errno \d+\] )?', '', without_worker_traceback(str(error)))
    if isinstance(error, KeyError) and 'registry' in str(error):
        return f'{error.args[0].rstrip("!")}; see basicsr list'
    return None


def _locals_of(error: Exception, function: str) -> dict[str, Any]:
    """Local variables of the innermost call of a function that the error passed through."""
    found: dict[str, Any] = {}
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_name == function:
            found = trace.tb_frame.f_locals
        trace = trace.tb_next
    return found


def _bad_weights(error: Exception, loading: dict[str, Any]) -> str:
    """Names the network and the file, and the first few of the keys that differ."""
    text = str(error)
    net = type(loading.get('net')).__name__
    path = loading.get('load_path')
    if isinstance(error, KeyError):
        return f'{path}: no key {text}, where the weights of {net} were expected; set path.param_key_* to one it has'
    if 'Error(s) in loading state_dict' not in text:
        return f'{path}: cannot be read as a checkpoint of plain tensors ({text.strip().splitlines()[0]})'
    problems = []
    for what in ('Missing', 'Unexpected'):
        listed = re.search(rf'{what} key\(s\) in state_dict: (.*)', text)
        if listed:
            names = re.findall('"([^"]+)"', listed[1])
            problems.append(f'{what.lower()} {_first(names)}')
    shapes = re.findall(
        r'size mismatch for (\S+): copying a param with shape torch.Size\(\[(.*?)\]\) from checkpoint, '
        r'the shape in current model is torch.Size\(\[(.*?)\]\)',
        text,
    )
    if shapes:
        problems.append(
            f'other shapes {_first(f"{key} (file {there}; network {here})" for key, there, here in shapes)}'
        )
    return f'{path} does not fit {net}: {"; ".join(problems)}'


def _first(names: Iterable[str], limit: int = 3) -> str:
    names = list(names)
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return f'{len(names)}: {", ".join(names[:limit])}{more}'
