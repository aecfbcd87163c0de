"""Clean photos, degraded on the fly, with captions that say how."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from basicsr_plugin.errors import OptionError
from basicsr_plugin.options import read_options
from deplsr_data.apply_cpu import apply
from deplsr_data.captions import captions, levels
from deplsr_data.photos import PhotoReader, list_photos, to_float
from deplsr_data.recipes import read_recipe
from deplsr_data.records import to_json
from deplsr_data.sampling import draw, rng_for
from deplsr_data.tokens import check_tokenizer, tokenize

__all__ = ['CaptionedDegradationDataset']


@dataclass(frozen=True)
class _Options:
    """The YAML block of the data set; the loader's keys are read by BasicSR and only checked here."""

    name: str
    type: str
    phase: Literal['train', 'val', 'test']
    scale: Annotated[int, Field(ge=1)]
    dataroot_gt: str
    io_backend: dict[str, Any] = field(default_factory=lambda: {'type': 'disk'})
    meta_info: str | None = None
    gt_size: Annotated[int, Field(ge=1)] | None = None
    use_hflip: bool = True
    use_rot: bool = True
    recipe: dict[str, Any] | None = None
    tokenizer: str = 'ViT-B-32'
    context_length: Annotated[int, Field(ge=8)] | None = None
    draws_per_image: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0)] = 0
    batch_size_per_gpu: Annotated[int, Field(ge=1)] | None = None
    num_worker_per_gpu: Annotated[int, Field(ge=0)] | None = None
    dataset_enlarge_ratio: Annotated[float, Field(gt=0)] = 1
    use_shuffle: bool = True
    pin_memory: bool = False
    persistent_workers: bool = False
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    num_prefetch_queue: Annotated[int, Field(ge=1)] = 1


