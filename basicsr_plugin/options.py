"""Reads a mapping of options into a frozen dataclass, or raises one line on what is wrong with it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from basicsr_plugin.errors import Faults, OptionError
from basicsr_plugin.names import nearest
from basicsr_plugin.option_types import misread_values

__all__ = [
    'SetWhenRead',
    'TypedBlock',
    'dataclasses_in',
    'describe_schema',
    'describe_type',
    'option_adapter',
    'read_options',
]

T = TypeVar('T')
_TYPE_NAMES = {
    'string': 'text',
    'integer': 'a whole number',
    'number': 'a number',
    'boolean': 'true or false',
    'array': 'a list',
    'object': 'a mapping',
    'null': 'null',
}


@dataclasses.dataclass(frozen=True)
class SetWhenRead:
    """Annotation of an option that the program sets while it reads the file: users do not write it.

    The JSON schema and the tables of options leave it out: ``rank: Annotated[int, SetWhenRead()] = 0``.
    """


@dataclasses.dataclass(frozen=True, eq=False)
class TypedBlock:
    """Annotation of an option that is a block: its key ``type`` names the dataclass that describes it.

    Only the JSON schema and the tables of options use it, as in ``Annotated[dict[str, Any], TypedBlock(RECIPES)]``.

    Attributes:
        table: A dataclass, or an object with an attribute ``options_class``, by the value of ``type``.
        default: The value of ``type`` where the block has none.
        listed: The option is a list of such blocks, whose dataclasses add keys to those of another typed block.
    """

    table: Mapping[str, Any]
    default: str | None = None
    listed: bool = False


def read_options(cls: type[T], opt: Mapping[str, Any], where: str, ignore: Iterable[str] = ()) -> T:
    """Reads options into a dataclass; nested dataclasses, ``Literal``, ``tuple`` and pydantic's ``Field`` are checked.

    Args:
        cls: A ``@dataclass(frozen=True)``. Its ``__post_init__`` may raise ``ValueError('expected ..., got ...')``.
        opt: The options; it is not changed.
        where: Path of ``opt`` in the option file, such as ``datasets.train``; empty for the file itself.
        ignore: Keys of ``opt`` that belong to another part of the program.

    Raises:
        OptionError: Unknown or missing keys, or values of a wrong type or range: one line for each.
    """
    if not isinstance(opt, Mapping):
        raise OptionError(f'{where or "options"}: expected a mapping of keys, got {_shown(opt)}')
    ignored = set(ignore)
    given = {key: value for key, value in opt.items() if key not in ignored}
    faults = Faults()
    options = None
    try:
        options = option_adapter(cls).validate_python(given)  # type: ignore[arg-type]
    except ValidationError as error:
        # a key that is unknown often explains another that is missing, so it comes first
        problems = sorted(error.errors(), key=lambda problem: problem['type'] != 'unexpected_keyword_argument')
        faults.add(_without_explained([_describe(cls, given, where, problem) for problem in problems]))
    for path, hint, value in misread_values(cls, given):
        faults.add([f'{_join(where, path)}: expected {describe_type(hint)}, got {_shown(value)}'])
    faults.raise_all()
    return options  # type: ignore[return-value]


def _without_explained(lines: list[str]) -> list[str]:
    """Leaves out the missing keys that a misspelt one explains."""
    meant = {
        (match[1], match[2])
        for line in lines
        if (match := re.match(r"(.*): unknown key .*; did you mean '(\w+)'", line))
    }
    missing = {line: re.match(r"(.*): missing key '(\w+)'", line) for line in lines}
    return [line for line, match in missing.items() if match is None or (match[1], match[2]) not in meant]


@cache
def option_adapter(cls: Any) -> TypeAdapter[Any]:
    """Returns pydantic's adapter of a dataclass; all dataclasses in it refuse unknown keys."""
    for part in dataclasses_in(cls):
        if '__pydantic_config__' not in vars(part):
            part.__pydantic_config__ = ConfigDict(extra='forbid', arbitrary_types_allowed=True, allow_inf_nan=False)
    return TypeAdapter(cls)


def dataclasses_in(annotation: Any) -> set[Any]:
    """Returns all dataclasses that a type is made of, itself included."""
    if dataclasses.is_dataclass(annotation):
        hints = get_type_hints(annotation)
        return {annotation}.union(*(dataclasses_in(hint) for hint in hints.values()))
    return set().union(*(dataclasses_in(part) for part in get_args(annotation)))


