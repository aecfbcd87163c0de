"""Clean photos, degraded on the fly, with captions that describe how."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from basicsr_plugin.errors import UserError
from basicsr_plugin.options import read_options
from deplsr_data.dataset_options import CaptionedDegradationOptions, check_degradation_options, place_of
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.packing import pack
from deplsr_data.degradation.recipes import draw, read_recipe, rounds_of
from deplsr_data.degradation.records import Record, to_json
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.files.bad_photos import BadPhotos, log_found
from deplsr_data.files.crops import Crop, centre_crop, draw_crop, draw_shrunk_side
from deplsr_data.files.photos import PhotoError, PhotoReader, list_photos, to_float
from deplsr_data.ops.resize import resize
from deplsr_data.ops.usm import sharpen
from deplsr_data.tokens import tokenize

__all__ = ['CaptionedDegradationDataset']


@DATASET_REGISTRY.register()
class CaptionedDegradationDataset(Dataset):
    """Reads clean photos, draws a degradation for each, and delivers the pair with its captions.

    In training a sample depends only on (seed, epoch, index, round): BasicSR's sampler, as fixed by the plug-in, sends
    epoch and round along with the index (:mod:`basicsr_plugin.sampling_index`). In validation and test it depends only
    on (seed, index).

    Details of some options:

    - gt_size: in training the crop is at a random place, and smaller photos are mirrored beyond their borders; in
      validation it is optional, in the middle, and at most the photo.
    - shrink: photos are shrunk no further than the crop allows. A photo from a camera or a web page is seldom sharp to
      the pixel, and on one that is not, a small blur looks like none (docs/prior_nominal.md).
    - degrade_on: both ways make the same image up to 3e-4 (rounded to 8 bits: one grey level) at few pixels.
    - degrade_size: filters see real surroundings in place of mirrored borders (Real-ESRGAN: 400, then 256).
    - context: in training the adaptor estimates the prior from the larger crop, which contains more information
      than the small patch (docs/prior_nominal.md).
    - input: with ``whole`` the complete photo is degraded and then resized without antialiasing and without keeping the
      aspect ratio, as published (with scale 1 and ``resize: last``); the captions name the levels before that.
    - levels: effective ones depend on the record and on three statistics of the clean crop that is degraded.
    - max_bad_images: the next readable photo of the list replaces an unreadable one, so that batches keep their size
      and a run can be repeated.

    The longest whole degradation caption has 77 tokens with effective levels and 37 with nominal ones; a shorter
    context cuts its end off.

    Source: Sci. Rep. 15, 28837 (2025), Semantic-driven Degradation Pipeline.

    Args:
        opt: The data set's block of a BasicSR option file; its keys are the attributes of
            :class:`deplsr_data.dataset_options.CaptionedDegradationOptions`.

    Item:
        - lq: (3, gt_size / scale, gt_size / scale) float32 RGB, 0..1. gt: (3, gt_size, gt_size), the same.
        - gt_usm: in training with ``gt_usm: true`` in the recipe, the sharpened GT, which is what was degraded.
        - context: with ``context``, (3, degrade_size / scale, degrade_size / scale), lq and what surrounds it.
        - degradation, sharpen, window: in place of lq and gt_usm with ``degrade_on: device``; see
          :func:`deplsr_data.degradation.deferred.degrade_deferred`.
        - With ``input: whole`` there is an lq only, of (3, input_size, input_size).
        - captions: list of 2 + K texts: semantic, whole degradation, then one for each of the K degradation types, 8
          with effective and 5 with nominal levels (:mod:`deplsr_data.degradation.types`); one more for each that a
          plug-in registers.
        - tokens: (2 + K, L) int64. levels: (K,) float32, the true level of each degradation type.
        - record: JSON of the :class:`deplsr_data.degradation.records.Record`. lq_path, gt_path: str.

    Raises:
        UserError: A wrong option, a missing folder, too many unreadable images; one line.
    """

    options_class = CaptionedDegradationOptions

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__()
        self.opt = opt  # BasicSR's models read dataset.opt['name']
        where = place_of(opt)
        self._where = where
        self._options = self.typed_options(opt)
        self._recipe = read_recipe(self._options.recipe, f'{where}.recipe')
        self._table = level_table(self._options.levels)
        in_lmdb = self._options.in_lmdb
        left_out: Counter[str] = Counter()
        self._photos = list_photos(
            self._options.dataroot_gt, self._options.meta_info, in_lmdb, where, left_out=left_out
        )
        log_found(where, len(self._photos), left_out)
        self._read = PhotoReader(self._options.dataroot_gt, self._options.io_backend)
        self._bad = BadPhotos(len(self._photos), self._options.max_bad_images, f'{where}.max_bad_images')
        self._train = self._options.phase == 'train'

    @classmethod
    def typed_options(cls, opt: dict[str, Any]) -> CaptionedDegradationOptions:
        """Reads and checks the data set's block."""
        where = place_of(opt)
        options = read_options(cls.options_class, opt, where)
        check_degradation_options(options, where)
        read_recipe(options.recipe, f'{where}.recipe')
        return options

    @property
    def paths(self) -> list[str]:
        """What the results of the samples are named after."""
        draws = self._options.draws_per_image
        numbers: list[int | None] = list(range(draws)) if draws > 1 else [None]
        return [_result_path(photo.path, number, None) for photo in self._photos for number in numbers]

    def __len__(self) -> int:
        return len(self._photos) * self._options.draws_per_image

    def __getitem__(self, index: int) -> dict[str, object]:
        """Returns sample ``index``; in training the draws depend on the ``epoch`` and ``round`` that it carries."""
        o = self._options
        if not 0 <= index < len(self):
            raise IndexError(f'expected an index from 0 to {len(self) - 1}, got {index}')
        epoch, round = (getattr(index, 'epoch', 0), getattr(index, 'round', 0)) if self._train else (0, 0)
        crop_rng = rng_for(o.seed, epoch, int(index), round, 'crop')
        wanted, draw_number = divmod(int(index), o.draws_per_image)
        found, gt = self._bad.first_good(wanted, lambda number: self._read_gt(number, crop_rng))
        photo = self._photos[found]
        rng = rng_for(o.seed, epoch, int(index), round, 'degradation')
        record = draw(self._recipe, o.scale, rng, (gt.shape[0], gt.shape[1]))
        levels = self._table.levels(record, self._table.statistics(gt))
        texts = self._table.captions(levels, photo.title)
        return {
            **(self._whole(record, gt) if o.input == 'whole' else self._patch(record, gt, crop_rng)),
            'captions': texts,
            'tokens': tokenize(texts, o.tokenizer, o.context_length),
            'levels': torch.tensor(levels, dtype=torch.float32),
            'record': to_json(record),
            'lq_path': _result_path(
                photo.path,
                draw_number if o.draws_per_image > 1 else None,
                wanted if found != wanted else None,
            ),
            'gt_path': photo.path,
        }

    def _whole(self, record: Record, gt: np.ndarray) -> dict[str, Tensor]:
        side = self._options.input_size or 0
        lq = apply(record, sharpen(gt) if self._recipe.gt_usm else gt)
        return {'lq': _to_tensor(resize(lq, side, side, 'bicubic', antialias=False).clip(0, 1))}

    def _patch(self, record: Record, gt: np.ndarray, rng: np.random.Generator) -> dict[str, object]:
        o, usm = self._options, self._recipe.gt_usm
        window = draw_crop((gt.shape[0] // o.scale,) * 2, self._lq_size, rng, False, False) if o.degrade_size else None
        if self._train and o.degrade_on == 'device':
            return self._deferred(record, gt, window)
        clean = sharpen(gt) if usm else gt
        images = {'lq': apply(record, clean), 'gt': gt, **({'gt_usm': clean} if usm and self._train else {})}
        if window:
            context = images['lq']
            images = {name: window.cut(p, 1 if name == 'lq' else o.scale) for name, p in images.items()}
            if o.context:
                images['context'] = context
        return {name: _to_tensor(image) for name, image in images.items()}

    def _deferred(self, record: Record, gt: np.ndarray, window: Crop | None) -> dict[str, object]:
        """Returns what :func:`deplsr_data.degradation.deferred.degrade_deferred` makes the LR image of."""
        try:
            packed = pack(record, (gt.shape[0], gt.shape[1]), self._recipe.largest_kernel, rounds_of(self._recipe))
        except ValueError as error:
            raise UserError(f'{self._where}.degrade_on: device: {error}; set degrade_on: worker') from None
        item: dict[str, object] = {'gt': _to_tensor(gt), 'degradation': packed, 'sharpen': self._recipe.gt_usm}
        if window:
            item['window'] = torch.tensor([window.top, window.left, window.height])
            item['keep_context'] = self._options.context
        return item

    @property
    def _lq_size(self) -> int:
        return (self._options.gt_size or 0) // self._options.scale

    def _read_gt(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Reads photo ``index`` and cuts the sample out of it; draws only after it was read.

        Raises:
            PhotoError: It cannot be read, or is too small.
        """
        o, path = self._options, self._photos[index].path
        image = self._read(path)
        size = (image.shape[0], image.shape[1])
        if self._train and o.input == 'patch':
            side = o.degrade_size or o.gt_size or 0
            taken = draw_shrunk_side(size, side, rng, o.shrink) if o.shrink else side
            image = draw_crop(size, taken, rng, o.use_hflip, o.use_rot).cut(image)
            gt = to_float(np.ascontiguousarray(image))
            return gt if taken == side else resize(gt, side, side).clip(0, 1)
        crop = centre_crop(size, o.scale, o.gt_size)
        if crop is None:
            raise PhotoError(
                f"'{path}': expected at least {o.scale} pixels in height and width at scale {o.scale}, got "
                f'{size[0]} x {size[1]}; remove it'
            )
        return to_float(np.ascontiguousarray(crop.cut(image)))


def _result_path(path: str, draw_number: int | None, instead_of: int | None) -> str:
    """Returns the path that a result is named after: a different one for each draw and each photo it replaces."""
    stem, suffix = os.path.splitext(path)
    draws = '' if draw_number is None else f'_{draw_number}'
    replacement = '' if instead_of is None else f'_for{instead_of}'
    return f'{stem}{draws}{replacement}{suffix}'


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