def _check(options: _Options, where: str) -> None:
    """Checks what spans several keys."""
    if options.io_backend.get('type') not in ('disk', 'lmdb'):
        raise OptionError(f"{where}.io_backend: expected type 'disk' or 'lmdb', got {options.io_backend}; name one")
    if options.gt_size is not None and options.gt_size % options.scale:
        nearest_size = max(1, round(options.gt_size / options.scale)) * options.scale
        raise OptionError(
            f'{where}.gt_size: expected a multiple of scale {options.scale}, got {options.gt_size}; take {nearest_size}'
        )
    if options.phase != 'train':
        return
    if options.gt_size is None:
        raise OptionError(f"{where}: missing key 'gt_size'; expected the side of the training crops in GT pixels")
    if options.draws_per_image != 1:
        raise OptionError(
            f'{where}.draws_per_image: expected 1 in training, where each epoch draws anew, got '
            f'{options.draws_per_image}; set dataset_enlarge_ratio instead'
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
            - meta_info: A ``.tsv`` with columns filepath and title, or Real-ESRGAN's list of paths; else all pictures.
            - gt_size: Side of the crop in GT pixels, a multiple of scale. In training required, at a random place, and
              smaller photos are mirrored beyond their borders; else optional, in the middle, and at most the photo.
            - use_hflip, use_rot: Random flips and quarter turns in training.
            - recipe: Block with ``type: semantic`` (:class:`deplsr_data.recipes.SemanticRecipe`).
            - tokenizer, context_length: open_clip model whose tokenizer to use; length of the token rows if not the
              model's. The longest whole caption needs 37 tokens; longer texts are cut.
            - draws_per_image: In validation, how many degradations of each photo there are.
            - seed: Seed of all draws.

    Item:
        - lq: (3, gt_size / scale, gt_size / scale) float32 RGB, 0..1. gt: (3, gt_size, gt_size), the same.
        - captions: list of 7 texts: semantic, whole degradation, then blur, gaussian, poisson, jpeg, ringing.
        - tokens: (7, L) int64. levels: (5,) float32, the true level of each kind.
        - record: JSON of the :class:`deplsr_data.records.Record`. lq_path, gt_path: str.

    Raises:
        UserError: A wrong option, a missing folder, an unreadable picture; one line.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__()
        self.opt = opt  # BasicSR's models read dataset.opt['name']
        where = _where(opt)
        self._options = read_options(_Options, opt, where)
        _check(self._options, where)
        check_tokenizer(self._options.tokenizer, f'{where}.tokenizer')
        self._recipe = read_recipe(self._options.recipe, f'{where}.recipe')
        lmdb = self._options.io_backend['type'] == 'lmdb'
        self._photos = list_photos(self._options.dataroot_gt, self._options.meta_info, lmdb, where)
        self._read = PhotoReader(self._options.dataroot_gt, self._options.io_backend)
        self._train = self._options.phase == 'train'

    def __len__(self) -> int:
        return len(self._photos) * self._options.draws_per_image

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Gives sample ``index``; in training an index that carries ``epoch`` and ``round`` draws anew in each."""
        o = self._options
        photo_index, again = divmod(int(index), o.draws_per_image)
        photo = self._photos[photo_index]
        epoch, round = (getattr(index, 'epoch', 0), getattr(index, 'round', 0)) if self._train else (0, 0)
        gt = self._read(photo.path)
        if self._train:
            gt = _augmented_crop(gt, o, rng_for(o.seed, epoch, int(index), round, 'crop'))
        else:
            gt = _centre_crop(gt, o, photo.path)
        gt = to_float(np.ascontiguousarray(gt))
        rng = rng_for(o.seed, epoch, int(index), round, 'degradation')
        record = draw(self._recipe, o.scale, rng, (gt.shape[0], gt.shape[1]))
        texts = captions(record, photo.title)
        stem, suffix = os.path.splitext(photo.path)
        return {
            'lq': _to_tensor(apply(record, gt)),
            'gt': _to_tensor(gt),
            'captions': texts,
            'tokens': tokenize(texts, o.tokenizer, o.context_length),
            'levels': torch.tensor(levels(record), dtype=torch.float32),
            'record': to_json(record),
            # result pictures are named after lq_path, so each draw needs its own
            'lq_path': photo.path if o.draws_per_image == 1 else f'{stem}_{again}{suffix}',
            'gt_path': photo.path,
        }


def _where(opt: Mapping[str, Any]) -> str:
    return f'datasets.{opt.get("phase", "?")}'


def _augmented_crop(gt: np.ndarray, options: _Options, rng: np.random.Generator) -> np.ndarray:
    """Cuts a random square of ``gt_size``, mirrors what a smaller photo lacks, flips and turns."""
    size = options.gt_size or 0
    lacking = [max(0, size - side) for side in gt.shape[:2]]
    if any(lacking):
        gt = cv2.copyMakeBorder(gt, 0, lacking[0], 0, lacking[1], cv2.BORDER_REFLECT_101)
    top, left = (int(rng.integers(side - size + 1)) for side in gt.shape[:2])
    gt = gt[top : top + size, left : left + size]
    hflip, vflip, turn = rng.random(3) < 0.5
    if options.use_hflip and hflip:
        gt = gt[:, ::-1]
    if options.use_rot and vflip:
        gt = gt[::-1]
    if options.use_rot and turn:
        gt = gt.transpose(1, 0, 2)
    return gt


def _centre_crop(gt: np.ndarray, options: _Options, path: str) -> np.ndarray:
    """Cuts the middle of a photo to ``gt_size`` (or keeps all of it), to a multiple of the scale; invents no pixels."""
    height, width = (
        (min(side, options.gt_size) if options.gt_size else side) // options.scale * options.scale
        for side in gt.shape[:2]
    )
    if not height or not width:
        raise OptionError(
            f"'{path}': expected at least {options.scale} pixels in height and width at scale {options.scale}, got "
            f'{gt.shape[0]} x {gt.shape[1]}; remove it'
        )
    top, left = (gt.shape[0] - height) // 2, (gt.shape[1] - width) // 2
    return gt[top : top + height, left : left + width]


def _to_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
