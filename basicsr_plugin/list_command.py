"""List what option files may name, presets (trained weights) too, and the package it comes from."""

from __future__ import annotations

import argparse

from basicsr_plugin.discovery import REGISTRIES, Registered, registered
from basicsr_plugin.presets import presets
from basicsr_plugin.start_up import load_basicsr

__all__ = ['add_arguments', 'run']

_PRESET = 'preset'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `basicsr list`."""
    parser.add_argument('registry', nargs='?', choices=[*REGISTRIES, _PRESET], help='one registry, or presets, only')
    parser.add_argument('--plugin', action='append', default=[], metavar='MODULE', help='import MODULE first')


def run(args: argparse.Namespace) -> int:
    """Prints a line for each registered name: its registry, the name and the package; of presets what they do too."""
    load_basicsr(args.plugin)
    rows = registered(REGISTRIES if args.registry is None else [args.registry]) if args.registry != _PRESET else []
    summaries = {one.name: one.summary for one in presets()} if args.registry in (None, _PRESET) else {}
    if args.registry in (None, _PRESET):
        rows += [Registered(_PRESET, one.name, one.package) for one in presets()]
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        summary = summaries.get(row.name, '') if row.registry == _PRESET else ''
        print(f'{row.registry:8} {row.name:{width}}  {row.package}  {summary}'.rstrip())
    return 0
