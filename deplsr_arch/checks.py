"""Checks of arguments, shared by the networks; each raises an OptionError (a ValueError) that says the mend."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from basicsr_plugin.errors import OptionError


def expect(holds: bool, argument: str, expected: str, got: Any, hint: str) -> None:
    """Refuses an argument unless ``holds``.

    Raises:
        OptionError: ``holds`` is false.
    """
    if not holds:
        raise OptionError(f'{argument}: expected {expected}, got {got!r}; {hint}')


def is_count(value: Any) -> bool:
    """Tells whether a value is a whole number from 1 upwards (a bool is none)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_number(value: Any) -> bool:
    """Tells whether a value is a real number (a bool is none)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def are_counts(values: Any, length: int | None = None) -> bool:
    """Tells whether a value is a list or tuple of whole numbers from 1 upwards, not empty, of ``length`` if given."""
    listed = isinstance(values, (list, tuple)) and all(is_count(value) for value in values)
    return listed and (len(values) > 0 if length is None else len(values) == length)


def expect_counts(**counts: Any) -> None:
    """Refuses named arguments that are no whole numbers from 1 upwards."""
    for name, count in counts.items():
        expect(is_count(count), name, 'a whole number from 1 upwards', count, 'give it as a plain integer')


def expect_positive(**numbers: Any) -> None:
    """Refuses named arguments that are no numbers above 0."""
    for name, number in numbers.items():
        expect(is_number(number) and number > 0, name, 'a number above 0', number, 'leave it out for the default')


def expect_rates(**rates: Any) -> None:
    """Refuses named arguments outside 0 <= rate < 1."""
    for name, rate in rates.items():
        expect(is_number(rate) and 0 <= rate < 1, name, 'a rate in 0 <= rate < 1', rate, '0.0 drops nothing')


def expect_flags(**flags: Any) -> None:
    """Refuses named arguments that are neither True nor False."""
    for name, flag in flags.items():
        expect(isinstance(flag, bool), name, 'true or false', flag, 'write it without quotes')


def expect_choice(argument: str, value: Any, choices: Collection[str]) -> None:
    """Refuses a value that is none of the choices."""
    named = ' or '.join(repr(choice) for choice in choices)
    expect(value in choices, argument, named, value, 'choose one of these')