def _describe(cls: Any, given: Mapping[str, Any], where: str, problem: Any) -> str:
    path, parent = _path(given, problem['loc'], problem['type'])
    key = str(path[-1]) if path else ''
    error_type, value = problem['type'], problem['input']
    if error_type == 'unexpected_keyword_argument':
        owner = _owner(cls, path[:-1])
        names = [field.name for field in dataclasses.fields(owner)] if owner else []
        return f"{_join(where, path[:-1])}: unknown key '{key}'{nearest(key, names)}"
    if error_type == 'missing' and not isinstance(parent, (list, tuple)):
        owner = _owner(cls, path[:-1])
        expected = f'; expected {describe_type(get_type_hints(owner, include_extras=True)[key])}' if owner else ''
        return f"{_join(where, path[:-1])}: missing key '{key}'{expected}"
    if error_type == 'value_error':
        return f'{_join(where, path)}: {problem["ctx"]["error"]}'
    if error_type == 'missing':
        return f'{_join(where, path[:-1])}: expected {path[-1] + 1} values or more, got {_shown(parent)}'
    if error_type == 'literal_error':
        choices = re.findall(r"'([^']*)'", problem['ctx']['expected'])
        return (
            f'{_join(where, path)}: expected {problem["ctx"]["expected"]}, got {_shown(value)}{nearest(value, choices)}'
        )
    return f'{_join(where, path)}: expected {_expected(problem["msg"])}, got {_shown(value)}'


def _path(given: Any, loc: tuple[Any, ...], error_type: str) -> tuple[list[Any], Any]:
    """Returns the place of an error, without the names of union members that pydantic adds, and what contains it."""
    path: list[Any] = []
    parent = value = given
    for position, step in enumerate(loc):
        last = position == len(loc) - 1
        if (isinstance(value, Mapping) and step in value) or (
            isinstance(value, (list, tuple)) and isinstance(step, int) and step < len(value)
        ):
            parent, value = value, value[step]
            path.append(step)
        elif last and error_type in ('missing', 'unexpected_keyword_argument'):
            parent = value
            path.append(step)
    return path, parent


def _owner(cls: Any, path: list[Any]) -> Any:
    """Returns the dataclass that describes the mapping at ``path``, or None where that is not unique."""
    for step in path:
        if isinstance(step, int):
            continue
        hint = get_type_hints(cls).get(step)
        inner = [part for part in _parts(hint) if dataclasses.is_dataclass(part)]
        if len(inner) != 1:
            return None
        cls = inner[0]
    return cls


def _parts(hint: Any) -> list[Any]:
    return [hint, *(inner for part in get_args(hint) for inner in _parts(part))]


def _join(where: str, path: list[Any]) -> str:
    """Joins ``datasets.train`` and ``['jpeg_range', 0]`` to ``datasets.train.jpeg_range[0]``."""
    text = where
    for step in path:
        text += f'[{step}]' if isinstance(step, int) else f'.{step}' if text else str(step)
    return text or 'options'


def _expected(message: str) -> str:
    """Turns a sentence of pydantic into what follows the word "expected" in a message."""
    text = re.split(', unable to |, got a number', message)[0]
    text = re.sub(r'^Input should (be a valid |be a |be an instance of |be |have )', '', text)
    names = {'integer': 'a whole number', 'number': 'a number', 'string': 'text', 'boolean': 'true or false'}
    if text in names:
        return names[text]
    if text.startswith('finite'):
        return 'a finite number'
    if text.startswith(('greater', 'less', 'a multiple')):
        return f'a number {text}' if not text.startswith('a ') else f'a number that is {text}'
    if text.startswith(('list', 'tuple')):
        return 'a list'
    if text.startswith(('dictionary', 'mapping', 'valid mapping', 'a dictionary')):
        return 'a mapping'
    length = re.match(r'\w+ should have at (?:most|least) (\d+) items? after validation', text)
    if length:
        return f'{length[1]} value{"s" if length[1] != "1" else ""}'
    return text[:1].lower() + text[1:]


def describe_type(hint: Any) -> str:
    """Returns a type in plain English, by way of its JSON schema."""
    if any(dataclasses.is_dataclass(part) and isinstance(part, type) for part in _parts(hint)):
        return 'a mapping'
    return describe_schema(TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).json_schema())


def describe_schema(schema: Mapping[str, Any]) -> str:
    """Returns the type that a JSON schema describes in plain English."""
    if 'anyOf' in schema:
        return ' or '.join(describe_schema(part) for part in schema['anyOf'])
    if 'enum' in schema:
        return f'one of {", ".join(map(repr, schema["enum"]))}'
    if 'const' in schema:
        return repr(schema['const'])
    if '$ref' in schema:
        return 'a mapping'
    phrase = _TYPE_NAMES.get(schema.get('type', ''), 'a value')
    if 'prefixItems' in schema:
        phrase += f' of {len(schema["prefixItems"])} values'
    bounds = {'minimum': '>=', 'exclusiveMinimum': '>', 'maximum': '<=', 'exclusiveMaximum': '<'}
    values = {bound: schema[bound] for bound in bounds if bound in schema}
    limits = [f'{bounds[bound]} {int(value) if value == int(value) else value}' for bound, value in values.items()]
    return f'{phrase} {" and ".join(limits)}'.rstrip()


def _shown(value: Any, limit: int = 80) -> str:
    text = 'nothing' if value is None else repr(value).replace('\n', ' ')
    return text if len(text) <= limit else text[: limit - 3] + '...'
