"""What faults do: each subcommand is a module of this package with `add_arguments` and `run`.

    python -m benchmarks.faults state                  # kills, full disks, signals, damaged files, lost processes
    python -m benchmarks.faults state --kills 12 --damages 20 --only kills damage
    python -m benchmarks.faults cost                   # memory, file handles, time of checks and of saving
    python -m benchmarks.faults files                  # damaged and odd checkpoints and images, at every command
    python -m benchmarks.faults options                # mutated option files
    python -m benchmarks.faults check                  # seconds until the first folder is made

A subcommand prints one table and exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from types import ModuleType

import benchmarks.faults


def main() -> int:
    """Runs a subcommand; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.faults', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    commands = _commands()
    for name, module in commands.items():
        text = (module.__doc__ or '').splitlines()[0]
        module.add_arguments(subparsers.add_parser(name, help=text, description=text))
    args = parser.parse_args()
    status: int = commands[args.command].run(args)
    return status


def _commands() -> dict[str, ModuleType]:
    """Returns the subcommands by name."""
    names = [found.name for found in pkgutil.iter_modules(benchmarks.faults.__path__) if found.name != '__main__']
    modules = {name: importlib.import_module(f'benchmarks.faults.{name}') for name in sorted(names)}
    return {name: module for name, module in modules.items() if hasattr(module, 'add_arguments')}


if __name__ == '__main__':
    sys.exit(main())
