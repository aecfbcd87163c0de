"""Feeds the product with faults and prints what it does with them.

    python -m benchmarks.faults options             # mutated option files, some minutes
    python -m benchmarks.faults options --count 40

Each module of this package with `add_arguments(parser)` and `run(args)` is a command.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

import benchmarks.faults


def main() -> int:
    """Runs one of the commands; the status is 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.faults', description=str(__doc__).splitlines()[0])
    commands = parser.add_subparsers(dest='command', required=True)
    modules = {}
    for found in pkgutil.iter_modules(benchmarks.faults.__path__):
        if found.name.startswith('_'):
            continue
        module = importlib.import_module(f'benchmarks.faults.{found.name}')
        if hasattr(module, 'add_arguments') and hasattr(module, 'run'):
            modules[found.name] = module
            module.add_arguments(commands.add_parser(found.name, help=str(module.__doc__).splitlines()[0]))
    args = parser.parse_args()
    return int(modules[args.command].run(args))


if __name__ == '__main__':
    sys.exit(main())
