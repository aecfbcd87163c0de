"""Pairs that were degraded beforehand, with captions that describe how."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.lmdb_files import check_lmdb
from basicsr_plugin.options import read_options
from deplsr_data.dataset_options import CaptionedPairOptions, check_options, place_of, require_gt_size
from deplsr_data.degradation.level_tables import LevelTable, level_table
from deplsr_data.degradation.records import from_json, to_json
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.files.bad_photos import BadPhotos, log_found
from deplsr_data.files.crops import Crop, centre_crop, draw_crop
from deplsr_data.files.photos import SUFFIXES, PhotoError, PhotoReader, image_path, to_float
from deplsr_data.files.tables import CAPTION_COLUMNS, caption_columns, read_table
from deplsr_data.files.written_set import Row, levels_of_set, read_rows
from deplsr_data.tokens import tokenize

__all__ = ['CaptionedPairDataset', 'read_captions']


@dataclass(frozen=True)
class _Pair:
    filepath: str
    captions: tuple[str, ...]
    levels: tuple[float, ...]


@DATASET_REGISTRY.register()
class CaptionedPairDataset(Dataset):
    """Reads LR images, their clean images and captions: sets of ``basicsr synthesize``, or LSDIR-DE.

    In training the crop depends only on (seed, epoch, index, round), as in
    :class:`~deplsr_data.captioned_degradation_dataset.CaptionedDegradationDataset`; images smaller than gt_size are
    mirrored beyond their borders. In validation gt_size is optional, and the crop is in the middle.

    In the table, title is the semantic caption, title2 the whole degradation caption, and title3 and following are the
    fine ones (to title7 with nominal levels, as in LSDIR-DE, to title10 with effective ones), in any order; if one is
    empty, its degradation type does not occur. Without a ``records.jsonl``, a clean image
    has the name of its LR image, with any suffix.

    Source: Sci. Rep. 15, 28837 (2025), LSDIR-DE.

    Args:
        opt: The data set's block of a BasicSR option file; its keys are the attributes of
            :class:`deplsr_data.dataset_options.CaptionedPairOptions`.

    Item:
        As of CaptionedDegradationDataset; ``levels`` are parsed from the fine captions, ``record`` is '' if unknown.

    Raises:
        UserError: A wrong option, a missing file, a wrong table, too many unreadable images; one line.
    """

    options_class = CaptionedPairOptions

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__()
        self.opt = opt  # BasicSR's models read dataset.opt['name']
        where = place_of(opt)
        self._options = o = self.typed_options(opt)
        tables = _as_tuple(o.meta_info)
        _check_levels(tables, o.levels, f'{where}.levels')
        self._pairs = [
            pair for table in tables for pair in _read_pairs(table, level_table(o.levels), f'{where}.meta_info')
        ]
        if not self._pairs:
            raise UserError(f"{where}.meta_info: expected rows, got none in '{', '.join(tables)}'; check the table")
        usual = [os.path.join(os.path.dirname(table), 'records.jsonl') for table in tables]
        records = [path for path in usual if os.path.isfile(path)] if o.records is None else _as_tuple(o.records)
        self._rows = {row.filepath: row for path in records for row in read_rows(path, f'{where}.records')}
        self._read_lq = PhotoReader(o.dataroot_lq, o.io_backend)
        self._read_gt = PhotoReader(o.dataroot_gt, o.io_backend)
        self._bad = BadPhotos(len(self._pairs), o.max_bad_images, f'{where}.max_bad_images')
        self._train = o.phase == 'train'
        self._check_paths(where)
        log_found(where, len(self._pairs), {})

    @classmethod
    def typed_options(cls, opt: dict[str, Any]) -> CaptionedPairOptions:
        """Reads and checks the data set's block."""
        where = place_of(opt)
        options = read_options(cls.options_class, opt, where)
        check_options(options, where)
        require_gt_size(options, where)
        return options

    @property
    def paths(self) -> list[str]:
        """What the results of the samples are named after."""
        return [image_path(self._options.dataroot_lq, pair.filepath, self._options.in_lmdb) for pair in self._pairs]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, object]:
        """Returns sample ``index``; in training the crop depends on the ``epoch`` and ``round`` that it carries."""
        o = self._options
        epoch, round = (getattr(index, 'epoch', 0), getattr(index, 'round', 0)) if self._train else (0, 0)
        rng = rng_for(o.seed, epoch, int(index), round, 'crop')
        found, (lq, gt) = self._bad.first_good(int(index), lambda number: self._read_pair(number, rng))
        pair = self._pairs[found]
        row = self._rows.get(pair.filepath)
        return {
            'lq': lq,
            'gt': gt,
            'captions': list(pair.captions),
            'tokens': tokenize(pair.captions, o.tokenizer, o.context_length),
            'levels': torch.tensor(pair.levels, dtype=torch.float32),
            'record': to_json(from_json(row.record_json())) if row else '',
            'lq_path': image_path(o.dataroot_lq, pair.filepath, o.in_lmdb),
            'gt_path': self._gt_path(pair, row),
        }

    def _read_pair(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Reads both images of pair ``index`` and cuts the sample out of them.

        Raises:
            PhotoError: One cannot be read, or their sizes do not fit.
        """
        o, pair = self._options, self._pairs[index]
        row = self._rows.get(pair.filepath)
        lq_path, gt_path = image_path(o.dataroot_lq, pair.filepath, o.in_lmdb), self._gt_path(pair, row)
        lq, gt = self._read_lq(lq_path), self._read_gt(gt_path)
        if row and row.gt is None:
            gt = Crop(*row.crop).cut(gt)
        size = (lq.shape[0], lq.shape[1])
        if gt.shape[:2] != (size[0] * o.scale, size[1] * o.scale):
            raise PhotoError(
                f"'{gt_path}': expected {size[0] * o.scale} x {size[1] * o.scale} pixels, {o.scale} times those of "
                f"'{lq_path}', got {gt.shape[0]} x {gt.shape[1]}; check scale"
            )
        side = o.gt_size // o.scale if o.gt_size else None
        crop = draw_crop(size, side or 0, rng, o.use_hflip, o.use_rot) if self._train else centre_crop(size, 1, side)
        if crop is None:
            raise PhotoError(f"'{lq_path}': expected an image, got one without pixels; remove it")
        return _to_tensor(crop.cut(lq, 1, cv2.BORDER_REFLECT)), _to_tensor(crop.cut(gt, o.scale, cv2.BORDER_REFLECT))

    def _gt_path(self, pair: _Pair, row: Row | None) -> str:
        o = self._options
        name = (row.gt or row.photo) if row else pair.filepath
        path = image_path(o.dataroot_gt, name, o.in_lmdb)
        if o.in_lmdb or row or os.path.exists(path):
            return path
        stem = os.path.splitext(path)[0]
        return next((stem + suffix for suffix in SUFFIXES if os.path.exists(stem + suffix)), path)

    def _check_paths(self, where: str) -> None:
        """Checks that the first pair exists: if not, the folders are not those that the table refers to."""
        first = self._pairs[0]
        lq = image_path(self._options.dataroot_lq, first.filepath, self._options.in_lmdb)
        gt = self._gt_path(first, self._rows.get(first.filepath))
        for key, path in (('dataroot_lq', lq), ('dataroot_gt', gt)):
            root = getattr(self._options, key)
            if not os.path.isdir(root):
                raise UserError(f"{where}.{key}: expected a folder, got '{root}', which does not exist; check the path")
            if self._options.in_lmdb:
                check_lmdb(root, f'{where}.{key}')
            elif not os.path.isfile(path):
                raise UserError(
                    f"{where}.{key}: expected the folder that meta_info's paths begin in, got '{root}', where "
                    f"'{path}' does not exist; correct one of them"
                )


def read_captions(cells: Sequence[str], table: LevelTable) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Completes the captions of a table's row.

    Args:
        cells: Texts, each perhaps empty: semantic, whole degradation, and fine ones in any order.
        table: The degradation types.

    Returns:
        All captions in their order, and the level of each degradation type.

    Raises:
        ValueError: A fine caption cannot be parsed, or two are of the same degradation type.
    """
    title, whole, *fine = (cell.strip() for cell in cells)
    given: dict[str, tuple[str, float]] = {}
    for text in filter(None, fine):
        name, level = table.parse_caption(text)
        if name in given:
            raise ValueError(f'expected one fine caption of each degradation type, got {given[name][0]!r} and {text!r}')
        given[name] = (text, level)
    levels = table.ordered_levels({name: level for name, (_, level) in given.items()})
    usual = table.captions(levels, title)
    texts = (given[name][0] if name in given else text for name, text in zip(table.names, usual[2:], strict=True))
    return (usual[0], whole or usual[1], *texts), levels


def _read_pairs(path: str, table: LevelTable, where: str) -> list[_Pair]:
    more = caption_columns(len(table.types))[len(CAPTION_COLUMNS) :]
    pairs = []
    for number, (filepath, *cells) in enumerate(read_table(path, ('filepath', *CAPTION_COLUMNS), where, more), 1):
        try:
            pairs.append(_Pair(filepath, *read_captions(cells, table)))
        except ValueError as error:
            hint = f'correct it, or set levels: {"nominal" if table.name == "effective" else "effective"}'
            raise UserError(f"{where}: row {number} of '{path}': {error}; {hint}") from None
    return pairs


def _check_levels(tables: Sequence[str], levels: str, where: str) -> None:
    """Checks that the captions of written sets name the levels that the option names."""
    for folder in dict.fromkeys(os.path.dirname(table) for table in tables):
        written = levels_of_set(folder)
        if written not in (None, levels):
            raise OptionError(
                f"{where}: expected {written}, with which the set in '{folder}' was written, got {levels}; set levels: "
                f'{written} here and at the top level, or write the set with --levels {levels}'
            )


def _as_tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(to_float(np.ascontiguousarray(image.transpose(2, 0, 1))))
