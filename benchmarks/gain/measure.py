"""PSNR of SR networks, and the estimates of degradation estimators, on photos and sets that nobody trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from basicsr.metrics.psnr_ssim import calculate_psnr
from torch import Tensor

from benchmarks.gain.estimators import TYPES, effective_positions, nominal_positions
from benchmarks.gain.networks import load_network, tokens_of
from benchmarks.gain.pairs import EFFECTIVE, NOMINAL, Source, load_pool, make_pool
from benchmarks.gain.settings import OUT_OF_RANGE, RECIPES, SCALE, Run, Sizes
from benchmarks.prior.photos import fixed_record
from deplsr_arch.level_distribution_arch import LevelDistribution
from deplsr_data.degradation.apply import apply
from deplsr_data.files.crops import centre_crop

FIXED = ('blur', 'mild', 'heavy')  #: degradations of the semantic recipe, as in ``benchmarks.prior``
CLEAN = 'shrunk'  #: clean photos, shrunk and nothing else
SEED = 100  #: of the held-out degradations
GRADE_DRAWS = 20  #: degradations of each photo, of which SR networks are measured on fewer
_SIDE = 256


class Sample(NamedTuple):
    """An image to restore: LR (3, h, w) and GT (H, W, 3), uint8; border that PSNR leaves out; levels, if known."""

    lq: np.ndarray
    gt: np.ndarray
    border: int
    effective: Tensor | None = None
    nominal: Tensor | None = None


def load_photos(folder: Path, least: int = 0) -> list[np.ndarray]:
    """All photos of a folder as RGB uint8, those of at least ``least`` pixels in height and width."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in ('.png', '.jpg', '.bmp'))
    images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    return [image for image in images if min(image.shape[:2]) >= least]


def make_graded(folder: Path, photos: list[np.ndarray], draws: int, scale: int = SCALE, workers: int = 1) -> None:
    """Makes the pools that estimators and networks are measured on: each recipe, clean ones, and out of range."""
    graded = {**RECIPES, CLEAN: {'type': 'clean', 'identity_prob': 1.0}, **OUT_OF_RANGE}
    for name, block in graded.items():
        count = 1 if name == CLEAN else draws
        total = count * len(photos)
        make_pool(folder / name, block, Source(photos, count), total, total, SEED, scale, workers)


def samples(name: str, graded: Path, photos: list[np.ndarray], sets: Path | None, sizes: Sizes) -> Iterator[Sample]:
    """The images of a part: a recipe, ``shrunk``, one of FIXED, ``realsr100`` or ``set14se``."""
    if name in FIXED:
        yield from _fixed(name, photos)
    elif name == 'realsr100':
        assert sets is not None
        yield from _pairs(sets / 'RealSR100' / 'LQ', sets / 'RealSR100' / 'GT')
    elif name == 'set14se':
        assert sets is not None
        for number in range(sizes.set14se):
            yield from _pairs(sets / 'Set14SE' / 'LQ' / f'deg_{number}', sets / 'Set14SE' / 'GTmod12')
    else:
        pool = load_pool(graded / name)
        effective, nominal = (
            effective_positions(np.array(pool.levels)),
            nominal_positions(np.array(pool.nominal)),
        )
        draws = len(pool.lq) // len(photos)
        for row in range(len(pool.lq)):
            if row % draws < sizes.draws:
                gt = pool.gt[row].transpose(1, 2, 0)
                yield Sample(pool.lq[row], gt, SCALE, effective[row], nominal[row])


