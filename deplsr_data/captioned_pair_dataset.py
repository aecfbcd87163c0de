"""Pairs that were degraded beforehand, with the captions that say how."""

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

from basicsr_plugin.errors import UserError
from basicsr_plugin.options import read_options
from deplsr_data.dataset_options import DatasetOptions, check_options, place_of, require_gt_size
from deplsr_data.degradation.captions import DEGRADATION_TYPES, FALLBACK_TITLE, NO_DEGRADATION, parse_caption
from deplsr_data.degradation.records import from_json, to_json
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.files.bad_photos import BadPhotos
from deplsr_data.files.crops import Crop, centre_crop, draw_crop
from deplsr_data.files.photos import SUFFIXES, PhotoError, PhotoReader, image_path, to_float
from deplsr_data.files.tables import CAPTION_COLUMNS, read_table
from deplsr_data.files.written_set import Row, read_rows
from deplsr_data.tokens import tokenize

__all__ = ['CaptionedPairDataset', 'read_captions']


@dataclass(frozen=True, kw_only=True)
class _Options(DatasetOptions):
    dataroot_lq: str
    meta_info: str | tuple[str, ...]
    records: str | tuple[str, ...] | None = None


@dataclass(frozen=True)
class _Pair:
    filepath: str
    captions: tuple[str, ...]
    levels: tuple[float, ...]


@DATASET_REGISTRY.register()
class CaptionedPairDataset(Dataset):
    """Reads LR images, their clean images and seven captions: sets of ``basicsr synthesize``, or LSDIR-DE.

    In training the crop depends on (seed, epoch, index, round) only, as in
    :class:`~deplsr_data.captioned_degradation_dataset.CaptionedDegradationDataset`.

    Source: Sci. Rep. 15, 28837 (2025), LSDIR-DE.

    Args:
        opt: The data set's block of a BasicSR option file. Own keys:

            - dataroot_lq, dataroot_gt: Folders, or LMDBs (``io_backend: {type: lmdb}``), of LR and clean images.
            - meta_info: A table, or several (``[a.tsv, b.tsv]``), with the columns filepath (below dataroot_lq), title
              (semantic), title2 (whole degradation) and title3 to title7 (fine; where one is empty, its degradation type does not
              occur).
            - records: The ``records.jsonl`` of a written set, or several; those beside the tables if not given. Without
              one, a clean image has the name of its LR image, with any suffix.
            - gt_size: Side of the crop in GT pixels, a multiple of scale. In training required, at a random place, and
              smaller images are mirrored beyond their borders; else optional, in the middle.
            - use_hflip, use_rot, tokenizer, context_length, seed, max_bad_images: as in
              CaptionedDegradationDataset.

    Item:
        As of CaptionedDegradationDataset; ``levels`` are read from the fine captions, ``record`` is '' if not known.

    Raises:
        UserError: A wrong option, a missing file, a wrong table, too many unreadable images; one line.
    """

    options_class = _Options

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__()
        self.opt = opt  # BasicSR's models read dataset.opt['name']
        where = place_of(opt)
        self._options = o = read_options(_Options, opt, where)
        check_options(o, where)
        require_gt_size(o, where)
        tables = _as_tuple(o.meta_info)
        self._pairs = [pair for table in tables for pair in _read_pairs(table, f'{where}.meta_info')]
        if not self._pairs:
            raise UserError(f"{where}.meta_info: expected rows, got none in '{', '.join(tables)}'; check the table")
        beside = [os.path.join(os.path.dirname(table), 'records.jsonl') for table in tables]
        records = [path for path in beside if os.path.isfile(path)] if o.records is None else _as_tuple(o.records)
        self._rows = {row.filepath: row for path in records for row in read_rows(path, f'{where}.records')}
        self._read_lq = PhotoReader(o.dataroot_lq, o.io_backend)
        self._read_gt = PhotoReader(o.dataroot_gt, o.io_backend)
        self._bad = BadPhotos(len(self._pairs), o.max_bad_images, f'{where}.max_bad_images')
        self._train = o.phase == 'train'
        self._check_paths(where)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns sample ``index``; in training an index that carries ``epoch`` and ``round`` is cut anew in each."""
        o = self._options
        epoch, round = (getattr(index, 'epoch', 0), getattr(index, 'round', 0)) if self._train else (0, 0)
        rng = rng_for(o.seed, epoch, int(index), round, 'crop')
        given, (lq, gt) = self._bad.first_good(int(index), lambda place: self._read_pair(place, rng))
        pair = self._pairs[given]
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

    def _read_pair(self, place: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Reads both images and cuts the sample out of them.

        Raises:
            PhotoError: One cannot be read, or their sizes do not fit.
        """
        o, pair = self._options, self._pairs[place]
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
            raise PhotoError(f"'{lq_path}': expected a image, got one without pixels; remove it")
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
        """Looks for the first pair: if it is not there, then the folders are others than the table means."""
        first = self._pairs[0]
        lq = image_path(self._options.dataroot_lq, first.filepath, self._options.in_lmdb)
        gt = self._gt_path(first, self._rows.get(first.filepath))
        for key, path in (('dataroot_lq', lq), ('dataroot_gt', gt)):
            root = getattr(self._options, key)
            if not os.path.isdir(root):
                raise UserError(f"{where}.{key}: expected a folder, got '{root}', which does not exist; check the path")
            if not self._options.in_lmdb and not os.path.isfile(path):
                raise UserError(
                    f"{where}.{key}: expected the folder that meta_info's paths begin in, got '{root}', where "
                    f"'{path}' does not exist; mend either"
                )


def read_captions(cells: Sequence[str]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Completes the seven captions of a table's row.

    Args:
        cells: Seven texts, each perhaps empty: semantic, whole degradation, and fine ones in any order.

    Returns:
        The seven captions in their order, and the five levels.

    Raises:
        ValueError: A fine caption cannot be read, or two are of the same degradation type.
    """
    title, whole, *fine = (cell.strip() for cell in cells)
    said: dict[str, tuple[str, float]] = {}
    for text in filter(None, fine):
        degradation_type, level = parse_caption(text)
        if degradation_type in said:
            raise ValueError(
                f'expected one fine caption of each degradation type, got {said[degradation_type][0]!r} and {text!r}'
            )
        said[degradation_type] = (text, level)
    complete = [
        said.get(degradation_type.name, (degradation_type.say(degradation_type.zero), degradation_type.zero))
        for degradation_type in DEGRADATION_TYPES
    ]
    present = [
        text
        for degradation_type, (text, level) in zip(DEGRADATION_TYPES, complete, strict=True)
        if level != degradation_type.zero
    ]
    texts = (title or FALLBACK_TITLE, whole or ', '.join(present) or NO_DEGRADATION, *(text for text, _ in complete))
    return texts, tuple(level for _, level in complete)


def _read_pairs(table: str, where: str) -> list[_Pair]:
    pairs = []
    for number, (filepath, *cells) in enumerate(read_table(table, ('filepath', *CAPTION_COLUMNS), where), 1):
        try:
            pairs.append(_Pair(filepath, *read_captions(cells)))
        except ValueError as error:
            raise UserError(f"{where}: row {number} of '{table}': {error}; mend it") from None
    return pairs


def _as_tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(to_float(np.ascontiguousarray(image.transpose(2, 0, 1))))
