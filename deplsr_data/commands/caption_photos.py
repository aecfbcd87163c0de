"""Write a semantic caption (title) for each photo of a folder.

A captioner (CoCa of open_clip) writes them; or all photos get the same title with --template. The result is a table of
paths and titles, which data sets read as ``meta_info`` and ``basicsr synthesize`` as --meta-info.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from basicsr_plugin.atomic import append_line
from basicsr_plugin.errors import UserError
from basicsr_plugin.interruption import end_with_parent
from basicsr_plugin.lock import locked_folder
from basicsr_plugin.text_files import read_lines
from deplsr_data.commands.arguments import (
    Skipped,
    add_common,
    at_least_1,
    is_lmdb,
    killed_worker_in_one_line,
    uncollated,
)
from deplsr_data.commands.captioner import Captioner, CoCaCaptioner, Transform
from deplsr_data.degradation.level_tables import FALLBACK_TITLE
from deplsr_data.files.folders import left_out_text
from deplsr_data.files.photos import Photo, PhotoError, PhotoReader, list_photos
from deplsr_data.files.tables import plain_cell, read_table, write_table
from deplsr_data.files.written_set import RESUME

__all__ = ['add_arguments', 'make_captioner', 'run']

COLUMNS = ('filepath', 'title')
EXAMPLES = """\
examples:
  # with a captioner whose weights are in a file
  basicsr caption --input photos --output titles.tsv --pretrained coca_b32.bin

  # with weights that open_clip downloads, in 4 processes
  basicsr caption --input photos --output titles.tsv --model coca_ViT-L-14 --pretrained laion2b_s13b_b90k --workers 4

  # without a captioner: the same title for all photos
  basicsr caption --input photos --output titles.tsv --template "a photo"

To resume an interrupted command, run it again. Titles that are already in the table are kept; to write all of them
again, delete the table.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.description = __doc__
    parser.epilog = EXAMPLES
    add_common(parser, 'table to write, such as titles.tsv')
    add = parser.add_argument
    add(
        '--model',
        default='coca_ViT-B-32',
        metavar='NAME',
        help='name of a CoCa model of open_clip, or local-dir:FOLDER (default %(default)s)',
    )
    add('--pretrained', metavar='FILE|TAG', help='its weights: a checkpoint file, or an open_clip tag to download')
    add('--template', metavar='TEXT', help='title without a captioner, or if it returns an empty one ("a photo")')
    add('--beams', type=at_least_1, default=4, metavar='N', help='width of the beam search (default 4)')
    add(
        '--max-tokens',
        type=at_least_1,
        default=30,
        metavar='N',
        help='length of the longest caption in tokens (default 30)',
    )
    add('--batch-size', type=at_least_1, default=16, metavar='N', help='photos in a batch (default 16)')
    add('--device', choices=('cpu', 'cuda'), help='where the captioner runs (default: cuda if available)')


