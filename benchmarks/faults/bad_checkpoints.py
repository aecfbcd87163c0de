"""Mutated checkpoints, the same ones in every run: damaged, of other types and names, no checkpoints, or with code."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from benchmarks.faults.forked import HARM

__all__ = ['Mutated', 'mutated_checkpoints', 'saved']

State = Mapping[str, Tensor]


class Mutated(NamedTuple):
    """A mutation of a network's checkpoint.

    Attributes:
        name: What was done.
        write: Returns suffix and content of the file for a state dict.
        allowed: Why it may be accepted although other values are loaded; '' if it may not.
    """

    name: str
    write: Callable[[State], tuple[str, bytes]]
    allowed: str = ''


class Code:
    """What a pickle with code holds: it writes a file when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f'touch {HARM}',)


def saved(content: Any, legacy: bool = False) -> bytes:
    """Returns what ``torch.save`` writes."""
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def _flipped(content: bytes, rng: np.random.Generator, number: int) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(0, len(content), number):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


_NO_SUMS = 'the format has no checksums: a flipped bit in a value is not visible'
_FORMATS: dict[str, Callable[[State], tuple[str, bytes]]] = {
    'pth': lambda state: ('.pth', saved({'params': dict(state)})),
    'old pth': lambda state: ('.pth', saved({'params': dict(state)}, legacy=True)),
    'safetensors': lambda state: ('.safetensors', save({key: value.contiguous() for key, value in state.items()})),
}
_TEXTS = {
    'text': b'Not Found\n' * 20,
    'one letter': b'x',
    'HTML': b'<!DOCTYPE html><html><head><title>Sign in</title></head></html>',
    'LFS pointer': b'version https://git-lfs.github.com/spec/v1\noid sha256:' + b'a' * 64 + b'\nsize 67040989\n',
    'UTF-16': 'weights'.encode('utf-16'),
    'JSON': b'{"params": {"weight": [1, 2, 3]}}',
    'YAML': b'params:\n  weight: 1\n',
    'empty': b'',
    'zeros': bytes(5000),
    'JPEG': b'\xff\xd8\xff\xe0' + bytes(500),
    'PK': b'PK\x03\x04' + bytes(500),
    'huge header': (2**40).to_bytes(8, 'little') + b'{' + bytes(100),
    'wrong header': (4).to_bytes(8, 'little') + b'{"a}',
    'nested header': (20000).to_bytes(8, 'little') + b'{"a":' * 4000,
}


def mutated_checkpoints(number: int, seed: int) -> list[Mutated]:
    """Returns ``number`` mutations."""
    rng = np.random.default_rng(seed)
    fixed = [Mutated(f'undamaged {name}', write) for name, write in _FORMATS.items()]
    fixed += [Mutated(name, _constant(content)) for name, content in _TEXTS.items()]
    fixed += [Mutated(f'{name} as safetensors', _constant(content, '.safetensors')) for name, content in _TEXTS.items()]
    fixed += [_of_content(name, change) for name, change in _CONTENTS.items()]
    fixed += [_pickle(protocol, wrap) for protocol in (0, 1, 2, 4) for wrap in (False, True)]
    found = fixed[:number]
    while len(found) < number:
        found.append(_drawn(len(found), rng))
    return found


def _constant(content: bytes, suffix: str = '.pth') -> Callable[[State], tuple[str, bytes]]:
    return lambda _: (suffix, content)


def _of_content(name: str, change: Callable[[dict[str, Tensor]], Any]) -> Mutated:
    allowed = 'the same values in other bits' if name.startswith('float') else ''
    return Mutated(name, lambda state: ('.pth', saved(change(dict(state)))), allowed)


def _pickle(protocol: int, wrap: bool) -> Mutated:
    content = pickle.dumps({'params': Code()} if wrap else Code(), protocol)
    return Mutated(f'pickle with code, protocol {protocol}', _constant(content))


def _every(change: Callable[[Tensor], Any]) -> Callable[[dict[str, Tensor]], Any]:
    return lambda state: {'params': {key: change(value) for key, value in state.items()}}


def _first(change: Callable[[str, Tensor], dict[Any, Any]]) -> Callable[[dict[str, Tensor]], Any]:
    """Replaces the first entry by others."""

    def changed(state: dict[str, Tensor]) -> Any:
        name = next(iter(state))
        return {'params': {**change(name, state.pop(name)), **state}}

    return changed


_CONTENTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    'list': lambda state: list(state.values()),
    'tensor': lambda state: next(iter(state.values())),
    'number': lambda _: 3,
    'nothing': lambda _: None,
    'empty mapping': lambda _: {},
    'empty params': lambda _: {'params': {}},
    'params is a list': lambda state: {'params': list(state.items())},
    'params is a text': lambda _: {'params': 'weights'},
    'params is nothing': lambda _: {'params': None},
    'other key': lambda state: {'weights': state},
    'two other keys': lambda state: {'net': state, 'ema': state},
    'nested twice': lambda state: {'params': {'params': state}},
    'optimizer': lambda _: torch.optim.Adam([torch.zeros(2)]).state_dict(),
    'training state': lambda _: {'epoch': 0, 'iter': 1, 'optimizers': [], 'schedulers': []},
    'integer keys': lambda state: {'params': dict(enumerate(state.values()))},
    'bytes keys': lambda state: {'params': {key.encode(): value for key, value in state.items()}},
    'tuple keys': lambda state: {'params': {(key, 1): value for key, value in state.items()}},
    'texts': _every(lambda _: 'x'),
    'numbers': _every(lambda _: 1.0),
    'lists': _every(lambda value: value.flatten()[:3].tolist()),
    'nulls': _every(lambda _: None),
    'int64': _every(lambda value: (value * 10).long()),
    'int8': _every(lambda value: value.to(torch.int8)),
    'bool': _every(lambda value: value > 0),
    'complex64': _every(lambda value: value + 0j),
    'complex128': _every(lambda value: value.to(torch.complex128)),
    'float64': _every(lambda value: value.double() if value.is_floating_point() else value),
    'float64 too large': _every(lambda value: value.double() * 1e300 if value.is_floating_point() else value),
    'bfloat16 NaN': _every(lambda value: value.bfloat16() * torch.nan if value.is_floating_point() else value),
    'sparse': _every(lambda value: value.to_sparse()),
    'meta': _every(lambda value: value.to('meta')),
    'NaN': _first(lambda name, value: {name: value * torch.nan}),
    'infinity': _first(lambda name, value: {name: value / 0}),
    'missing': _first(lambda name, value: {}),
    'renamed': _first(lambda name, value: {f'{name}x': value}),
    'empty name': _first(lambda name, value: {'': value}),
    'extra': _first(lambda name, value: {name: value, 'extra': value}),
    'extra number': _first(lambda name, value: {name: value, 'epoch': 3}),
    'one text': _first(lambda name, value: {name: 'x'}),
    'one int64': _first(lambda name, value: {name: value.long()}),
    'one complex': _first(lambda name, value: {name: value * 1j}),
    'one integer key': _first(lambda name, value: {0: value}),
    'doubled': _first(lambda name, value: {name: value, f'module.{name}': value * 2}),
    'transposed': _first(lambda name, value: {name: value.transpose(0, 1) if value.ndim > 1 else value[:-1]}),
    'one dimension more': _first(lambda name, value: {name: value[None]}),
    'scalar': _first(lambda name, value: {name: value.flatten()[0]}),
    'no elements': _first(lambda name, value: {name: value[:0]}),
    'huge by strides': _first(lambda name, value: {name: value.flatten()[:1].expand(2**40)}),
    'another network': lambda _: {'params': torch.nn.Conv2d(3, 3, 3).state_dict()},
    'network with code': lambda _: torch.nn.Conv2d(3, 3, 3),
    'code inside': lambda state: {'params': state, 'more': Code()},
}


def _drawn(number: int, rng: np.random.Generator) -> Mutated:
    """Returns a damaged file of one of the formats."""
    name = list(_FORMATS)[number % len(_FORMATS)]
    write, how = _FORMATS[name], ('bit flips', 'header flips', 'truncated', 'zeros at the end', 'hole')[number // 3 % 5]
    own = int(rng.integers(2**32))

    def damaged(state: State) -> tuple[str, bytes]:
        local = np.random.default_rng(own)
        suffix, content = write(state)
        place = int(local.integers(1, len(content)))
        if how == 'bit flips':
            return suffix, _flipped(content, local, int(local.integers(1, 9)))
        if how == 'header flips':
            return suffix, _flipped(content[:400], local, int(local.integers(1, 9))) + content[400:]
        if how == 'truncated':
            return suffix, content[:place]
        if how == 'zeros at the end':
            return suffix, content[:place] + bytes(len(content) - place)
        return suffix, content[:place] + content[place + int(local.integers(1, 65)) :]

    unseen = name != 'pth' and how != 'truncated'
    return Mutated(f'{name}: {how}', damaged, _NO_SUMS if unseen else '')