def _fixed(name: str, photos: list[np.ndarray]) -> Iterator[Sample]:
    for index, photo in enumerate(photos):
        crop = centre_crop((photo.shape[0], photo.shape[1]), SCALE, _SIDE)
        assert crop is not None
        gt = np.ascontiguousarray(crop.cut(photo))
        clean = gt.astype(np.float32) / 255
        record = fixed_record(name, (gt.shape[0], gt.shape[1]), index)
        lq = (apply(record, clean) * 255).round().astype(np.uint8).transpose(2, 0, 1)
        levels = [EFFECTIVE.levels(record, EFFECTIVE.statistics(clean))], [NOMINAL.levels(record)]
        effective, nominal = (np.array(one, np.float32) for one in levels)
        yield Sample(lq, gt, SCALE, effective_positions(effective)[0], nominal_positions(nominal)[0])


def _pairs(lq_folder: Path, gt_folder: Path) -> Iterator[Sample]:
    for path in sorted(lq_folder.iterdir()):
        lq, gt = (cv2.cvtColor(cv2.imread(str(one)), cv2.COLOR_BGR2RGB) for one in (path, gt_folder / path.name))
        height, width = lq.shape[0] * SCALE, lq.shape[1] * SCALE
        yield Sample(lq.transpose(2, 0, 1), gt[:height, :width], 0)


@torch.no_grad()
def scores(
    run: Run | None, folder: Path, estimator: LevelDistribution | None, parts: Iterator[Sample], plain: bool = False
) -> list[float]:
    """PSNR-Y of each image of a part, by a network or, without a run, by bicubic enlargement.

    Args:
        run: The network.
        folder: Of its weights.
        estimator: For a network that is conditioned on estimates.
        parts: The images.
        plain: Whether the deviation of estimates is that of the training, not that at use.
    """
    if run is None:
        return [psnr(_bicubic(one.lq), one) for one in parts]
    net = load_network(folder, run)
    found = []
    for one in parts:
        lq = torch.from_numpy(np.ascontiguousarray(one.lq))[None].float() / 255
        tokens = tokens_for(run, one, lq, estimator, plain)
        output = net(lq, lq.new_zeros(1, 1, tokens.shape[-1]), tokens)
        found.append(psnr((output[0].clamp(0, 1) * 255).round().byte().numpy().transpose(1, 2, 0), one))
    return found


def tokens_for(run: Run, one: Sample, lq: Tensor, estimator: LevelDistribution | None, plain: bool) -> Tensor:
    """The prior's tokens (1, K, D) for an image."""
    known = {'true_effective': one.effective, 'true_nominal': one.nominal}.get(run.prior)
    if known is not None:
        return tokens_of(known[None])
    if run.prior == 'estimated':
        assert estimator is not None
        return (estimator.prior if plain else estimator.prior_at_use)(lq)[1]
    return torch.zeros_like(tokens_of(torch.zeros(1, len(TYPES))))


def psnr(output: np.ndarray, one: Sample) -> float:
    """PSNR-Y of an output (H, W, 3) RGB uint8."""
    images = (np.ascontiguousarray(image[..., ::-1]) for image in (output, one.gt))
    return round(float(calculate_psnr(*images, crop_border=one.border, test_y_channel=True)), 4)


def _bicubic(lq: np.ndarray) -> np.ndarray:
    image = torch.from_numpy(np.ascontiguousarray(lq))[None].float()
    enlarged = torch.nn.functional.interpolate(image, scale_factor=SCALE, mode='bicubic', align_corners=False)
    return enlarged[0].clamp(0, 255).round().byte().numpy().transpose(1, 2, 0)


@torch.no_grad()
def estimates(net: LevelDistribution, pool: Path) -> dict[str, np.ndarray]:
    """True levels, mean and interval (N, K) in 0..1, and distance (N,), of the crops of a pool."""
    loaded = load_pool(pool)
    parts = [net.estimate(torch.from_numpy(loaded.lq[i : i + 64]).float() / 255) for i in range(0, len(loaded.lq), 64)]
    found = {name: torch.cat([getattr(part, name) for part in parts]) for name in ('mean', 'low', 'high', 'distance')}
    found['true'] = effective_positions(np.array(loaded.levels))
    return {name: value.numpy() for name, value in found.items()}
