"""What a function or class can be called with by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter

__all__ = ['named_parameters', 'takes_any_name']


def named_parameters(function: Callable[..., object]) -> list[Parameter]:
    """Returns the parameters that can be given by name."""
    parameters = inspect.signature(function).parameters.values()
    return [one for one in parameters if one.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]


def takes_any_name(function: Callable[..., object]) -> bool:
    """Whether a function has ``**kwargs``."""
    return any(one.kind is Parameter.VAR_KEYWORD for one in inspect.signature(function).parameters.values())
