"""Upscale photos with a trained model.

A preset, which is installed with this package, or any checkpoint of this project or of BasicSR: the folder of an
experiment, a checkpoint with its option file, or the weights of a stock network, which is recognised. Photos keep
alpha, gray, 16 bits, colour profile, EXIF and resolution.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable

from basicsr_plugin.errors import UserError, warn
from basicsr_plugin.start_up import load_basicsr
from deplsr_data.commands.arguments import at_least_0, at_least_1
from deplsr_data.files.folders import left_out_text
from deplsr_model.presets import sr_preset
from deplsr_model.upscaling.edits import Edit, Steering, parse_edit
from deplsr_model.upscaling.image_files import EXTENSIONS, decode_image
from deplsr_model.upscaling.inference import Upscaler
from deplsr_model.upscaling.photo_jobs import (
    Job,
    find_photos,
    make_output,
    plan_jobs,
    read_bytes,
    run_jobs,
    write_photo,
)
from deplsr_model.upscaling.provenance import OutputOptions, upscale_content

__all__ = ['add_arguments', 'add_model_arguments', 'model_or_preset', 'run']

EXAMPLES = """\
examples:
  basicsr upscale photo.jpg -o large
  basicsr upscale photos -o large -m experiments/my_run
  basicsr upscale photo.jpg -o large -m RealESRGAN_x4plus.pth
  basicsr upscale 'scans/*.tif' -o large -m net_g.pth -opt test.yml --tile 256

  # less denoising, and more deblurring, than by the estimate alone
  basicsr upscale photos -o large -m experiments/my_run --noise -50% --blur +0.5
  # what would be used
  basicsr upscale photos -m experiments/my_run --noise -50% --dry-run

An edit is a percentage of the estimated degradation (-50%), a shift of its level (+0.5, -2), or a level (40).
To resume an interrupted command, run it again: photos that exist are skipped.
"""
_SHORTCUTS = {
    'noise': 'noise, in grey levels of 255',
    'blur': 'blur, sigma in pixels of the output',
    'jpeg': 'JPEG quality factor',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.description = __doc__
    parser.epilog = EXAMPLES
    # argparse takes -50% for an option, since it is no number
    parser._negative_number_matcher = re.compile(r'^-(\d+|\d*\.\d+)%?$')
    parser.add_argument('input', nargs='*', metavar='INPUT', help='photos: files, folders (with subfolders), patterns')
    parser.add_argument('-o', '--output', metavar='DIR', help='folder of the outputs')
    add_model_arguments(parser, f'{sr_preset(None)}, or of the preset that has the enlargement of --scale')
    _add_output_arguments(parser.add_argument_group('output'))
    _add_prior_arguments(parser.add_argument_group('prior'))
    add = parser.add_argument_group('computation').add_argument
    add(
        '--tile',
        type=at_least_0,
        metavar='N',
        help='side of a tile in pixels of the input; 0: no tiles (default: by the free memory)',
    )
    add('--tile-overlap', type=at_least_0, default=16, metavar='N', help='pixels that tiles share (default 16)')
    add('--fp16', dest='precision', action='store_const', const='fp16', default='fp32', help='half precision, on a GPU')
    add('--bf16', dest='precision', action='store_const', const='bf16', help='bfloat16')
    add('--compile', action='store_true', help='compile the network; pays off for many photos')


def add_model_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds the arguments that name a model and a device."""
    add = parser.add_argument
    text = f'checkpoint (.pth, .safetensors), folder of an experiment or name of a preset (default: {default})'
    add('-m', '--model', metavar='MODEL', help=text)
    add('-opt', metavar='FILE', help='its option file (YAML) for training or test, or the name of a shipped one')
    add('--device', metavar='NAME', help='cpu, cuda, cuda:1, mps (default: a GPU if there is one)')
    add('--plugin', action='append', default=[], metavar='MODULE', help='import MODULE first; may be given repeatedly')


def model_or_preset(args: argparse.Namespace, preset: str) -> str | None:
    """Returns the model that the arguments name, or a preset, with a note, where neither -m nor -opt is there."""
    if args.model is not None or args.opt is not None:
        return args.model
    print(f'no -m given: using the preset {preset}', file=sys.stderr, flush=True)
    return preset


def _add_output_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        '--scale',
        type=at_least_1,
        metavar='N',
        help='enlargement, if not that of the network: it runs repeatedly, or the output is resized',
    )
    add(
        '--outscale', type=_positive, metavar='X', help='enlargement by resizing the output of the network, such as 1.5'
    )
    add('--suffix', default='', metavar='TEXT', help='added to the names of the outputs')
    add(
        '--ext',
        choices=[*EXTENSIONS, 'auto'],
        default='png',
        help='format of the outputs; auto: that of the input (default png)',
    )
    add('--quality', type=_quality, default=95, metavar='N', help='of JPEG and WebP, 1 to 100 (default 95)')
    add('--overwrite', action='store_true', help='make outputs again that exist')
    add(
        '--no-provenance',
        dest='provenance',
        action='store_false',
        help='do not write into the outputs how they were made',
    )
    add('--info', action='store_true', help='show what is known about the model, and stop')


