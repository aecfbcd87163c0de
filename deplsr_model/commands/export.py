"""Write a trained model as one file for use elsewhere: safetensors, or ONNX.

A .safetensors file holds the SR network, its degradation estimator and what the option file states about both, so that
basicsr upscale needs nothing else. An .onnx file holds both in one graph, for images of any size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from basicsr_plugin.errors import UserError, warn
from basicsr_plugin.start_up import load_basicsr
from deplsr_model.upscaling.export import export_model

__all__ = ['add_arguments', 'run']

EXAMPLES = """\
examples:
  basicsr export experiments/my_run -o my_model.safetensors
  basicsr upscale photos -o large -m my_model.safetensors

  basicsr export net_g.pth -opt test.yml -o my_model.onnx
  basicsr export RealESRGAN_x4plus.pth -o realesrgan.onnx --licence BSD-3-Clause

.onnx needs pip install 'deplsr[onnx]'. It is compared with torch on three sizes before it is written.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.description = __doc__
    parser.epilog = EXAMPLES
    add = parser.add_argument
    add('model', nargs='?', metavar='MODEL', help='checkpoint, folder of an experiment or name of a preset')
    add('-m', '--model', dest='named', metavar='MODEL', help='the same, as the other commands take it')
    add('-opt', metavar='FILE', help='its option file (YAML) for training or test, or the name of a shipped one')
    add('-o', '--output', required=True, metavar='FILE', help='what to write: FILE.safetensors or FILE.onnx')
    add('--licence', metavar='TEXT', help='licence that the file states (default: what the checkpoint states)')
    add('--source', metavar='TEXT', help='source that the file states, such as an address (default: likewise)')
    add('--plugin', action='append', default=[], metavar='MODULE', help='import MODULE first; may be given repeatedly')


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit status.

    Raises:
        UserError: The model cannot be loaded or exported, or the file not be written; one line.
    """
    if (args.model is None) == (args.named is None):
        raise UserError(f'MODEL: expected one model, got {"none" if args.model is None else "two"}')
    load_basicsr(args.plugin)
    try:
        done = export_model(args.model or args.named, args.output, args.opt, licence=args.licence, source=args.source)
    except UserError as error:
        line = str(error)
        raise UserError(f'MODEL{line.removeprefix("-m")}' if line.startswith('-m:') else line) from error
    for note in done.notes:
        warn(note)
    print(f'{done.path}: {Path(done.path).stat().st_size / 1e6:.1f} MB, {done.summary}')
    return 0
