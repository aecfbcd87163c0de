"""Reads YAML as plain data: no objects, no key twice, no file that grows or nests without bounds."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from basicsr_plugin.errors import UserError, first_line

__all__ = ['read_yaml', 'yaml_value']

_MOST_VALUES = 100_000
_DEEPEST = 50


class _Loader(yaml.SafeLoader):
    """Plain data only, as ordered mappings; ``1e-4`` is a number as in YAML 1.2."""


def _ordered(loader: _Loader, node: yaml.MappingNode) -> Iterator[OrderedDict[Any, Any]]:
    data: OrderedDict[Any, Any] = OrderedDict()
    yield data
    loader.flatten_mapping(node)
    data.update((loader.construct_object(key, deep=True), loader.construct_object(value)) for key, value in node.value)


_Loader.add_constructor('tag:yaml.org,2002:map', _ordered)
_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float', re.compile(r'^[-+]?(\d+|\d*\.\d+|\d+\.)[eE][-+]?\d+$'), list('-+.0123456789')
)


def read_yaml(path: str) -> OrderedDict[str, Any]:
    """Reads an option file.

    Raises:
        UserError: The file is missing, is no YAML, is no mapping, has a key twice or one that is no text, is nested too
            deeply or refers to itself, or has a tag that would run code.
    """
    try:
        with open(path, encoding='utf-8') as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'-opt: expected an option file, got {path}: {getattr(error, "strerror", None) or error}'
        ) from None
    opt = yaml_value(text, path)
    if not isinstance(opt, Mapping):
        raise UserError(f'{path}: expected a mapping of options, got {type(opt).__name__}')
    return opt  # type: ignore[return-value]


def yaml_value(text: str, where: str) -> Any:
    """Returns the value that a YAML text describes.

    Args:
        text: The text.
        where: Beginning of error messages.

    Raises:
        UserError: As :func:`read_yaml`.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _Check(where).size(node, 0)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(_yaml_error(where, error)) from None
    except RecursionError:
        raise UserError(f'{where}: expected at most {_DEEPEST} levels of nesting, got more; flatten it') from None
    except (ValueError, TypeError, OverflowError) as error:  # !!int of a word, a date that does not exist
        raise UserError(f'{where}: a value cannot be read ({first_line(error)}); put text in quotes') from None
    finally:
        loader.dispose()


class _Check:
    """Checks the nodes of a file before values are made of them.

    Args:
        where: Beginning of error messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def size(self, node: yaml.Node, depth: int) -> int:
        """Returns how many values a node has when its aliases are written out.

        Raises:
            UserError: It has too many, too deep ones, or a key that cannot be used.
        """
        if id(node) in self._open:
            raise self._error(node, 'expected values, got an alias of what it is in; write the values out')
        if depth > _DEEPEST:
            raise self._error(node, f'expected at most {_DEEPEST} levels of nesting, got more; flatten it')
        if id(node) not in self._sizes:
            self._open.add(id(node))
            if isinstance(node, yaml.MappingNode):
                self._check_keys(node)
                parts = [part for pair in node.value for part in pair]
            else:
                parts = node.value if isinstance(node, yaml.SequenceNode) else []
            self._sizes[id(node)] = 1 + sum(self.size(part, depth + 1) for part in parts)
            self._open.discard(id(node))
        if self._sizes[id(node)] > _MOST_VALUES:
            raise self._error(node, f'expected at most {_MOST_VALUES} values, got more; remove nested aliases')
        return self._sizes[id(node)]

    def _check_keys(self, node: yaml.MappingNode) -> None:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == 'tag:yaml.org,2002:merge':
                continue
            if key.tag != 'tag:yaml.org,2002:str':
                got = repr(key.value) if isinstance(key, yaml.ScalarNode) else 'a list or a mapping'
                hint = 'put it in quotes' if isinstance(key, yaml.ScalarNode) else 'write a name'
                raise self._error(key, f'expected a text as a key, got {got}; {hint}')
            if key.value in lines:
                first = lines[key.value]
                raise self._error(key, f"key '{key.value}' is given twice, first in line {first}; remove one")
            lines[key.value] = key.start_mark.line + 1

    def _error(self, node: yaml.Node, message: str) -> UserError:
        return UserError(f'{self._where}, line {node.start_mark.line + 1}: {message}')


def _yaml_error(where: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, 'problem_mark', None)
    line = f', line {mark.line + 1}' if mark else ''
    problem = getattr(error, 'problem', None) or str(error)
    if 'could not determine a constructor' in problem:
        problem += '; only plain values are read, never objects'
    return f'{where}{line}: {" ".join(problem.split())}'
