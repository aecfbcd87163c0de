"""Write a data set of degraded photos with captions.

LR images, their clean images, a table with the seven captions of LSDIR-DE, and the records.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from typing import Any

from torch.utils.data import DataLoader
from tqdm import tqdm

from basicsr_plugin.errors import UserError
from basicsr_plugin.parse_options import read_yaml
from deplsr_data.commands.arguments import Skipped, add_common, as_it_is, at_least_0, at_least_1, is_lmdb, shard
from deplsr_data.commands.degrade_photos import DegradePhotos, Plan, output_names
from deplsr_data.degradation.recipes import read_recipe
from deplsr_data.files.photos import list_photos
from deplsr_data.files.written_set import Images, Row, begin, finish, read_parts

__all__ = ['add_arguments', 'run']

EXAMPLES = """\
examples:
  basicsr synthesize --input photos --output datasets/set_x4 --scale 4
  basicsr synthesize --input photos --meta-info titles.tsv --output set --scale 4 --gt-size 512 --draws 3 --workers 8
  basicsr synthesize --input photos --output set -opt options/train_deplsr_x4.yml --format lmdb

  # on four machines that share a disk, then once more anywhere to write the tables
  basicsr synthesize --input photos --output set --scale 4 --shard 1/4      (and 2/4, 3/4, 4/4)
  basicsr synthesize --input photos --output set --scale 4

