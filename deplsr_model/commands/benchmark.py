"""Compare models on test sets.

Networks of this project, of BasicSR and of other plug-ins, folders of outputs of models that are not run here, and
bicubic enlargement. Writes results.csv (every value with its protocol), summary.json, summary.md and index.html.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from basicsr_plugin.atomic import FULL_DISK
from basicsr_plugin.errors import UserError
from basicsr_plugin.start_up import load_basicsr
from deplsr_data.commands.arguments import at_least_0, at_least_1
from deplsr_model.benchmark.run import Choices, run_benchmark
from deplsr_model.benchmark.suites import SUITES

__all__ = ['add_arguments', 'run']

EXAMPLES = """\
examples:
  basicsr benchmark small-x4 --bicubic --sets RealSR100 --data-root datasets -o table
  basicsr benchmark experiments/my_run --bicubic --sets Set5,Set14 --data-root datasets -o table
  basicsr benchmark a=net_g_a.pth:test_ours.yml b=net_g_b.pth:test_ours.yml --sets Set5 --data-root datasets -o table
  basicsr benchmark ours=test_ours.yml RealESRGAN_x4plus.pth --sets RealSR100 --data-root datasets -o table
  basicsr benchmark my_run --outputs OSEDiff=their_outputs --sets RealSR100 --common --data-root datasets -o table
  basicsr benchmark my_run --bicubic --suite set14se --data-root datasets -o table
  basicsr benchmark my_run --sets my_sets.yml --metrics psnr,ssim,lpips -o table

MODEL is an option file (its weights are those of path.pretrain_network_g), a checkpoint, a checkpoint and its option
file (CHECKPOINT:YAML, like -m and -opt of basicsr upscale), the folder of an experiment or a preset (see basicsr list
preset), with or without a name for the table: NAME=MODEL. A file for --sets has

  sets:
    my_camera: {lq: photos/lq, gt: photos/gt, scale: 4, border: 4}
    clean_photos: {gt: photos/clean}   # LR is made by bicubic
    old_photos: {lq: photos/old}       # metrics without reference only

To resume an interrupted command, run it again; several processes share the images:
  torchrun --nproc_per_node 4 -m basicsr_plugin.cli benchmark ...
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.description = __doc__
    parser.epilog = EXAMPLES
    add = parser.add_argument
    add('model', nargs='*', metavar='MODEL', help='option file, checkpoint, CHECKPOINT:YAML, experiment or preset')
    add('--bicubic', action='store_true', help='bicubic enlargement too')
    add('--outputs', action='append', default=[], metavar='NAME=DIR', help='outputs that exist: DIR/SET/IMAGE.png')
    add('--sets', type=_list, default=[], metavar='A,B', help='test sets: names, folders, or YAML files')
    add('--suite', choices=[*SUITES], help='test sets that belong together')
    add('--data-root', metavar='DIR', help='folder of the test sets')
    add('-o', '--output', required=True, metavar='DIR', help='folder of the tables')
    add(
        '--metrics',
        type=_list,
        metavar='A,B',
        help='psnr, ssim, niqe, lpips, pyiqa:NAME, or an option file',
    )
    add('--colour', choices=['y', 'rgb'], default='y', help='what PSNR and SSIM compare (default y)')
    add(
        '--border',
        type=at_least_0,
        metavar='N',
        help='pixels to leave out at each side (default: usual for the set)',
    )
    add('--scale', type=at_least_1, default=4, metavar='N', help='of test sets that exist for several (default 4)')
    add('--baseline', metavar='NAME', help='what differences are to (default: bicubic, or the first model)')
    add('--common', action='store_true', help='compare on the images that all models have outputs of')
    add('--limit', type=at_least_1, metavar='N', help='only the first N images of each set')
    add(
        '--show',
        type=at_least_1,
        default=4,
        metavar='N',
        help='images of each set in the viewer of the page (default 4)',
    )
    add('--no-calibration', dest='calibrate', action='store_false', help='do not reproduce published figures first')
    add('--tile', type=at_least_0, metavar='N', help='side of a tile in LR pixels (default: val.tile, or no tiles)')
    add('--fp16', dest='precision', action='store_const', const='fp16', default='fp32', help='half precision, on a GPU')
    add('--bf16', dest='precision', action='store_const', const='bf16', help='bfloat16')
    add('--device', metavar='NAME', help='cpu, cuda, cuda:1 (default: a GPU if there is one)')
    add('--plugin', action='append', default=[], metavar='MODULE', help='import MODULE first; may be given repeatedly')


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(',') if part.strip()]


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit status.

    Raises:
        UserError: A wrong argument, model, test set or output; one line.
        KeyboardInterrupt: With a message that explains how to resume.
    """
    if not (args.model or args.bicubic or args.outputs):
        raise UserError('MODEL: expected a model, --bicubic or --outputs, got none; name one')
    if not (args.sets or args.suite):
        raise UserError('--sets: expected test sets, got none; name some, such as Set5,Set14 with --data-root')
    load_basicsr(args.plugin)
    choices = Choices(
        models=tuple(args.model),
        bicubic=args.bicubic,
        outputs=tuple(args.outputs),
        sets=tuple(args.sets),
        root=None if args.data_root is None else Path(args.data_root),
        output=Path(args.output),
        metrics=tuple(args.metrics) if args.metrics else None,
        colour=args.colour,
        border=args.border,
        scale=args.scale,
        baseline=args.baseline,
        common=args.common,
        limit=args.limit,
        suite=args.suite,
        show=args.show,
        calibrate=args.calibrate,
        tile=args.tile,
        precision=args.precision,
        device=args.device,
    )
    try:
        run_benchmark(choices)
    except KeyboardInterrupt:
        raise KeyboardInterrupt('run the same command again to resume') from None
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise UserError(
            f"-o: cannot write to '{args.output}': {error.strerror}; correct this, then run the same command to resume"
        ) from None
    return 0
