"""Degrades photos one by one and writes the results, which do not depend on the worker that makes them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from basicsr_plugin.errors import UserError
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.level_tables import LevelTable
from deplsr_data.degradation.recipes import Recipe, draw
from deplsr_data.degradation.records import to_json
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.files.crops import Crop, tiles
from deplsr_data.files.photos import Photo, PhotoError, PhotoReader, to_float
from deplsr_data.files.written_set import ImageStore, Row
from deplsr_data.ops.usm import sharpen

__all__ = ['DegradePhotos', 'Plan', 'output_names']

_LONGEST_KEY = 480  # an LMDB key has at most 511 bytes; tile and draw are appended


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be written, and from which photos.

    Attributes:
        input: Folder or LMDB of photos.
        in_lmdb: Whether it is an LMDB.
        output: Folder of the set.
        photos: The photos.
        names: For each the path of its images, without suffix, tile and draw.
        recipe: What to draw from.
        scale: Size of a clean image over that of its LR image.
        draws: Degradations of each tile.
        seed: Seed of all draws.
        gt_size: Side of the tiles; None for complete photos.
        with_gt: Whether to write the clean images too.
        table: The degradation types and levels that the captions name.
    """

    input: str
    in_lmdb: bool
    output: str
    photos: tuple[Photo, ...]
    names: tuple[str, ...]
    recipe: Recipe
    scale: int
    draws: int
    seed: int
    gt_size: int | None
    with_gt: bool
    table: LevelTable

    def path(self, place: int) -> str:
        """Path of a photo relative to ``input``, or its key; what its draws depend on."""
        return _relative(self.input, self.photos[place], self.in_lmdb)

    def settings(self) -> dict[str, object]:
        """Everything that the images and captions of one photo depend on."""
        keys = ('scale', 'draws', 'seed', 'gt_size', 'with_gt')
        named = {key: getattr(self, key) for key in keys}
        return {**named, 'levels': self.table.name, 'recipe': dataclasses.asdict(self.recipe)}


class DegradePhotos(Dataset):
    """Item ``i`` writes all images of a photo and returns their rows, or the error as text if the photo is unreadable.

    Args:
        plan: What to make.
        places: Which photos.
    """

    def __init__(self, plan: Plan, places: Sequence[int]) -> None:
        super().__init__()
        self._plan = plan
        self._places = places
        self._read = PhotoReader(plan.input, {'type': 'lmdb' if plan.in_lmdb else 'disk'})
        self._lq, self._gt = ImageStore(plan.output, 'lq'), ImageStore(plan.output, 'gt')

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> list[Row] | str:
        """Raises UserError if the images cannot be written."""
        place = self._places[index]
        photo = self._plan.photos[place]
        try:
            image = self._read(photo.path)
            windows = tiles((image.shape[0], image.shape[1]), self._plan.scale, self._plan.gt_size)
            if not windows:
                raise PhotoError(
                    f"'{photo.path}': expected at least {self._plan.scale} pixels in height and width, got "
                    f'{image.shape[0]} x {image.shape[1]}; remove it'
                )
        except PhotoError as error:
            return str(error)
        return [row for tile, window in enumerate(windows) for row in self._write(place, image, tile, window)]

    def _write(self, place: int, image: np.ndarray, tile: int, window: Crop) -> list[Row]:
        plan = self._plan
        name = plan.names[place] + (f'_s{tile + 1:03d}' if plan.gt_size else '')
        gt = to_float(np.ascontiguousarray(window.cut(image)))
        statistics = plan.table.statistics(gt)
        clean = _eight_bits(sharpen(gt) if plan.recipe.gt_usm else gt)
        if plan.with_gt:
            self._gt.put(f'{name}.png', clean)
        gt = to_float(clean)  # so that the record turns the written clean image into exactly the written LR image
        rows = []
        for number in range(plan.draws):
            rng = rng_for(plan.seed, number, _number_of(plan.path(place)), tile, 'degradation')
            record = draw(plan.recipe, plan.scale, rng, (window.height, window.width))
            row = Row(
                filepath=name + (f'_d{number + 1}' if plan.draws > 1 else '') + '.png',
                gt=f'{name}.png' if plan.with_gt else None,
                photo=plan.path(place),
                tile=tile,
                draw=number,
                crop=(window.top, window.left, window.height, window.width),
                title=plan.photos[place].title,
                record=json.loads(to_json(record)),
                levels=plan.table.named_levels(plan.table.levels(record, statistics)),
            )
            self._lq.put(row.filepath, _eight_bits(apply(record, gt)))
            rows.append(row)
        return rows


def output_names(root: str, photos: Sequence[Photo], in_lmdb: bool, ascii_only: bool) -> list[str]:
    """Returns the name of each photo's images: that of the photo without suffix, unless two photos would then agree.

    For an LMDB, dots in names become underscores.

    Raises:
        UserError: Two names are the same; or, with ``ascii_only`` (keys of an LMDB), one is not ASCII or too long.
    """
    # a table cannot contain control characters or bytes that are not UTF-8
    paths = [re.sub(r'[\x00-\x1f\ud800-\udfff]', '_', _relative(root, photo, in_lmdb)) for photo in photos]
    stems = [path if in_lmdb else os.path.splitext(path)[0] for path in paths]
    if ascii_only:  # BasicSR cuts the keys of an LMDB at their first dot
        stems = [stem.replace('.', '_') for stem in stems]
    shared = Counter(stem.lower() for stem in stems)  # some file systems ignore case
    names = [
        stem + os.path.splitext(path)[1].replace('.', '_') if shared[stem.lower()] > 1 else stem
        for path, stem in zip(paths, stems, strict=True)
    ]
    for name, count in Counter(name.lower() for name in names).items():
        if count > 1:
            raise UserError(f"--input: expected names that differ in more than case, got '{name}' {count} times")
    for name in names:
        if ascii_only and (not name.isascii() or len(name) > _LONGEST_KEY):
            raise UserError(f"--format lmdb: expected ASCII names up to {_LONGEST_KEY} long, got '{name}'; use folder")
    return names


def _relative(root: str, photo: Photo, in_lmdb: bool) -> str:
    return photo.path if in_lmdb else os.path.relpath(photo.path, root).replace(os.sep, '/')


def _number_of(path: str) -> int:
    """Returns a number that depends only on the path, not on the other photos of the list."""
    return int.from_bytes(hashlib.sha256(path.encode('utf-8', 'surrogateescape')).digest()[:8], 'big')


def _eight_bits(image: np.ndarray) -> np.ndarray:
    return np.rint(image * 255).clip(0, 255).astype(np.uint8)