The set holds captions.tsv, records.jsonl, lq/ and gt/ (or lq.lmdb/ and gt.lmdb/); CaptionedPairDataset reads it.
What is drawn depends on the seed, the photo's path below --input, the tile and the draw, on nothing else: not on
workers, shards, or photos that are added later. An interrupted command goes on where it stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.epilog = EXAMPLES
    add_common(parser, 'folder of the set; one that was begun goes on')
    add = parser.add_argument
    add('--scale', type=at_least_1, metavar='N', help='size of a clean image over that of its LR (default: of -opt)')
    recipe = parser.add_mutually_exclusive_group()
    recipe.add_argument('--recipe', metavar='FILE', help='YAML with the keys of a recipe (default: semantic)')
    recipe.add_argument('-opt', metavar='FILE', help='option file whose first data set with a recipe names it')
    add('--draws', type=at_least_1, default=1, metavar='N', help='degradations of each image (default 1)')
    add('--seed', type=at_least_0, default=0, metavar='N', help='seed of all draws (default 0)')
    add('--gt-size', type=at_least_1, metavar='N', help='cut photos into tiles of N x N (default: photos as they are)')
    add('--no-gt', action='store_true', help='write no clean images; the records say where in which photo they lie')
    add('--format', choices=('folder', 'lmdb'), default='folder', help='where images go (default folder)')
    add('--shard', type=shard, default=(1, 1), metavar='I/N', help='only part I of N of the photos, and no tables')


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit status.

    Raises:
        UserError: A wrong argument, a set of other settings, too many unreadable photos, no room on the disk.
        KeyboardInterrupt: It says how to go on.
    """
    plan = _plan(args)
    begin(args.output, plan.settings())
    done = _done(args)
    part, parts = args.shard
    total = len(plan.photos)
    mine = range(total * (part - 1) // parts, total * part // parts)
    missing = [place for place in mine if plan.path(place) not in done]
    try:
        bad = _make(plan, missing, args, len(mine))
        made = len(missing) - bad
        summary = f'{made} photos degraded, {len(mine) - len(missing)} there before, {bad} unreadable'
        if parts > 1:
            print(f'{args.output}: shard {part}/{parts}: {summary}; after all shards, run this without --shard')
            return 0
        whole = _done(args)
        rows = [row for row in read_parts(args.output) if row.photo in whole]
        if args.format == 'lmdb':
            _pack(args.output, rows, plan.scale)
        finish(args.output, rows, {plan.path(place): photo.title for place, photo in enumerate(plan.photos)})
    except KeyboardInterrupt:
        raise KeyboardInterrupt('the same command goes on') from None
    print(f'{args.output}: {summary}; {len(rows)} LR images')
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    """Checks the arguments against each other."""
    block, where, scale = _recipe_block(args)
    scale = args.scale or scale
    if not isinstance(scale, int) or scale < 1:
        raise UserError('--scale: expected a whole number from 1, got none; name it, such as --scale 4')
    if args.gt_size and args.gt_size % scale:
        raise UserError(f'--gt-size: expected a multiple of scale {scale}, got {args.gt_size}')
    recipe = read_recipe(block, where)
    if args.no_gt and recipe.gt_usm:
        raise UserError('--no-gt: expected a recipe without gt_usm, which changes the clean image; leave one out')
    if os.path.realpath(args.output).startswith(os.path.join(os.path.realpath(args.input), '')):
        raise UserError(f"--output: expected a folder outside of --input, got '{args.output}'; it would read its own")
    in_lmdb = is_lmdb(args.input)
    photos = list_photos(args.input, args.meta_info, in_lmdb, '--input', ('--input', '--meta-info'))
    names = output_names(args.input, photos, in_lmdb, ascii_only=args.format == 'lmdb')
    return Plan(
        *(args.input, in_lmdb, args.output, tuple(photos), tuple(names), recipe, scale),
        *(args.draws, args.seed, args.gt_size, not args.no_gt),
    )


def _recipe_block(args: argparse.Namespace) -> tuple[Any, str, Any]:
    """Returns the recipe, what error messages call it, and the scale that stands beside it."""
    if args.opt is None:
        block = read_yaml(args.recipe) if args.recipe else None
        return (block['recipe'] if block and 'recipe' in block else block), '--recipe', None
    opt = read_yaml(args.opt)
    datasets = opt.get('datasets')
    for phase, dataset in (datasets if isinstance(datasets, dict) else {}).items():
        if isinstance(dataset, dict) and dataset.get('recipe') is not None:
            return dataset['recipe'], f'datasets.{phase}.recipe', opt.get('scale')
    raise UserError(f"-opt: expected a data set with a recipe, got none in '{args.opt}'; name another or use --recipe")


def _done(args: argparse.Namespace) -> set[str]:
    """Returns the photos all of whose images are there and whole."""
    lq, gt = Images(args.output, 'lq'), Images(args.output, 'gt')
    if lq.packed and args.format != 'lmdb':
        raise UserError(f"--format: expected lmdb, as '{args.output}' has one, got {args.format}")
    photos: dict[str, bool] = {}
    for row in read_parts(args.output):
        whole = lq.hold(row.filepath) and (row.gt is None or gt.hold(row.gt))
        photos[row.photo] = photos.get(row.photo, True) and whole
    return {photo for photo, whole in photos.items() if whole}


def _make(plan: Plan, places: list[int], args: argparse.Namespace, total: int) -> int:
    """Degrades photos and notes each that is finished; gives the number of unreadable ones."""
    loader = DataLoader(DegradePhotos(plan, places), batch_size=None, num_workers=args.workers, collate_fn=as_it_is)
    part, parts = args.shard
    path = os.path.join(plan.output, 'parts', f'{part}-of-{parts}.jsonl')
    skipped = Skipped(args.max_bad_images, total)
    bar = tqdm(total=total, initial=total - len(places), unit='photo', disable=None, file=sys.stderr)
    with open(path, 'a', encoding='utf-8') as notes, bar:
        notes.write('\n')  # ends a line that a kill may have cut short
        try:
            for result in loader:
                if isinstance(result, str):
                    skipped.add(result)
                else:
                    notes.write(json.dumps([dataclasses.asdict(row) for row in result]) + '\n')
                    notes.flush()
                bar.update()
        except RuntimeError as error:
            if 'DataLoader worker' not in str(error):
                raise
            raise UserError('--workers: one was killed, perhaps for want of memory; take fewer, it goes on') from None
    return skipped.count


def _pack(folder: str, rows: list[Row], scale: int) -> None:
    height, width = 2, 3  # of a crop
    lq = {row.filepath: (row.crop[height] // scale, row.crop[width] // scale) for row in rows}
    gt = {row.gt: (row.crop[height], row.crop[width]) for row in rows if row.gt is not None}
    Images(folder, 'lq').pack(lq)
    if gt:
        Images(folder, 'gt').pack(gt)
