"""Sub-commands of `basicsr`: its own and those that plug-ins provide.

A package names a module in the entry-point group ``basicsr.commands``, under the name of the command. The first line of
the module's docstring is the command's line in ``basicsr --help``, and the module has

- ``add_arguments(parser)``, which adds its arguments and may set ``parser.epilog``, where examples belong;
- ``run(args) -> int``, which does the work and returns the exit status. It may raise
  :class:`~basicsr_plugin.errors.UserError`, and ``KeyboardInterrupt('how to resume')``.
"""

from __future__ import annotations

import argparse
import ast
import importlib
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.errors import UserError, cause, warn
from basicsr_plugin.start_up import paused_collection

__all__ = ['GROUP', 'Commands']

GROUP = 'basicsr.commands'


class Commands:
    """The commands of all installed packages; a module is imported only when its command is run.

    Args:
        own: Module of each command that `basicsr` itself has.
        taken: Further names that plug-ins must not use.
    """

    def __init__(self, own: Mapping[str, str], taken: Sequence[str]) -> None:
        self._own = own
        self._taken = (*taken, *own)
        self._modules: dict[str, str] = dict(own)

    def add_to(self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser], chosen: str | None) -> None:
        """Adds a parser for each command; only ``chosen`` gets its arguments, the others their help line.

        A command whose module cannot be read, or whose name is taken, is named on stderr and left out.

        Raises:
            UserError: ``chosen`` cannot be loaded.
        """
        if chosen not in self._own:
            self._find()
        for name in sorted(self._modules):
            try:
                summary = _summary(self._modules[name])
            except (ImportError, SyntaxError, ValueError) as error:
                if name != chosen:
                    warn(f"command '{name}' is skipped: {cause(error)}")
                    continue
                summary = ''
            parser = subparsers.add_parser(
                name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
            )
            if name == chosen:
                self._load(name).add_arguments(parser)

    def run(self, name: str, args: argparse.Namespace) -> int:
        """Runs a command and returns its exit status.

        Raises:
            UserError: It cannot be loaded.
        """
        return int(self._load(name).run(args) or 0)

    def _find(self) -> None:
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.value):
            holder = 'basicsr' if point.name in self._taken else self._modules.setdefault(point.name, point.module)
            if holder != point.module:
                warn(f"command '{point.name}' of '{point.value}' is skipped: '{holder}' has a command of that name")

    def _load(self, name: str) -> Any:
        module = self._modules[name]
        if name in self._own:
            return importlib.import_module(module)
        try:
            with paused_collection():
                apply_fixes()
                loaded = importlib.import_module(module)
        except Exception as error:
            raise UserError(f"command '{name}': cannot load '{module}': {cause(error)}") from error
        missing = [part for part in ('add_arguments', 'run') if not callable(getattr(loaded, part, None))]
        if missing:
            raise UserError(f"command '{name}': expected add_arguments and run in '{module}', got no {missing[0]}")
        return loaded


def _summary(module: str) -> str:
    """First line of a module's docstring, read from its source: importing it may take seconds (torch)."""
    spec: ModuleSpec | None = None
    parts = module.split('.')
    for depth in range(1, len(parts) + 1):
        name = '.'.join(parts[:depth])
        spec = PathFinder.find_spec(name, spec.submodule_search_locations) if spec else find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named '{name}'")
    source = getattr(spec and spec.loader, 'get_source', lambda _: None)(module)
    docstring = ast.get_docstring(ast.parse(source or '')) or f'(see {module})'
    return docstring.splitlines()[0].rstrip('.')
