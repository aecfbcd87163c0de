"""Clean photos, degraded on the fly, with captions that say how."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from basicsr_plugin.errors import OptionError
from basicsr_plugin.options import read_options
from deplsr_data.dataset_options import DatasetOptions, check_options, place_of, require_gt_size
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.captions import captions, levels
from deplsr_data.degradation.packing import pack
from deplsr_data.degradation.recipes import read_recipe
from deplsr_data.degradation.records import Record, to_json
from deplsr_data.degradation.sampling import draw, rng_for
from deplsr_data.files.bad_photos import BadPhotos
from deplsr_data.files.crops import centre_crop, draw_crop, draw_shrunk_side
from deplsr_data.files.photos import PhotoError, PhotoReader, list_photos, to_float
from deplsr_data.ops.resize import resize
from deplsr_data.ops.usm import sharpen
from deplsr_data.tokens import tokenize

__all__ = ['CaptionedDegradationDataset']


@dataclass(frozen=True, kw_only=True)
class _Options(DatasetOptions):
    meta_info: str | None = None
    recipe: dict[str, Any] | None = None
    draws_per_image: Annotated[int, Field(ge=1)] = 1
    degrade_on: Literal['worker', 'device'] = 'worker'
    shrink: tuple[float, float] | None = None
    degrade_size: Annotated[int, Field(ge=1)] | None = None
    context: bool = False
    input: Literal['patch', 'whole'] = 'patch'
    input_size: Annotated[int, Field(ge=8)] | None = None


def _check(options: _Options, where: str) -> None:
    check_options(options, where)
    if options.phase == 'train' and options.draws_per_image != 1:
        raise OptionError(
            f'{where}.draws_per_image: expected 1 in training, where each epoch draws anew, got '
            f'{options.draws_per_image}; set dataset_enlarge_ratio instead'
        )
    if options.shrink is not None:
        _check_shrink(options, *options.shrink, where)
    if options.input == 'whole':
        _check_whole(options, where)
        return
    if options.input_size is not None:
        raise OptionError(f'{where}.input_size: expected with input: whole only, got {options.input_size}; remove it')
    require_gt_size(options, where)
    if options.degrade_size is not None:
        _check_degrade_size(options, options.degrade_size, where)
    elif options.context:
        raise OptionError(f'{where}.context: expected with degrade_size only, got true; set degrade_size above gt_size')


def _check_whole(options: _Options, where: str) -> None:
    if options.input_size is None:
        raise OptionError(f"{where}: missing key 'input_size'; with input: whole it is the side of CLIP's input")
    for key, given, usual in (
        ('gt_size', options.gt_size, None),
        ('shrink', options.shrink, None),
        ('degrade_size', options.degrade_size, None),
        ('context', options.context or None, None),
        ('degrade_on', options.degrade_on, 'worker'),
    ):
        if given != usual:
            hint = 'remove it' if usual is None else f'set it to {usual}, as whole photos differ in size'
            raise OptionError(f'{where}.{key}: expected none with input: whole, got {given}; {hint}')


def _check_shrink(options: _Options, low: float, high: float, where: str) -> None:
    if not 0 < low <= high <= 1:
        raise OptionError(
            f'{where}.shrink: expected two factors 0 < low <= high <= 1, got {[low, high]}; such as [0.5, 0.7]'
        )
    if options.phase != 'train':
        raise OptionError(f'{where}.shrink: expected in training only, got {[low, high]}; remove it')


def _check_degrade_size(options: _Options, size: int, where: str) -> None:
    if options.phase != 'train':
        raise OptionError(f'{where}.degrade_size: expected in training only, got {size}; remove it')
    if size % options.scale or size < (options.gt_size or 0):
        raise OptionError(
            f'{where}.degrade_size: expected a multiple of scale {options.scale}, at least gt_size '
            f'({options.gt_size}), got {size}; Real-ESRGAN has 400 for a gt_size of 256'
        )


@DATASET_REGISTRY.register()
class CaptionedDegradationDataset(Dataset):
    """Reads clean photos, draws a degradation for each, and gives the pair with seven captions.

    In training a sample depends on (seed, epoch, index, round) only: BasicSR's sampler, as mended, sends epoch and
    round along with the index (:mod:`basicsr_plugin.sampling_index`). In validation and test it depends on (seed,
    index) only.

    Source: Sci. Rep. 15, 28837 (2025), Semantic-driven Degradation Pipeline.

    Args:
        opt: The data set's block of a BasicSR option file. Own keys:

            - dataroot_gt: Folder with its subfolders, or LMDB (``io_backend: {type: lmdb}``).
            - meta_info: A ``.tsv`` with columns filepath and title, or Real-ESRGAN's list of paths; else all images.
            - gt_size: Side of the crop in GT pixels, a multiple of scale. In training required, at a random place, and
              smaller photos are mirrored beyond their borders; else optional, in the middle, and at most the photo.
            - shrink: In training, lowest and highest factor by which photos are shrunk before they are cropped, no
              further than the crop allows. What a camera or a web page gives is seldom sharp to the pixel, and on a
              photo that is not, a small blur cannot be told from none (docs/prior.md, Levers).
            - use_hflip, use_rot: Random flips and quarter turns in training.
            - recipe: Block with ``type: semantic`` (:class:`deplsr_data.degradation.recipes.SemanticRecipe`).
            - tokenizer, context_length: open_clip model whose tokenizer to use; length of the token rows if not the
              model's. The longest whole caption needs 37 tokens; longer texts are cut.
            - draws_per_image: In validation, how many degradations of each photo there are.
            - degrade_on: ``worker`` degrades in the loader's worker; ``device`` sends the record along as tensors, and
              the model degrades the whole batch at once. Training only. Same record, same image up to 3e-4 (rounded
              to 8 bits: one grey level) at few pixels.
            - degrade_size: In training, side of the GT crop that is degraded; gt_size is then cut out of it at a random
              place, so that filters see real surroundings instead of mirrored borders (Real-ESRGAN: 400, then 256).
            - context: With degrade_size, give also the whole degraded piece, of which lq is a part. In training the
              adaptor then reads that, which tells it more than the small patch (docs/prior.md).
            - input: What the LR image of stage 1 is. ``patch``: GT / scale, as stage 2 makes it. ``whole``: the whole
              photo is degraded and then resized without keeping the aspect ratio to input_size squared without antialiasing, as published (with scale 1
              and ``resize: last``); the captions name the levels before that.
            - input_size: With ``whole``, side of the LR image, CLIP's input.
            - seed: Seed of all draws.
            - max_bad_images: How many photos may be unreadable, or too small. Each is named in a warning, and the
              next good one of the list stands in for it, so that batches stay whole and a run can be repeated.

    Item:
        - lq: (3, gt_size / scale, gt_size / scale) float32 RGB, 0..1. gt: (3, gt_size, gt_size), the same.
        - gt_usm: in training with ``gt_usm: true`` in the recipe, the sharpened GT, which is what was degraded.
        - context: with ``context``, (3, degrade_size / scale, degrade_size / scale), lq and what surrounds it.
        - degradation, sharpen, window: in place of lq and gt_usm with ``degrade_on: device``; see
          :func:`deplsr_data.degradation.deferred.degrade_deferred`.
        - With ``input: whole`` there is an lq only, of (3, input_size, input_size).
        - captions: list of 7 texts: semantic, whole degradation, then blur, gaussian, poisson, jpeg, ringing.
        - tokens: (7, L) int64. levels: (5,) float32, the true level of each degradation type.
        - record: JSON of the :class:`deplsr_data.degradation.records.Record`. lq_path, gt_path: str.

    Raises:
        UserError: A wrong option, a missing folder, too many unreadable images; one line.
    """

    options_class = _Options

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__()
        self.opt = opt  # BasicSR's models read dataset.opt['name']
        where = place_of(opt)
        self._options = read_options(_Options, opt, where)
        _check(self._options, where)
        self._recipe = read_recipe(self._options.recipe, f'{where}.recipe')
        in_lmdb = self._options.in_lmdb
        self._photos = list_photos(self._options.dataroot_gt, self._options.meta_info, in_lmdb, where)
        self._read = PhotoReader(self._options.dataroot_gt, self._options.io_backend)
        self._bad = BadPhotos(len(self._photos), self._options.max_bad_images, f'{where}.max_bad_images')
        self._train = self._options.phase == 'train'

    def __len__(self) -> int:
        return len(self._photos) * self._options.draws_per_image

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns sample ``index``; in training an index that carries ``epoch`` and ``round`` draws anew in each."""
        o = self._options
        if not 0 <= index < len(self):
            raise IndexError(f'expected an index from 0 to {len(self) - 1}, got {index}')
        epoch, round = (getattr(index, 'epoch', 0), getattr(index, 'round', 0)) if self._train else (0, 0)
        crop_rng = rng_for(o.seed, epoch, int(index), round, 'crop')
        asked, again = divmod(int(index), o.draws_per_image)
        given, gt = self._bad.first_good(asked, lambda photo: self._read_gt(photo, crop_rng))
        photo, replaced = self._photos[given], None if given == asked else asked
        rng = rng_for(o.seed, epoch, int(index), round, 'degradation')
        record = draw(self._recipe, o.scale, rng, (gt.shape[0], gt.shape[1]))
        texts = captions(record, photo.title)
        return {
            **(self._whole(record, gt) if o.input == 'whole' else self._patch(record, gt, crop_rng)),
            'captions': texts,
            'tokens': tokenize(texts, o.tokenizer, o.context_length),
            'levels': torch.tensor(levels(record), dtype=torch.float32),
            'record': to_json(record),
            'lq_path': _own_path(photo.path, again if o.draws_per_image > 1 else None, replaced),
            'gt_path': photo.path,
        }

    def _whole(self, record: Record, gt: np.ndarray) -> dict[str, Any]:
        side = self._options.input_size or 0
        lq = apply(record, sharpen(gt) if self._recipe.gt_usm else gt)
        return {'lq': _to_tensor(resize(lq, side, side, 'bicubic', antialias=False).clip(0, 1))}

    def _patch(self, record: Record, gt: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        o, usm = self._options, self._recipe.gt_usm
        window = draw_crop((gt.shape[0] // o.scale,) * 2, self._lq_size, rng, False, False) if o.degrade_size else None
        if self._train and o.degrade_on == 'device':
            packed = pack(record, (gt.shape[0], gt.shape[1]), self._recipe.largest_kernel)
            item = {'gt': _to_tensor(gt), 'degradation': packed, 'sharpen': usm}
            if window:
                item['window'] = torch.tensor([window.top, window.left, window.height])
                item['keep_context'] = o.context
            return item
        clean = sharpen(gt) if usm else gt
        images = {'lq': apply(record, clean), 'gt': gt, **({'gt_usm': clean} if usm and self._train else {})}
        if window:
            whole = images['lq']
            images = {name: window.cut(p, 1 if name == 'lq' else o.scale) for name, p in images.items()}
            if o.context:
                images['context'] = whole
        return {name: _to_tensor(image) for name, image in images.items()}

    @property
    def _lq_size(self) -> int:
        return (self._options.gt_size or 0) // self._options.scale

    def _read_gt(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Reads photo ``index`` and cuts the sample out of it; draws only once it is read.

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


def _own_path(path: str, draw: int | None, instead_of: int | None) -> str:
    """Returns the path after which a result is named: one for each draw and each photo it stands in for."""
    stem, suffix = os.path.splitext(path)
    draws = '' if draw is None else f'_{draw}'
    replaced = '' if instead_of is None else f'_for{instead_of}'
    return f'{stem}{draws}{replaced}{suffix}'


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
