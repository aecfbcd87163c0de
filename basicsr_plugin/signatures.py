"""What a function or class can be called with by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from inspect import Parameter
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from basicsr_plugin.errors import OptionError
from basicsr_plugin.option_types import misread_values

__all__ = ['check_values', 'named_parameters', 'takes_any_name', 'takes_none']

_MOST = 1_000_000  # of channels, blocks and the like; more would run for hours or end in an allocation error
_STAGES = (('depths', 'num_heads'), ('depth', 'num_heads'))
_SIDES = ('img_size', 'patch_size', 'window_size')  # a number, or one for each direction


def named_parameters(function: Callable[..., object]) -> list[Parameter]:
    """Returns the parameters that can be given by name."""
    parameters = inspect.signature(function).parameters.values()
    return [one for one in parameters if one.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]


def takes_any_name(function: Callable[..., object]) -> bool:
    """Whether a function has ``**kwargs``."""
    return any(one.kind is Parameter.VAR_KEYWORD for one in inspect.signature(function).parameters.values())


def takes_none(function: Callable[..., object], name: str) -> bool:
    """Whether an argument may be None, by its default or its annotation."""
    one = next((one for one in named_parameters(function) if one.name == name), None)
    if one is None:
        return False
    hints = _hints(function)
    return one.default is None or (name in hints and _mismatch(hints[name], None) is None)


def check_values(
    function: Callable[..., Any], values: Mapping[str, Any], where: str, given: Collection[str] = ()
) -> None:
    """Checks values against the types of the arguments that they are for.

    Types are those of annotations; for classes of BasicSR, which has none, those of the defaults.

    Args:
        function: A function or class.
        values: Values by the name of the argument.
        where: Their place in the option file.
        given: Arguments that come from elsewhere.

    Raises:
        OptionError: One line for each value of another type.
    """
    hints = _hints(function)
    stock = getattr(function, '__module__', '').partition('.')[0] == 'basicsr'
    lines = []
    for one in named_parameters(function):
        if one.name not in values or one.name in given:
            continue
        value = values[one.name]
        out = next((number for number in _numbers(value) if not abs(number) <= _MOST), None)
        if out is not None:
            limit = f'a number up to {_MOST}' if math.isfinite(out) else 'a finite number'
            lines.append(f'{where}.{one.name}: expected {limit}, got {out}')
            continue
        expected = _mismatch(hints[one.name], value) if one.name in hints else None
        if one.name not in hints and stock:
            expected = _mismatch_with_default(one, value)
        if expected:
            lines.append(f'{where}.{one.name}: expected {expected}, got {value!r}')
    lines += _unequal(function, values, where)
    if lines:
        raise OptionError('\n'.join(lines))


def _unequal(function: Callable[..., Any], values: Mapping[str, Any], where: str) -> Iterator[str]:
    """Yields a line where two lists must have one value for each stage; networks ignore those beyond the shorter."""
    defaults = {one.name: one.default for one in named_parameters(function)}
    for stages, each in _STAGES:
        first, second = (values.get(key, defaults.get(key)) for key in (stages, each))
        if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) != len(second):
            given = f'{list(second)}{"" if each in values else ", the default"}'
            yield f'{where}.{each}: expected {len(first)} values, one for each of {stages} {list(first)}, got {given}'


def _numbers(value: Any) -> Iterator[float]:
    """Yields all numbers in a value."""
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(part)


def _hints(function: Any) -> dict[str, Any]:
    owner = function.__init__ if inspect.isclass(function) else function
    try:
        return get_type_hints(owner, include_extras=True)
    except (NameError, TypeError):  # annotations for a type checker only
        return {}


def _mismatch(hint: Any, value: Any) -> str | None:
    """Returns what a type needs if a value is of another one."""
    from basicsr_plugin.options import describe_type

    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        try:
            adapter = TypeAdapter(hint)
        except PydanticUserError:  # a type that no option file can hold, such as a class
            return None
    try:
        adapter.validate_python(value)
    except ValidationError:
        return describe_type(hint)
    except (NameError, TypeError):
        return None
    return describe_type(hint) if next(misread_values(hint, value), None) else None


def _mismatch_with_default(one: Parameter, value: Any) -> str | None:
    default = one.default
    if default is one.empty:
        default = 1 if one.name.startswith('num_') or one.name in ('scale', 'upscale') else None
    if isinstance(default, bool):
        return None if isinstance(value, bool) else 'true or false'
    if isinstance(default, (int, float)):
        numbers = value if isinstance(value, (list, tuple)) and one.name in _SIDES else [value]
        return None if all(_is_like(default, number) for number in numbers) else _number(default)
    if isinstance(default, str):
        return None if value is None or isinstance(value, str) else 'text'
    if isinstance(default, (list, tuple)):
        return None if isinstance(value, (list, tuple)) else 'a list'
    return None


def _is_like(default: float, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _MOST:
        return False
    if isinstance(default, float):
        return True
    return isinstance(value, int) and value >= min(default, 1)


def _number(default: float) -> str:
    return 'a number' if isinstance(default, float) else f'a whole number from {min(default, 1)} upwards'
