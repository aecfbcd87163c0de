"""Estimate how photos were degraded: the level of each degradation type, with its interval.

The intervals hold the true level of 90% of the photos that are degraded as in training, if the estimator was
calibrated (LevelDistribution). A photo that is unlike those of the training is marked.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter

from basicsr_plugin.errors import UserError, warn
from basicsr_plugin.start_up import load_basicsr
from deplsr_data.files.folders import left_out_text
from deplsr_model.commands.upscale import add_model_arguments, model_or_preset
from deplsr_model.presets import ESTIMATOR
from deplsr_model.upscaling.description import Describer, to_csv, to_table
from deplsr_model.upscaling.edits import PhotoEstimate
from deplsr_model.upscaling.estimate_plot import plot_histograms, plot_photo
from deplsr_model.upscaling.image_files import ImageFile, decode_image
from deplsr_model.upscaling.photo_jobs import find_photos, read_bytes, write_photo

__all__ = ['add_arguments', 'run']

EXAMPLES = """\
examples:
  basicsr describe photo.jpg
  basicsr describe photo.jpg -m experiments/my_estimator
  basicsr describe photos -m net_g.pth -opt test.yml --csv levels.csv --plot histograms.png
  basicsr describe photo.jpg -m experiments/my_run --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.description = __doc__
    parser.epilog = EXAMPLES
    parser.add_argument('input', nargs='+', metavar='INPUT', help='photos: files, folders (with subfolders), patterns')
    add_model_arguments(parser, ESTIMATOR)
    parser.add_argument('--json', action='store_true', help='print JSON in place of a table')
    parser.add_argument('--csv', metavar='FILE', help='write a CSV too')
    parser.add_argument(
        '--plot', metavar='FILE', help='write a PNG too: the photo with its levels, or histograms of many'
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit status: 1 if a photo failed.

    Raises:
        UserError: A wrong argument, model or input, or an unwritable output; one line.
    """
    left_out: Counter[str] = Counter()
    photos = find_photos(args.input, left_out=left_out)
    if left_out:
        warn(f'{len(photos)} photos found, {left_out_text(left_out)}')
    load_basicsr(args.plugin)
    describer = Describer(model_or_preset(args, ESTIMATOR), args.opt, args.device)
    estimates: dict[str, PhotoEstimate] = {}
    last: ImageFile | None = None
    for path, _ in photos:
        try:
            last = decode_image(read_bytes(path), path)
        except UserError as error:
            warn(f'failed: {error}')
            continue
        estimates[path] = describer(last.pixels)
    if not estimates or last is None:
        return 1
    print(
        json.dumps({path: one.as_dict() for path, one in estimates.items()}, indent=2)
        if args.json
        else to_table(estimates)
    )
    if args.csv:
        _write(args.csv, to_csv(estimates).encode(), '--csv')
    if args.plot:
        types = describer.estimator.types
        path, found = next(iter(estimates.items()))
        single = len(estimates) == 1
        _write(
            args.plot,
            plot_photo(last.pixels, found, types, path) if single else plot_histograms(estimates, types),
            '--plot',
        )
    return 1 if len(estimates) < len(photos) else 0


def _write(path: str, content: bytes, where: str) -> None:
    try:
        write_photo(path, content)
    except (OSError, UserError) as error:
        raise UserError(f'{where}: {error}') from None
