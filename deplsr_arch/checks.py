"""Checks of arguments, shared by the networks; each raises an OptionError (a ValueError) with a hint how to fix it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeGuard

from basicsr_plugin.errors import OptionError
from basicsr_plugin.names import nearest

__all__ = [
    'are_counts',
    'expect',
    'expect_choice',
    'expect_counts',
    'expect_flags',
    'expect_positive',
    'expect_rates',
    'is_count',
    'is_number',
    'is_power_of_two',
]


def expect(holds: bool, argument: str, expected: str, got: object, hint: str) -> None:
    """Refuses an argument unless ``holds``.

    Raises:
        OptionError: ``holds`` is false.
    """
    if not holds:
        raise OptionError(f'{argument}: expected {expected}, got {got!r}; {hint}')


def is_count(value: object) -> TypeGuard[int]:
    """Returns whether a value is a whole number from 1 upwards (a bool is not)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_power_of_two(value: object) -> TypeGuard[int]:
    """Returns whether a value is 2, 4, 8 and so on."""
    return is_count(value) and value > 1 and value & (value - 1) == 0


def is_number(value: object) -> TypeGuard[float]:
    """Returns whether a value is a real number (a bool is not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def are_counts(values: object, length: int | None = None) -> bool:
    """Returns whether a value is a list or tuple, not empty, of whole numbers from 1 upwards, of ``length`` if set."""
    if not isinstance(values, (list, tuple)) or not all(is_count(value) for value in values):
        return False
    return len(values) > 0 if length is None else len(values) == length


def expect_counts(**counts: object) -> None:
    """Refuses named arguments that are not whole numbers from 1 upwards."""
    for name, count in counts.items():
        expect(is_count(count), name, 'a whole number from 1 upwards', count, 'write it as a plain integer')


def expect_positive(**numbers: object) -> None:
    """Refuses named arguments that are not numbers above 0."""
    for name, number in numbers.items():
        positive = is_number(number) and number > 0
        expect(positive, name, 'a number above 0', number, 'leave it out for the default')


def expect_rates(**rates: object) -> None:
    """Refuses named arguments outside 0 <= rate < 1."""
    for name, rate in rates.items():
        fits = is_number(rate) and 0 <= rate < 1
        expect(fits, name, 'a rate in 0 <= rate < 1', rate, '0.0 drops nothing')


def expect_flags(**flags: object) -> None:
    """Refuses named arguments that are neither True nor False."""
    for name, flag in flags.items():
        expect(isinstance(flag, bool), name, 'true or false', flag, 'write it without quotes')


def expect_choice(argument: str, value: object, choices: Collection[str]) -> None:
    """Refuses a value that is none of the choices; the error names the nearest one.

    Raises:
        OptionError: ``value`` is none of ``choices``.
    """
    if value not in choices:
        named = ' or '.join(repr(choice) for choice in choices)
        hint = nearest(str(value), choices) or '; choose one of these'
        raise OptionError(f'{argument}: expected {named}, got {value!r}{hint}')
