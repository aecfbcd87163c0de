"""List the option files that installed packages include, or write a copy of one."""

from __future__ import annotations

import argparse
from pathlib import Path

from basicsr_plugin.shipped_options import copy_shipped, shipped_files

__all__ = ['add_arguments', 'run']

EXAMPLES = """\
examples:
  basicsr options
  basicsr options NAME
  basicsr options NAME --output my_run.yml

`basicsr train` and `basicsr test` take these names as well, where no such file is in the working directory.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `basicsr options`."""
    parser.epilog = EXAMPLES
    parser.add_argument('name', nargs='?', help='the file to copy; without it all files are listed')
    parser.add_argument('-o', '--output', type=Path, metavar='PATH', help='file or folder to write; default: here')
    parser.add_argument('--force', action='store_true', help='replace an existing file')


def run(args: argparse.Namespace) -> int:
    """Lists the files with their first comment lines, or writes a copy of one."""
    if args.name:
        print(copy_shipped(args.name, args.output, args.force))
        return 0
    files = shipped_files()
    width = max((len(file.name) for file in files), default=0)
    for file in files:
        print(f'{file.name:{width}}  {file.summary}'.rstrip())
    return 0
