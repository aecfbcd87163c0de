"""Recognises a fault of BasicSR by its source code."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ['contains']


def contains(function: Any, text: str) -> bool:
    """Whether the source of a function contains a text.

    The version number does not decide: years of later commits also call themselves 1.4.2.
    """
    try:
        return text in inspect.getsource(function)
    except OSError:
        return False
