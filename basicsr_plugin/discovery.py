"""Finds plug-ins, loads them, and tells what each of them brought."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import NamedTuple

from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.errors import UserError

__all__ = ['GROUP', 'Registered', 'cause', 'load_entry_points', 'load_plugins', 'registered', 'warn']

GROUP = 'basicsr.plugins'


class Registered(NamedTuple):
    """One name that an option file may use."""

    kind: str
    name: str
    package: str


def load_entry_points() -> list[str]:
    """Imports the plug-ins of all installed packages (entry points in the group ``basicsr.plugins``).

    A broken one is named on stderr and skipped: whoever runs another plug-in cannot mend it.

    Returns:
        The modules that were imported.
    """
    apply_fixes()
    loaded = []
    for module in dict.fromkeys(point.module for point in entry_points(group=GROUP)):
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001  (a plug-in may fail in any way)
            warn(f"plug-in '{module}' is skipped: {cause(error)}")
        else:
            loaded.append(module)
    return loaded


def load_plugins(modules: Iterable[str], where: str = '--plugin') -> None:
    """Imports plug-ins that were asked for by name; a module may also lie in the working directory.

    Args:
        modules: Dotted module names.
        where: Who asked, for the message.

    Raises:
        UserError: A module cannot be imported; the line holds the cause.
    """
    modules = list(modules)
    if not modules:
        return
    apply_fixes()
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a folder here must not hide an installed package
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise UserError(f"{where}: cannot load plug-in '{module}': {cause(error)}") from error


def registered(kinds: Iterable[str] = ()) -> list[Registered]:
    """Lists every registered name with the top-level package it comes from, ordered by kind, package and name.

    Args:
        kinds: Any of arch, dataset, loss, metric, model; all if empty.
    """
    from basicsr.utils import registry

    found = [
        Registered(kind, name, obj.__module__.partition('.')[0])
        for kind in tuple(kinds) or ('arch', 'dataset', 'loss', 'metric', 'model')
        for name, obj in getattr(registry, f'{kind.upper()}_REGISTRY')
    ]
    return sorted(found, key=lambda one: (one.kind, one.package, one.name.lower()))


def warn(message: str) -> None:
    """Prints one line of warning on stderr."""
    print(f'basicsr: warning: {message}', file=sys.stderr, flush=True)


def cause(error: BaseException) -> str:
    """Says an error in one line, with the line of the plug-in, or of what it imports, that raised it."""
    text = str(error).strip().split('\n')[0]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if 'importlib' not in f.filename]
    place = f' ({os.path.relpath(frames[-1].filename)}, line {frames[-1].lineno})' if len(frames) > 1 else ''
    return f'{type(error).__name__}: {text}{place}'
