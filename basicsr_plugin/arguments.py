"""The arguments of `basicsr train` and `basicsr test`."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ['argument_parser']


def argument_parser(**kwargs: Any) -> argparse.ArgumentParser:
    """Builds the parser of BasicSR's arguments and ``--plugin``; ``kwargs`` go to :class:`argparse.ArgumentParser`."""
    parser = argparse.ArgumentParser(**kwargs)
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file (YAML), or the name of a shipped one')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='job launcher')
    parser.add_argument(
        '--auto_resume', action='store_true', help='resume from the latest complete checkpoint of the run'
    )
    parser.add_argument('--debug', action='store_true', help='log, save and validate often')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by old launchers; not needed')
    parser.add_argument(
        '--force_yml', nargs='+', default=[], metavar='KEY=VALUE', help='change options: train:ema_decay=0.999'
    )
    parser.add_argument(
        '--plugin', action='append', default=[], metavar='MODULE', help='import MODULE first; may be given repeatedly'
    )
    return parser
