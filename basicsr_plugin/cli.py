"""The command `basicsr`: trains, tests and lists, with every plug-in that is installed, and runs their own commands."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from basicsr_plugin import __version__
from basicsr_plugin.commands import Commands
from basicsr_plugin.compat import alias_functional_tensor, apply_fixes
from basicsr_plugin.discovery import load_entry_points, load_plugins, registered
from basicsr_plugin.errors import UserError
from basicsr_plugin.mistakes import one_line
from basicsr_plugin.parse_options import argument_parser

__all__ = ['entry', 'main']

# a data loader's spawned worker imports this module, then unpickles a data set of BasicSR
alias_functional_tensor()

EXAMPLES = """\
examples:
  basicsr train -opt options/train_deplsr_x4.yml
  basicsr train -opt options/train_deplsr_x4.yml --auto_resume --force_yml train:ema_decay=0.99
  torchrun --nproc_per_node 4 -m basicsr_plugin.cli train -opt options/train_deplsr_x4.yml --launcher pytorch
  basicsr test -opt options/test_deplsr_x4.yml --plugin my_package
  basicsr list arch

Plug-ins are found by the entry-point group basicsr.plugins, by --plugin and by the list plugins: in an option file;
their commands by the group basicsr.commands.
Experiments and results go below the working directory.
"""
PIPELINES = ('train', 'test')
DEGRADATION_TYPES = ('arch', 'dataset', 'loss', 'metric', 'model')


def main(argv: Sequence[str]) -> int:
    """Runs the command.

    Args:
        argv: Arguments without the program's name.

    Returns:
        The exit status: 0, or 2 after a user's mistake, or 130 after Ctrl-C, or what a plug-in's command returns.
    """
    chosen = argv[0] if argv else None
    try:
        commands = Commands(taken=(*PIPELINES, 'list'))
        args = _parser(commands, chosen).parse_args(argv)
        if args.command == 'list':
            _print_registered(args.kind, args.plugin)
        elif args.command in PIPELINES:
            _run_pipeline(args.command, argv[1:])
        else:
            return commands.run(args.command, args)
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt as error:
        hint = 'go on with --auto_resume' if chosen == 'train' else str(error)
        print(f'\nbasicsr: interrupted{hint and "; "}{hint}', file=sys.stderr)
        return 130
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        return _fail(line)
    return 0


def entry() -> NoReturn:
    """Runs the command with the arguments of the process."""
    sys.exit(main(sys.argv[1:]))


def _parser(commands: Commands, chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='basicsr',
        description='Trains and tests the models of BasicSR and of its plug-ins.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=_versions())
    subparsers = parser.add_subparsers(dest='command', required=True, title='commands', metavar='COMMAND')
    for command, text in zip(PIPELINES, ('train the model of an option file', 'test it'), strict=True):
        subparsers.add_parser(command, help=text, description=text, parents=[argument_parser(add_help=False)])
    listing = subparsers.add_parser('list', help='list what option files may name, and where it comes from')
    listing.add_argument('kind', nargs='?', choices=DEGRADATION_TYPES, help='one kind only')
    listing.add_argument('--plugin', action='append', default=[], metavar='MODULE', help='import MODULE first')
    if chosen not in (*PIPELINES, 'list'):  # those need no look at other packages
        commands.add_to(subparsers, chosen)
    return parser


def _versions() -> str:
    try:
        basicsr = version('basicsr')
    except PackageNotFoundError:
        basicsr = 'not installed'
    return f'basicsr command {__version__} (BasicSR {basicsr})'


def _run_pipeline(command: str, arguments: Sequence[str]) -> None:
    """Calls ``basicsr.train.train_pipeline`` or ``basicsr.test.test_pipeline`` with the working directory as root."""
    apply_fixes()
    load_entry_points()
    pipeline = getattr(importlib.import_module(f'basicsr.{command}'), f'{command}_pipeline')
    with _command_line([f'basicsr {command}', *arguments]):
        try:
            pipeline(os.getcwd())
        finally:
            _leave_process_group()


@contextlib.contextmanager
def _command_line(argv: list[str]) -> Iterator[None]:
    """Lets BasicSR, which reads ``sys.argv`` and copies it into the experiment, see its own arguments there."""
    before, sys.argv = sys.argv, argv
    try:
        yield
    finally:
        sys.argv = before


def _leave_process_group() -> None:
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _print_registered(kind: str | None, plugins: Sequence[str]) -> None:
    apply_fixes()
    load_entry_points()
    load_plugins(plugins)
    rows = registered([kind] if kind else DEGRADATION_TYPES)
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        print(f'{row.kind:8} {row.name:{width}}  {row.package}')


def _fail(line: str) -> int:
    print(f'basicsr: error: {line}', file=sys.stderr)
    return 2


if __name__ == '__main__':  # for torchrun -m; a __main__.py would not be imported by spawned workers
    entry()
