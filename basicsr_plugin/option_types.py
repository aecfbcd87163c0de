"""Finds values of an option file that pydantic would convert to another type, such as the text '2' to a number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ['misread_values']

_NUMBERS = (int, float)
Found = tuple[list[Any], Any, Any]


def misread_values(hint: Any, value: Any) -> Iterator[Found]:
    """Yields path, expected type and value of what BasicSR, which reads the file too, would find in another type.

    Args:
        hint: A type; dataclasses, lists, tuples and mappings are searched.
        value: What the option file has.
    """
    yield from _misread(hint, value, [])


def _misread(hint: Any, value: Any, path: list[Any]) -> Iterator[Found]:
    members = list(_members(hint))
    if isinstance(value, Mapping):
        for key, inner in value.items():
            for part in filter(None, (_type_of_key(member, key) for member in members)):
                yield from _misread(part, inner, [*path, key])
    elif isinstance(value, (list, tuple)):
        for member in members:
            for position, (part, inner) in enumerate(zip(_types_of_items(member, len(value)), value, strict=False)):
                yield from _misread(part, inner, [*path, position])
    elif _is_misread(members, value):
        yield path, hint, value


def _is_misread(members: list[Any], value: Any) -> bool:
    literals = [one for member in members if get_origin(member) is Literal for one in get_args(member)]
    if Any in members or value in literals:
        return False
    has_number = any(number in members for number in _NUMBERS)
    if isinstance(value, str):
        return str not in members and (has_number or bool in members)
    if isinstance(value, bool):
        return bool not in members and has_number
    return isinstance(value, _NUMBERS) and bool in members and not has_number


def _members(hint: Any) -> Iterator[Any]:
    """Yields the members of a union, without their annotations."""
    if get_origin(hint) is Annotated:
        yield from _members(get_args(hint)[0])
    elif get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _members(part)
    else:
        yield hint


def _type_of_key(member: Any, key: Any) -> Any:
    if dataclasses.is_dataclass(member):
        return get_type_hints(member, include_extras=True).get(key)
    arguments = get_args(member)
    return (
        arguments[1] if isinstance(get_origin(member), type) and len(arguments) == 2 and _is_mapping(member) else None
    )


def _is_mapping(member: Any) -> bool:
    return issubclass(get_origin(member), Mapping)


def _types_of_items(member: Any, count: int) -> Sequence[Any]:
    origin, arguments = get_origin(member), get_args(member)
    if origin is list:
        return arguments * count
    if origin is tuple:
        return arguments[:1] * count if arguments[-1:] == (...,) else arguments
    return ()
