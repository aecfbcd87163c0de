"""Write a data set of degraded photos with captions.

For each photo, or for each tile of it, the command draws a degradation, applies it, and writes the low-resolution (LR)
image, the clean image, and captions that describe the degradation with its levels. CaptionedPairDataset reads the set.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, get_args

from torch.utils.data import DataLoader
from tqdm import tqdm

from basicsr_plugin.atomic import append_line
from basicsr_plugin.discovery import load_plugins
from basicsr_plugin.errors import UserError
from basicsr_plugin.interruption import end_with_parent
from basicsr_plugin.lock import locked_folder
from basicsr_plugin.parse_options import read_yaml
from basicsr_plugin.processes import process_part, wait_for_others
from basicsr_plugin.shipped_options import resolve_option_file
from deplsr_data.commands.arguments import (
    Skipped,
    add_common,
    at_least_0,
    at_least_1,
    is_lmdb,
    killed_worker_in_one_line,
    shard,
    uncollated,
)
from deplsr_data.commands.degrade_photos import DegradePhotos, Plan, output_names
from deplsr_data.degradation.level_tables import LevelName, LevelTable, level_table
from deplsr_data.degradation.recipes import read_recipe
from deplsr_data.degradation.records import from_json
from deplsr_data.files.folders import left_out_text
from deplsr_data.files.photos import list_photos
from deplsr_data.files.tables import caption_columns, plain_cell
from deplsr_data.files.written_set import RESUME, ImageStore, Row, begin, finish, read_parts

__all__ = ['add_arguments', 'run']

EXAMPLES = """\
examples:
  # one degradation of each photo, 4 times smaller
  basicsr synthesize --input photos --output datasets/set_x4 --scale 4

  # three degradations of each tile of 512 x 512 pixels, with titles, in 8 processes
  basicsr synthesize --input photos --meta-info titles.tsv --output set --scale 4 --gt-size 512 --draws 3 --workers 8

  # with recipe, scale and levels of an option file, as LMDBs
  basicsr synthesize --input photos --output set -opt train_deplsr_x4.yml --format lmdb

  # in four processes of this machine, which share the photos
  torchrun --nproc_per_node 4 -m basicsr_plugin.cli synthesize --input photos --output set --scale 4

  # on four machines that share a disk; afterwards once without --shard, on any machine, to write the tables
  basicsr synthesize --input photos --output set --scale 4 --shard 1/4      (and 2/4, 3/4, 4/4)
  basicsr synthesize --input photos --output set --scale 4

output:
  captions.tsv     path and captions of each LR image: semantic, whole degradation, then one for each degradation type
  records.jsonl    the exact degradation of each LR image, its levels, and where in which photo it lies
  lq/ and gt/      LR and clean images as PNG; with --format lmdb: lq.lmdb/ and gt.lmdb/