def _add_prior_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    for name, text in _SHORTCUTS.items():
        add(f'--{name}', metavar='EDIT', help=f'edit of the estimated {text}')
    add('--level', action='append', default=[], metavar='NAME=EDIT', help='edit of any level; may be given repeatedly')
    add(
        '--prior',
        metavar='TEXT',
        help='captions that replace the estimate, such as "noise with sigma:25", or none',
    )
    add('--strength', type=float, default=1.0, metavar='X', help='weight of the prior, 0 to 1 (default 1)')
    add('--local-prior', action='store_true', help='estimate the prior on a grid of crops: pasted or refocused photos')
    add('--dry-run', action='store_true', help='print the estimates and what would be used; write nothing')


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and below 100, got '{text}'")
    return value


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 100, got '{text}'")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit status: 1 if a photo failed.

    Raises:
        UserError: A wrong argument, model, input or output; one line.
        KeyboardInterrupt: With a message that explains how to resume.
    """
    left_out: Counter[str] = Counter()
    jobs = [] if args.info else _jobs(args, left_out)
    load_basicsr(args.plugin)
    upscaler = Upscaler(
        model_or_preset(args, sr_preset(args.scale)),
        args.opt,
        device=args.device,
        precision=args.precision,
        tile=args.tile,
        overlap=args.tile_overlap,
        compiled=args.compile,
    )
    for note in upscaler.model.notes:
        warn(note)
    if args.info:
        print(upscaler.info())
        return 0
    steering = upscaler.steering(
        edits=_edits(args), prior=args.prior, strength=args.strength, local=args.local_prior or None
    )
    if args.dry_run:
        return _dry_run(upscaler, jobs, steering)
    _note_scale(upscaler, args.scale)
    options = OutputOptions(args.scale, args.outscale, args.quality, args.provenance)

    def work(job: Job, progress: Callable[[float], object]) -> None:
        content = read_bytes(job.source)
        path, made = upscale_content(
            upscaler, content, job.source, job.target, job.extension, steering, options, progress
        )
        write_photo(path, made)

    try:
        result = run_jobs(jobs, args.output, work, args.overwrite)
    except KeyboardInterrupt:
        raise KeyboardInterrupt('run the same command again to resume') from None
    more = f', {result.elsewhere} in work by another process' if result.elsewhere else ''
    kept = (
        ' (existing outputs are kept, whatever their settings; --overwrite makes them again)' if result.existed else ''
    )
    print(
        f'{args.output}: {result.made} photos upscaled, {result.existed} existed, {result.failed} failed{more}{kept}'
        f'; {len(jobs)} photos found{f", {left_out_text(left_out)}" if left_out else ""}'
    )
    return 1 if result.failed else 0


def _jobs(args: argparse.Namespace, left_out: Counter[str]) -> list[Job]:
    if not args.input:
        raise UserError('INPUT: expected photos, got none; name files or folders')
    photos = find_photos(args.input, args.output, args.suffix, left_out)
    if args.dry_run:
        return plan_jobs(photos, args.output or 'output', args.suffix, args.ext)
    if not args.output:
        raise UserError('-o: expected a folder for the outputs, got none; name one')
    jobs = plan_jobs(photos, args.output, args.suffix, args.ext)
    make_output(args.output)
    return jobs


def _edits(args: argparse.Namespace) -> list[Edit]:
    edits = [parse_edit(name, getattr(args, name)) for name in _SHORTCUTS if getattr(args, name) is not None]
    for text in args.level:
        name, equals, value = text.partition('=')
        if not equals:
            raise UserError(f"--level: expected NAME=EDIT such as ringing=0, got '{text}'")
        edits.append(parse_edit(name.strip(), value))
    return edits


def _note_scale(upscaler: Upscaler, scale: int | None) -> None:
    if scale is None or scale == upscaler.scale:
        return
    passes = upscaler.passes(scale)
    reached = upscaler.scale**passes
    done = f'runs {passes} times' if passes > 1 else 'runs once'
    end = '' if reached == scale else f'; the output of x{reached} is resized to x{scale}'
    warn(f'--scale {scale}: the network enlarges x{upscaler.scale} and {done}{end}')


def _dry_run(upscaler: Upscaler, jobs: list[Job], steering: Steering) -> int:
    failed = 0
    for job in jobs:
        try:
            pixels = decode_image(read_bytes(job.source), job.source).pixels
        except UserError as error:
            warn(f'failed: {error}')
            failed += 1
            continue
        print(job.source)
        seen = upscaler.observe(pixels)
        print(f'  estimate: {upscaler.estimate(pixels, seen) or "none: the model has no degradation estimator"}')
        print(f'  used:     {upscaler.used(pixels, steering, seen) or "no prior"}')
    return 1 if failed else 0