def make_captioner(args: argparse.Namespace) -> Captioner | None:
    """Loads the captioner that the arguments name; None if there is only a template.

    Raises:
        UserError: Neither a captioner nor a template is given, or the captioner cannot be loaded.
    """
    if args.pretrained is None and not args.model.startswith('local-dir:'):
        if args.template is None:
            raise UserError(
                "--pretrained: expected a file or a tag of a CoCa, got none; name one, or use --template 'a photo'"
            )
        return None
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    return CoCaCaptioner(args.model, args.pretrained, device, args.beams, args.max_tokens)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit status.

    Raises:
        UserError: A wrong argument, a table that another process writes, no captioner, too many unreadable photos.
        KeyboardInterrupt: With a message that explains how to resume.
    """
    with locked_folder(args.output, '--output'):
        return _write_table(args)


def _write_table(args: argparse.Namespace) -> int:
    in_lmdb = is_lmdb(args.input)
    left_out: Counter[str] = Counter()
    photos = list_photos(args.input, args.meta_info, in_lmdb, '--input', ('--input', '--meta-info'), left_out)
    skipped = Skipped(args.max_bad_images, len(photos))
    paths = _paths(photos, args.input, in_lmdb, skipped)
    titles = _read_titles(args.output)
    missing = [name for name in paths if name not in titles]
    captioner = make_captioner(args)
    os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
    try:
        if captioner is None:
            titles.update(dict.fromkeys(missing, plain_cell(args.template)))
        else:
            read = _Photos([paths[name] for name in missing], args.input, in_lmdb, captioner.transform)
            _caption(captioner, read, missing, titles, skipped, args)
    except KeyboardInterrupt:
        raise KeyboardInterrupt('run the same command again to resume') from None
    order = [*(name for name in paths if name in titles), *(name for name in titles if name not in paths)]
    write_table(args.output, COLUMNS, ((name, titles[name]) for name in order))
    if os.path.exists(_part(args.output)):
        os.remove(_part(args.output))
    made = sum(name in titles for name in missing)
    before = len(paths) - len(missing)
    more = f', {left_out_text(left_out)}' if left_out else ''
    print(
        f'{args.output}: {made} photos captioned, {before} done before, {skipped.count} skipped; '
        f'{len(photos)} photos found{more}'
    )
    return 0


def _paths(photos: Sequence[Photo], root: str, in_lmdb: bool, skipped: Skipped) -> dict[str, str]:
    """Returns the paths of the photos by their names in the table."""
    paths = {}
    for photo in photos:
        name = photo.path if in_lmdb else os.path.relpath(photo.path, root).replace(os.sep, '/')
        if re.search(r'[\x00-\x1f\ud800-\udfff]', name):
            skipped.add(f'{photo.path!r}: expected a name without tabs or line ends, in UTF-8, got another; rename it')
        else:
            paths[name] = photo.path
    return paths


def _part(output: str) -> str:
    return f'{output}.part'


def _read_titles(output: str) -> dict[str, str]:
    """Returns the titles that are already in the table or were written by an interrupted run."""
    titles: dict[str, str] = {}
    if os.path.exists(output):
        titles.update((name, title) for name, title in read_table(output, COLUMNS, '--output'))
        header = next(read_lines(output, '--output'))[1]
        if header.split('\t') != list(COLUMNS):  # other columns would be lost
            raise UserError(
                f"--output: expected a table of filepath and title, got '{output}' with more columns; name another"
            )
    if os.path.exists(_part(output)):
        with open(_part(output), 'rb') as file:
            written = [line.decode('utf-8', 'ignore').rstrip('\n').split('\t') for line in file]  # the last may be cut
        titles.update((row[0], row[1]) for row in written if len(row) == 2)
    return titles


class _Photos(Dataset):
    """Images as tensors for the captioner; in place of an unreadable one, the error as text."""

    def __init__(self, paths: Sequence[str], root: str, in_lmdb: bool, transform: Transform) -> None:
        super().__init__()
        self._paths = paths
        self._read = PhotoReader(root, {'type': 'lmdb' if in_lmdb else 'disk'})
        self._transform = transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        try:
            pixels = self._read(self._paths[index])
        except PhotoError as error:
            return index, str(error)
        if pixels.dtype == np.uint16:
            pixels = (pixels // 257).astype(np.uint8)
        return index, self._transform(Image.fromarray(pixels))


def _caption(
    captioner: Captioner,
    photos: _Photos,
    names: Sequence[str],
    titles: dict[str, str],
    skipped: Skipped,
    args: argparse.Namespace,
) -> None:
    """Captions photos in batches and adds them to ``titles``; each batch is saved, so that a kill loses at most one."""
    template = plain_cell(args.template or FALLBACK_TITLE)
    loader = DataLoader(
        photos, args.batch_size, num_workers=args.workers, collate_fn=uncollated, worker_init_fn=end_with_parent
    )
    bar = tqdm(total=len(names), unit='photo', disable=None, file=sys.stderr)
    with bar, killed_worker_in_one_line():
        for batch in loader:
            for _, error in batch:
                if isinstance(error, str):
                    skipped.add(error)
            readable = [(names[index], read) for index, read in batch if not isinstance(read, str)]
            if readable:
                found = captioner(torch.stack([read for _, read in readable]))
                new = {name: title or template for (name, _), title in zip(readable, found, strict=True)}
                append_line(_part(args.output), '\n'.join(f'{name}\t{title}' for name, title in new.items()), RESUME)
                titles.update(new)
            bar.update(len(batch))