The draws depend only on the seed, the photo's path below --input, the tile and the number of the draw; they do not
depend on workers, shards or photos that are added later. To resume an interrupted command, run it again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.description = __doc__
    parser.epilog = EXAMPLES
    add_common(parser, 'folder of the set to write; an incomplete set is resumed')
    add = parser.add_argument
    add(
        '--scale',
        type=at_least_1,
        metavar='N',
        help='size of a clean image divided by that of its LR image (default: from -opt)',
    )
    recipe = parser.add_mutually_exclusive_group()
    recipe.add_argument(
        '--recipe',
        metavar='FILE',
        help='YAML file with the keys of a degradation recipe (default: the semantic recipe)',
    )
    recipe.add_argument(
        '-opt', metavar='FILE', help='option file, or a shipped one, from which recipe, scale and levels are read'
    )
    add('--plugin', action='append', default=[], metavar='MODULE', help='import MODULE first; may be repeated')
    add(
        '--draws',
        type=at_least_1,
        default=1,
        metavar='N',
        help='number of degradations of each clean image (default 1)',
    )
    add(
        '--levels',
        choices=get_args(LevelName),
        help='what captions name: what the LR image shows, or what was set at the steps, as published '
        '(default: from -opt, else effective)',
    )
    add('--seed', type=at_least_0, default=0, metavar='N', help='seed of all draws (default 0)')
    add(
        '--gt-size',
        type=at_least_1,
        metavar='N',
        help='cut photos into tiles of N x N pixels (default: use complete photos)',
    )
    add(
        '--no-gt',
        action='store_true',
        help='do not write clean images; they are then cut out of the photos when the set is read',
    )
    add(
        '--format',
        choices=('folder', 'lmdb'),
        default='folder',
        help='write images as files or into an LMDB (default folder)',
    )
    add(
        '--shard',
        type=shard,
        default=(1, 1),
        metavar='I/N',
        help='process only part I of N of the photos, and write no tables',
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit status.

    Raises:
        UserError: A wrong argument, a set with other settings or that another process writes, too many unreadable
            photos, a full disk.
        KeyboardInterrupt: With a message that explains how to resume.
    """
    left_out: Counter[str] = Counter()
    plan = _plan(args, left_out)
    rank, processes = process_part()
    if processes == 1:
        return _lock_and_write(plan, args, left_out)
    if args.shard != (1, 1):
        raise UserError(
            f'--shard: expected none with torchrun, whose {processes} processes share the photos, got '
            f'{args.shard[0]}/{args.shard[1]}; leave it out'
        )
    args.shard = (rank + 1, processes)
    status = _lock_and_write(plan, args, left_out)
    if not wait_for_others():
        return status
    args.shard = (1, 1)
    return _lock_and_write(plan, args, left_out)


def _lock_and_write(plan: Plan, args: argparse.Namespace, left_out: Mapping[str, int]) -> int:
    part, parts = args.shard
    with locked_folder(args.output, '--output', f'{part}-of-{parts}' if parts > 1 else None):
        return _write_set(plan, args, left_out)


def _write_set(plan: Plan, args: argparse.Namespace, left_out: Mapping[str, int]) -> int:
    begin(args.output, plan.settings())
    done = _done(args)
    part, parts = args.shard
    total = len(plan.photos)
    mine = range(total * (part - 1) // parts, total * part // parts)
    missing = [place for place in mine if plan.path(place) not in done]
    try:
        bad = _make(plan, missing, args, len(mine))
        made = len(missing) - bad
        summary = f'{made} photos degraded, {len(mine) - len(missing)} done before, {bad} unreadable'
        found = f'; {total} photos found{f", {left_out_text(left_out)}" if left_out else ""}'
        if parts > 1:
            by_hand = process_part()[1] == 1
            hint = '; after all shards, run this without --shard' if by_hand else ''
            print(f'{args.output}: shard {part}/{parts}: {summary}{hint}{found}')
            return 0
        complete = _done(args)
        rows = [row for row in read_parts(args.output) if row.photo in complete]
        if args.format == 'lmdb':
            _pack(args.output, rows, plan.scale)
        titles = {plan.path(place): photo.title for place, photo in enumerate(plan.photos)}
        finish(args.output, rows, titles, caption_columns(len(plan.table.types)), partial(_captions, plan.table))
    except KeyboardInterrupt:
        raise KeyboardInterrupt('run the same command again to resume') from None
    print(f'{args.output}: {summary}; {len(rows)} LR images{found}')
    return 0


def _captions(table: LevelTable, row: Row) -> list[str]:
    # sets begun by version 0.1 have no levels; theirs are nominal and follow from the record alone
    known = row.levels
    levels = table.levels(from_json(row.record_json())) if known is None else table.ordered_levels(known)
    return table.captions(levels, plain_cell(row.title or ''))


def _plan(args: argparse.Namespace, left_out: Counter[str]) -> Plan:
    """Checks the arguments against each other."""
    load_plugins(args.plugin)
    block, where, opt = _recipe_block(args)
    scale = args.scale or opt.get('scale')
    if not isinstance(scale, int) or scale < 1:
        raise UserError('--scale: expected a whole number from 1, got none; name it, such as --scale 4')
    if args.gt_size and args.gt_size % scale:
        raise UserError(f'--gt-size: expected a multiple of scale {scale}, got {args.gt_size}')
    recipe = read_recipe(block, where)
    if args.no_gt and recipe.gt_usm:
        raise UserError('--no-gt: expected a recipe without gt_usm, which changes the clean image; remove one of them')
    if os.path.realpath(args.output).startswith(os.path.join(os.path.realpath(args.input), '')):
        raise UserError(f"--output: expected a folder outside of --input, got '{args.output}'; choose another")
    in_lmdb = is_lmdb(args.input)
    photos = list_photos(args.input, args.meta_info, in_lmdb, '--input', ('--input', '--meta-info'), left_out)
    names = output_names(args.input, photos, in_lmdb, ascii_only=args.format == 'lmdb')
    return Plan(
        *(args.input, in_lmdb, args.output, tuple(photos), tuple(names), recipe, scale),
        *(args.draws, args.seed, args.gt_size, not args.no_gt, level_table(args.levels or _levels_of(opt))),
    )


def _levels_of(opt: dict[str, Any]) -> LevelName:
    """Returns option ``levels`` of an option file, the default if it has none."""
    levels: Any = opt.get('levels') or 'effective'
    if levels not in get_args(LevelName):
        raise UserError(f"levels: expected one of {', '.join(get_args(LevelName))}, got '{levels}'; correct -opt")
    return levels


def _recipe_block(args: argparse.Namespace) -> tuple[Any, str, dict[str, Any]]:
    """Returns the recipe, its place for error messages, and scale and levels of the option file, if it has them."""
    if args.opt is None:
        block = read_yaml(args.recipe) if args.recipe else None
        if block and 'datasets' in block:
            raise UserError(f"--recipe: expected keys of a recipe, got an option file, '{args.recipe}'; use -opt")
        return (block['recipe'] if block and 'recipe' in block else block), '--recipe', {}
    opt = read_yaml(resolve_option_file(args.opt))
    load_plugins(opt.get('plugins') or [], where='plugins')
    datasets = opt.get('datasets')
    for phase, dataset in (datasets if isinstance(datasets, dict) else {}).items():
        if isinstance(dataset, dict) and dataset.get('recipe') is not None:
            named = {'scale': opt.get('scale'), 'levels': dataset.get('levels') or opt.get('levels')}
            return dataset['recipe'], f'datasets.{phase}.recipe', named
    raise UserError(f"-opt: expected a data set with a recipe, got none in '{args.opt}'; name another or use --recipe")


def _done(args: argparse.Namespace) -> set[str]:
    """Returns the photos whose images all exist and are complete."""
    lq, gt = ImageStore(args.output, 'lq'), ImageStore(args.output, 'gt')
    if lq.packed and args.format != 'lmdb':
        raise UserError(f"--format: expected lmdb, since '{args.output}' has one, got {args.format}; use --format lmdb")
    photos: dict[str, bool] = {}
    for row in read_parts(args.output):
        complete = lq.has(row.filepath) and (row.gt is None or gt.has(row.gt))
        photos[row.photo] = photos.get(row.photo, True) and complete
    return {photo for photo, complete in photos.items() if complete}


def _make(plan: Plan, places: list[int], args: argparse.Namespace, total: int) -> int:
    """Degrades photos and records each finished one; returns the number of unreadable ones."""
    loader = DataLoader(
        DegradePhotos(plan, places),
        batch_size=None,
        num_workers=args.workers,
        collate_fn=uncollated,
        worker_init_fn=end_with_parent,
    )
    part, parts = args.shard
    path = os.path.join(plan.output, 'parts', f'{part}-of-{parts}.jsonl')
    skipped = Skipped(args.max_bad_images, total)
    bar = tqdm(total=total, initial=total - len(places), unit='photo', disable=None, file=sys.stderr)
    with bar, killed_worker_in_one_line():
        for result in loader:
            if isinstance(result, str):
                skipped.add(result)
            else:
                append_line(path, json.dumps([dataclasses.asdict(row) for row in result]), RESUME)
            bar.update()
    return skipped.count


def _pack(folder: str, rows: list[Row], scale: int) -> None:
    height, width = 2, 3  # of a crop
    lq = {row.filepath: (row.crop[height] // scale, row.crop[width] // scale) for row in rows}
    gt = {row.gt: (row.crop[height], row.crop[width]) for row in rows if row.gt is not None}
    ImageStore(folder, 'lq').pack(lq)
    if gt:
        ImageStore(folder, 'gt').pack(gt)
