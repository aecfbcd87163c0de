"""Mutations of an option file: one wrong, missing or odd thing in each."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import yaml

__all__ = ['Mutation', 'drawn', 'mutations']

Path = tuple[Any, ...]
_FREE_TEXT = {'name', 'dataroot_gt', 'dataroot_lq', 'meta_info', 'prior', 'suffix', 'filename_tmpl', 'param_key_g'}


class Mutation(NamedTuple):
    """A mutated option file.

    Attributes:
        sort: What was done.
        place: The key, as `datasets.train.gt_size`.
        value: The new value in JSON, or a description.
        text: The file.
    """

    sort: str
    place: str
    value: str
    text: str


def mutations(opt: dict[str, Any]) -> list[Mutation]:
    """Returns all mutations of an option file."""
    found = []
    for path, value in _walk(opt, ()):
        for sort, new in _values(path, value):
            if new is not value and json.dumps(new) != json.dumps(value):
                found.append(_changed(opt, path, sort, new))
        if not isinstance(path[-1], int):
            found.append(_renamed(opt, path))
            found.append(_without(opt, path))
            found.append(_twice(opt, path))
        if isinstance(value, dict):
            found.append(_changed(opt, (*path, 'gt_sise'), 'unknown key', 3))
    found += [Mutation('YAML itself', '', name, f'{_dump(opt)}{text}') for name, text in _YAML.items()]
    return found


def drawn(found: list[Mutation], count: int, rng: np.random.Generator) -> list[Mutation]:
    """Draws mutations, of each sort about equally many."""
    by_sort: dict[str, list[Mutation]] = {}
    for mutation in found:
        by_sort.setdefault(mutation.sort, []).append(mutation)
    pools = [[pool[i] for i in rng.permutation(len(pool))] for _, pool in sorted(by_sort.items())]
    order = [pool[turn] for turn in range(max(map(len, pools))) for pool in pools if turn < len(pool)]
    return order[:count]


_DEEP = '[' * 3000 + ']' * 3000
_YAML = {
    'on as a key': 'on: true\n',
    'a number as a key': '7: true\n',
    'a list as a key': '? [a, b]\n: 1\n',
    'a mapping as a key': '? {a: b}\n: 1\n',
    'deep nesting': f'deep: {_DEEP}\n',
    'nested aliases': 'l0: &l0 [1, 1]\n' + ''.join(f'l{i}: &l{i} [{f"*l{i - 1}, " * 9}]\n' for i in range(1, 25)),
    'an alias of itself': 'loop: &loop [*loop]\n',
    'an object': 'x: !!python/object/apply:os.system [touch harm]\n',
    'a word as a number': 'x: !!int two\n',
    'a tab': 'x:\n\ty: 1\n',
    'an open bracket': 'x: [1, 2\n',
    'a missing alias': 'x: *nowhere\n',
}


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, (*path, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value[:1]):
            yield from _walk(inner, (*path, position))


def _values(path: Path, value: Any) -> Iterator[tuple[str, Any]]:
    if value is not None and not isinstance(path[-1], int):
        yield 'null', None
    if isinstance(value, bool):
        yield 'another type', 'maybe'
        yield 'another type', 2
        yield 'another type', [value]
    elif isinstance(value, (int, float)):
        for number in (-1, 0, 10**12, *([value + 0.5] if isinstance(value, int) else [])):
            yield 'out of range', number
        yield 'not finite', float('nan')
        yield 'not finite', float('inf')
        yield 'text for a number', f"'{value}'"
        yield 'text for a number', '500,000'
        yield 'another type', True
        yield 'another type', [value]
    elif isinstance(value, str):
        yield 'number for a text', 2024
        yield 'another type', True
        yield 'another type', [value, value]
        if path[-1] not in _FREE_TEXT and len(value) > 2:
            yield 'unknown name', value[0] + value[2] + value[1] + value[3:] + 'e'
        if str(path[-1]).startswith(('dataroot', 'pretrain', 'meta_info')):
            yield 'missing file', 'no/where'
        if path == ('name',):
            yield 'unknown name', '../..'
            yield 'unknown name', ''
    elif isinstance(value, list):
        yield 'list of another length', value[:-1] if len(value) > 1 else []
        yield 'list of another length', [*value, value[-1]]
        yield 'another type', value[0]
        yield 'another type', 'text'
    elif isinstance(value, dict):
        yield 'no section', 3
        yield 'no section', ['a', 'b']
        yield 'no section', 'text'


def _changed(opt: dict[str, Any], path: Path, sort: str, new: Any) -> Mutation:
    return _edited(opt, path, sort, json.dumps(new), lambda section, key: section.__setitem__(key, new))


def _without(opt: dict[str, Any], path: Path) -> Mutation:
    return _edited(opt, path, 'missing key', 'removed', lambda section, key: section.pop(key))


def _renamed(opt: dict[str, Any], path: Path) -> Mutation:
    key = str(path[-1])
    middle = max(1, len(key) // 2)
    new = key[: middle - 1] + key[middle : middle + 1] + key[middle - 1] + key[middle + 1 :]
    new = f'{key}x' if new == key else new
    return _edited(opt, path, 'misspelt key', new, lambda section, key: section.__setitem__(new, section.pop(key)))


def _twice(opt: dict[str, Any], path: Path) -> Mutation:
    mark = '__mark__'
    mutation = _edited(opt, path, 'key twice', 'twice', lambda section, key: section.__setitem__(mark, section[key]))
    return mutation._replace(text=mutation.text.replace(mark, str(path[-1])))


def _edited(opt: dict[str, Any], path: Path, sort: str, value: str, edit: Callable[[Any, Any], Any]) -> Mutation:
    changed = copy.deepcopy(opt)
    section: Any = changed
    for key in path[:-1]:
        section = section[key]
    edit(section, path[-1])
    return Mutation(sort, '.'.join(map(str, path)), value, _dump(changed))


def _dump(opt: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(opt, sort_keys=False)
    return text
