"""Photos to measure on, and LR images made of them; everything is drawn from fixed seeds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.prior.runs import RECIPES, SCALE, TABLE
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.recipes import draw, kernel_reach, read_recipe
from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.files.crops import centre_crop

GT_SIZE = 256
#: Blur sigma in GT pixels, noise sigma of 255 and JPEG quality at LR size; 0, 0 and 95 are the mildest of the training.
DEGRADATIONS = {
    'mild': (0.8, 5.0, 90.0), 'medium': (1.6, 12.0, 65.0), 'heavy': (2.6, 25.0, 35.0),
    'blur': (2.5, 0.0, 95.0), 'noise': (0.0, 25.0, 95.0), 'jpeg': (0.0, 0.0, 30.0),
}  # fmt: skip
OTHER = 'realesrgan'  #: a recipe that the main variants are not trained on
COLUMNS = (*DEGRADATIONS, OTHER)  #: degradations that SR networks are compared on
#: Inputs of the estimators: crops of held-out photos, by their side in LR pixels ...
SIZES = {'32': 32, '48': 48, '64': 64, '96': 96, '128': 128, 'whole': None}
#: ... 128 pixels in crops of 64, and at 64 pixels the test sets (and OTHER).
IN_CROPS, ON_TEST_SETS = '128 in crops', 'test sets'
POINTS = ('64', ON_TEST_SETS, '128', IN_CROPS)  #: inputs of which every true and estimated level is kept
TYPES = {'blur': 0, 'noise': 1, 'jpeg': 3}  #: degradation types and their place among the five


class Case(NamedTuple):
    """One image to restore: GT (h, w, 3), LR (1, 3, h, w), the estimator's input, and the degradation."""

    gt: np.ndarray
    lq: Tensor
    seen: Tensor
    record: Record


class Photos:
    """Photos of a folder, all or every so many."""

    def __init__(self, folder: Path, every: int = 1) -> None:
        self.paths = sorted(path for path in folder.iterdir() if path.suffix in ('.png', '.jpg', '.bmp'))[::every]

    @cache  # noqa: B019  one per folder lives as long as the program
    def gt(self, index: int, side: int | None) -> np.ndarray:
        """The centre of a photo, (h, w, 3) float32 in 0..1."""
        image = cv2.cvtColor(cv2.imread(str(self.paths[index])), cv2.COLOR_BGR2RGB)
        crop = centre_crop((image.shape[0], image.shape[1]), SCALE, side)
        assert crop is not None
        return np.ascontiguousarray(crop.cut(image), np.float32) / 255

    def mixed(self, side: int | None, recipe: dict[str, Any], draws: int) -> Iterator[tuple[Tensor, Tensor]]:
        """LR images (1, 3, h, w) of mixed degradations and their true levels (1, 5)."""
        checked = read_recipe(dict(recipe), 'recipe')
        for index in range(len(self.paths)):
            gt = self.gt(index, side and side * SCALE)
            for number in range(draws):
                rng = rng_for(number, 0, index, 0, 'degradation')
                record = draw(checked, SCALE, rng, (gt.shape[0], gt.shape[1]))
                yield to_tensor(apply(record, gt)), true_levels(record)


@lru_cache
def photos(folder: str, every: int = 1) -> Photos:
    """The photos of a folder, loaded once."""
    return Photos(Path(folder), every)


def to_tensor(image: np.ndarray) -> Tensor:
    """(h, w, 3) to (1, 3, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32))[None]


def true_levels(record: Record) -> Tensor:
    """The levels of a record, (1, 5)."""
    return torch.tensor([TABLE.levels(record)], dtype=torch.float32)


def fixed_record(name: str, size: tuple[int, int], seed: int) -> Record:
    """The degradation of that name for a GT of ``size``."""
    blur, noise, quality = DEGRADATIONS[name]
    first = (Blur(kernel_reach(blur), blur, blur),) if blur else ()
    shrunk = Resize(size[0] // SCALE, size[1] // SCALE, 'area')
    return Record(SCALE, (*first, shrunk, Noise('gaussian', noise, False, seed), Jpeg(quality)))


def cases(folder: str, name: str, whole: bool) -> Iterator[Case]:
    """Every photo of a folder, degraded by a fixed degradation or, for ``realesrgan``, by a draw of that recipe.

    The centre of the photo is degraded, seen by the estimator and restored; with ``whole`` the whole photo is degraded
    and seen, and its centre is restored.
    """
    held = photos(folder)
    other = read_recipe(dict(RECIPES[OTHER]), 'recipe')
    for index in range(len(held.paths)):
        gt = held.gt(index, None if whole else GT_SIZE)
        size = (gt.shape[0], gt.shape[1])
        if name == OTHER:
            record = draw(other, SCALE, rng_for(0, 0, index, 0, 'degradation'), size)
        else:
            record = fixed_record(name, size, index)
        seen = to_tensor(apply(record, gt))
        top, left = ((side - GT_SIZE) // (2 * SCALE) // 16 * 16 if side > GT_SIZE else 0 for side in size)
        lq = seen[..., top : top + GT_SIZE // SCALE, left : left + GT_SIZE // SCALE]
        yield Case(gt[SCALE * top :, SCALE * left :][:GT_SIZE, :GT_SIZE], lq, seen, record)
