"""Make an output of `basicsr upscale` again, from what it states about its making.

The photo, the weights and the option file are looked for where they were, relative to the output; they must be the
same, byte by byte.
"""

from __future__ import annotations

import argparse
import os

from basicsr_plugin.errors import warn
from basicsr_plugin.start_up import load_basicsr
from deplsr_model.upscaling.photo_jobs import write_photo
from deplsr_model.upscaling.provenance import replay

__all__ = ['add_arguments', 'run']

EXAMPLES = """\
examples:
  basicsr replay large/photo.png
  basicsr replay large/photo.png -o again --input photos/photo.jpg -m experiments/my_run/models/net_g_latest.pth
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.description = __doc__
    parser.epilog = EXAMPLES
    add = parser.add_argument
    add('output', metavar='OUT', help='output of basicsr upscale')
    add('-o', '--target', metavar='PATH', help='what to write, without extension (default: OUT_replay)')
    add('--input', metavar='FILE', help='the photo, if it was moved')
    add('-m', '--model', metavar='FILE', help='the weights, if they were moved')
    add('-opt', metavar='FILE', help='the option file, if it was moved')
    add('--device', metavar='NAME', help='cpu, cuda, cuda:1 (default: as before)')
    add('--plugin', action='append', default=[], metavar='MODULE', help='import MODULE first; may be given repeatedly')


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit status: 1 if the result differs.

    Raises:
        UserError: The file states nothing, or something that it was made from is missing or another; one line.
    """
    load_basicsr(args.plugin)
    stem, extension = os.path.splitext(args.output)
    result = replay(
        args.output, args.target or f'{stem}_replay', extension[1:], args.input, args.model, args.opt, args.device
    )
    write_photo(result.path, result.content)
    if result.largest_difference is None:
        print(f'{result.path}: the size differs from {args.output}')
        return 1
    if result.largest_difference:
        warn(f'other hardware or library versions: pixels differ by at most {result.largest_difference}')
    print(f'{result.path}: {"differs" if result.largest_difference else "identical pixels"}')
    return 1 if result.largest_difference else 0
