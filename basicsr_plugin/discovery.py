"""Finds plug-ins, loads them, and lists what each of them registers.

Apply the fixes (:func:`basicsr_plugin.compat.apply_fixes`) before a plug-in is loaded: plug-ins import BasicSR.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from typing import NamedTuple

from basicsr_plugin.errors import UserError, cause, warn

__all__ = ['GROUP', 'REGISTRIES', 'Registered', 'load_entry_points', 'load_plugins', 'registered']

GROUP = 'basicsr.plugins'
REGISTRIES = ('arch', 'dataset', 'loss', 'metric', 'model')


class Registered(NamedTuple):
    """One name that an option file may use, the registry it is in, and the top-level package it comes from."""

    registry: str
    name: str
    package: str


def load_entry_points() -> list[str]:
    """Imports the plug-ins of all installed packages (entry points in the group ``basicsr.plugins``).

    A broken one is named on stderr and skipped: whoever runs another plug-in cannot repair it.

    Returns:
        The modules that were imported.
    """
    loaded = []
    for module in dict.fromkeys(point.module for point in entry_points(group=GROUP)):
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001  (a plug-in may fail in any way)
            warn(f"plug-in '{module}' is skipped: {cause(error)}")
        else:
            loaded.append(module)
    return loaded


def load_plugins(modules: Sequence[str], where: str = '--plugin') -> None:
    """Imports plug-ins by name; a module may also be in the working directory.

    Args:
        modules: Dotted module names.
        where: The option that names them, for the message.

    Raises:
        UserError: A module cannot be imported; the line holds the cause.
    """
    if isinstance(modules, str):
        raise UserError(f"{where}: expected a list such as [{modules}], got '{modules}'; put it in brackets")
    if not isinstance(modules, (list, tuple)) or not all(isinstance(module, str) for module in modules):
        raise UserError(f'{where}: expected a list of modules such as [my_plugin], got {modules!r}')
    if modules and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a folder here must not hide an installed package
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            hint = '; name the module, without .py' if str(module).endswith('.py') else ''
            raise UserError(f"{where}: cannot load plug-in '{module}': {cause(error)}{hint}") from error


def registered(registries: Iterable[str] = REGISTRIES) -> list[Registered]:
    """Lists every registered name with the package it comes from, ordered by registry, package and name.

    Args:
        registries: Any of arch, dataset, loss, metric, model.
    """
    from basicsr.utils import registry as basicsr_registry

    found = [
        Registered(registry, name, obj.__module__.partition('.')[0])
        for registry in registries
        for name, obj in getattr(basicsr_registry, f'{registry.upper()}_REGISTRY')
    ]
    return sorted(found, key=lambda one: (one.registry, one.package, one.name.lower()))
