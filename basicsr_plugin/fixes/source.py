"""Recognises a fault of BasicSR by its source code."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable

__all__ = ['contains', 'replace_everywhere']


def contains(function: Callable[..., object], text: str) -> bool:
    """Whether the source of a function contains a text.

    The version number does not decide: years of later commits also call themselves 1.4.2.
    """
    try:
        return text in inspect.getsource(function)
    except OSError:
        return False


def replace_everywhere(name: str, broken: Callable[..., object], fixed: Callable[..., object]) -> None:
    """Replaces a function in all modules of BasicSR that have imported it by name."""
    for label, module in list(sys.modules.items()):
        if label.split('.')[0] == 'basicsr' and vars(module).get(name) is broken:
            setattr(module, name, fixed)
