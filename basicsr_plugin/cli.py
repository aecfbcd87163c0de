"""The command `basicsr`: trains, tests and lists, with every plug-in that is installed, and runs their own commands."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from basicsr_plugin import __version__
from basicsr_plugin.arguments import argument_parser
from basicsr_plugin.commands import Commands
from basicsr_plugin.compat import alias_functional_tensor
from basicsr_plugin.errors import UserError, user_mistake
from basicsr_plugin.interruption import Interrupted
from basicsr_plugin.processes import lost_process
from basicsr_plugin.start_up import load_basicsr

__all__ = ['entry', 'main']

# a data loader's spawned worker imports this module, then unpickles a data set of BasicSR
alias_functional_tensor()

EXAMPLES = """\
examples:
  basicsr options
  basicsr train -opt train.yml
  basicsr train -opt train.yml --auto_resume --force_yml train:ema_decay=0.99
  torchrun --nproc_per_node 4 -m basicsr_plugin.cli train -opt train.yml --launcher pytorch
  basicsr test -opt test.yml --plugin my_package
  basicsr list arch

Plug-ins are found by the entry-point group basicsr.plugins, by --plugin and by the list plugins: in an option file;
their commands by the group basicsr.commands, their option files by the group basicsr.options.
Experiments and results are written below the working directory.

A training that gets SIGTERM, SIGINT (Ctrl-C) or SIGUSR1 ends its iteration, saves, and exits with 143, 130 or 138;
--auto_resume continues it exactly. After a mistake in an option file, a full disk or damaged files it exits with 2.
It exits with 75 where a later start may succeed: data are gone, a worker or another process hangs or was killed.
"""
PIPELINES = {'train': 'Train the model of an option file', 'test': 'Test the model of an option file'}
OWN_COMMANDS = {
    'list': 'basicsr_plugin.list_command',
    'options': 'basicsr_plugin.options_command',
    'schema': 'basicsr_plugin.schema_command',
}


def main(argv: Sequence[str]) -> int:
    """Runs the command.

    Args:
        argv: Arguments without the program's name.

    Returns:
        The exit status: 0, or 2 after a user's mistake, or 75 where data or another process are gone, or 130 after
        Ctrl-C, or 128 and the number of the signal that has stopped a training, or what a plug-in's command returns.
    """
    chosen = argv[0] if argv else None
    try:
        commands = Commands(OWN_COMMANDS, taken=tuple(PIPELINES))
        args = _parser(commands, chosen).parse_args(argv)
        if args.command not in PIPELINES:
            return commands.run(args.command, args)
        _run_pipeline(args.command, argv[1:])
    except UserError as error:
        return _fail(str(error), error.exit_status)
    except Interrupted as error:
        if os.environ.get('RANK', '0') == '0':
            print(f'\nbasicsr: {error}', file=sys.stderr)
        return int(error.code or 0)
    except KeyboardInterrupt as error:
        hint = str(error)
        print(f'\nbasicsr: interrupted{hint and "; "}{hint}', file=sys.stderr)
        return 130
    except Exception as error:
        line = user_mistake(error)
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
    for command, text in PIPELINES.items():
        subparsers.add_parser(command, help=text, description=text, parents=[argument_parser(add_help=False)])
    if chosen not in PIPELINES:  # these do not depend on other packages
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
    load_basicsr()
    logging.raiseExceptions = False  # a log line for which the disk has no space is no reason for a traceback
    pipeline = getattr(importlib.import_module(f'basicsr.{command}'), f'{command}_pipeline')
    with _command_line([f'basicsr {command}', *arguments]):
        try:
            pipeline(os.getcwd())
            _report_signal()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_training_hint()) from None
        except RuntimeError as error:
            lost = lost_process(error, _training_hint())
            if lost is None:
                raise
            raise lost from error
        finally:
            _leave_process_group()
            _end_training()


@contextlib.contextmanager
def _command_line(argv: list[str]) -> Iterator[None]:
    """Sets ``sys.argv``, which BasicSR reads and copies into the experiment, to its own arguments."""
    before, sys.argv = sys.argv, argv
    try:
        yield
    finally:
        sys.argv = before


def _leave_process_group() -> None:
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _training_hint() -> str:
    from basicsr_plugin.run_files import resume_hint
    from basicsr_plugin.training_loop import current_loop

    loop = current_loop()
    return resume_hint(loop.opt) if loop else ''


def _report_signal() -> None:
    """Ends with the status of a signal that has arrived after the last iteration."""
    from basicsr_plugin.training_loop import current_loop

    loop = current_loop()
    if loop is not None and loop.signals.received:
        raise Interrupted(loop.signals.received, 'all iterations are done and saved; the last validation is incomplete')


def _end_training() -> None:
    from basicsr_plugin.lock import release_folders
    from basicsr_plugin.training_loop import end_loop

    end_loop()
    release_folders()


def _fail(lines: str, status: int = UserError.exit_status) -> int:
    for line in lines.splitlines():
        print(f'basicsr: error: {line}', file=sys.stderr)
    return status


if __name__ == '__main__':  # for torchrun -m; a __main__.py would not be imported by spawned workers
    entry()
