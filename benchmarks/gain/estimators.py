"""Trains and calibrates a degradation estimator on the crops of the pools."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.gain.pairs import EFFECTIVE, NOMINAL, Pool, load_pool
from benchmarks.gain.progress import Training
from benchmarks.gain.settings import BEYOND, ESTIMATORS, Sizes, parts_of
from deplsr_arch.level_distribution_arch import LevelDistribution
from deplsr_model.calibration import calibrate, level_cross_entropy
from deplsr_model.level_text import level_positions

PRIOR_DIM = 32
CALIBRATION_PHOTOS = 9  #: every so many of the training photos calibrate and do not train
_BATCH, _RATE = 32, 2e-3
_SIDES = (64, 64, 56, 48)  #: of the crops; smaller ones begin anywhere in a JPEG block

TYPES = EFFECTIVE.names


def effective_positions(levels: np.ndarray) -> Tensor:
    """Effective levels (N, 8) in 0..1."""
    return level_positions(torch.from_numpy(levels), EFFECTIVE)


def nominal_positions(levels: np.ndarray) -> Tensor:
    """Nominal levels (N, 5) in 0..1, followed by zeros up to the number of effective ones: (N, 8)."""
    found = level_positions(torch.from_numpy(levels), NOMINAL)
    return torch.nn.functional.pad(found, (0, len(TYPES) - found.shape[1]))


def build() -> LevelDistribution:
    """The untrained estimator."""
    return LevelDistribution(prior_dim=PRIOR_DIM, num_degradation_types=len(TYPES))


def train_estimator(
    folder: Path, pools: Path, training: str, groups: np.ndarray, sizes: Sizes, device: str = 'cpu', seed: int = 0
) -> None:
    """Trains an estimator and calibrates it; resumed from its last state.

    Args:
        folder: Where its state is kept; ``weights.pth`` at the end.
        pools: Folder of the pools.
        training: See :func:`~benchmarks.gain.settings.parts_of`.
        groups: Group of each training photo; crops of one photo belong to one group.
        sizes: How much is trained.
        device: Device of torch.
        seed: Of weights and batches.
    """
    if (folder / 'weights.pth').exists():
        return
    parts = parts_of(training)
    loaded = [_Crops(load_pool(pools / name), sizes.pairs, groups) for name in parts]
    torch.manual_seed(seed)
    net = build().to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), _RATE, betas=(0.9, 0.98), weight_decay=0.05)
    total = int(sizes.estimator_steps * ESTIMATORS[training])
    run = Training(folder, net, optimizer, total)
    weights = np.array(list(parts.values()))
    for step in run.steps():
        rng = np.random.default_rng((seed, step))
        for group in optimizer.param_groups:
            group['lr'] = _RATE * min(1, (step + 1) / 200) * cosine(step / total)
        counts = rng.multinomial(_BATCH, weights)
        drawn = [crops.draw(count, rng) for crops, count in zip(loaded, counts, strict=True) if count]
        lq, positions = (torch.cat(column) for column in zip(*drawn, strict=True))
        lq = augment(lq.to(device), rng)
        loss = level_cross_entropy(net(lq), positions.to(device)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.record(step, float(loss.detach()))
    lq, positions = calibration_crops(loaded, weights)
    beyond = {TYPES.index(name): torch.from_numpy(load_pool(pools / f'beyond_{name}').lq[:]) for name in BEYOND}
    calibrate(net, list(zip(lq.split(64), positions.split(64), strict=True)), beyond)
    run.finish()


def cosine(progress: float) -> float:
    """Factor of the learning rate."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def augment(lq: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops, flips and turns a batch (B, 3, h, w) uint8; float in 0..1."""
    side = int(rng.choice(_SIDES))
    top, left = rng.integers(lq.shape[-1] - side + 1, size=2)
    lq = lq[..., top : top + side, left : left + side]
    flips = rng.random(3) < 0.5
    lq = lq.flip(-1) if flips[0] else lq
    lq = lq.flip(-2) if flips[1] else lq
    lq = lq.transpose(-1, -2) if flips[2] else lq
    return lq.contiguous(memory_format=torch.channels_last).float() / 255


class _Crops:
    """The crops of a pool that train and those that calibrate."""

    def __init__(self, pool: Pool, first: int, groups: np.ndarray) -> None:
        self.pool = pool
        calibrates = groups[np.asarray(pool.photo)] % CALIBRATION_PHOTOS == 0
        later = np.arange(len(pool.lq)) >= first
        self.training = np.flatnonzero(later & ~calibrates)
        self.calibration = np.flatnonzero(calibrates)  # SR networks train on some, estimators on none
        self.positions = effective_positions(np.array(pool.levels))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        rows = self.training[rng.integers(len(self.training), size=count)]
        return torch.from_numpy(self.pool.lq[np.sort(rows)]), self.positions[np.sort(rows)]


def calibration_crops(loaded: list[_Crops], weights: np.ndarray) -> tuple[Tensor, Tensor]:
    """Crops of the calibration photos, in the proportions of the weights."""
    most = min(len(crops.calibration) / weight for crops, weight in zip(loaded, weights, strict=True))
    kept = [crops.calibration[: max(1, int(weight * most))] for crops, weight in zip(loaded, weights, strict=True)]
    lq = [torch.from_numpy(crops.pool.lq[rows]) for crops, rows in zip(loaded, kept, strict=True)]
    positions = [crops.positions[rows] for crops, rows in zip(loaded, kept, strict=True)]
    return torch.cat(lq), torch.cat(positions)


def load_estimator(folder: Path) -> LevelDistribution:
    """A trained and calibrated estimator."""
    net = build().eval()
    net.load_state_dict(torch.load(folder / 'weights.pth', weights_only=True))
    return net.to(memory_format=torch.channels_last)
