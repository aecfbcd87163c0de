"""Trains and calibrates a degradation estimator on the crops of the pools."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gain.pairs import EFFECTIVE, NOMINAL, Pool, load_pool
from benchmarks.gain.progress import Training
from benchmarks.gain.settings import BEYOND, ESTIMATORS, Sizes, parts_of
from deplsr_arch.level_distribution_arch import LevelDistribution
from deplsr_model.calibration import calibrate, level_cross_entropy
from deplsr_model.level_text import level_positions

PRIOR_DIM = 32
CALIBRATION_PHOTOS = 9  #: every so many of the training photos calibrate and do not train
_BATCH, _RATE = 32, 2e-3
_WARM_UP = 3  # steps of a size before its graph is captured
_SIDES = (64, 64, 56, 48)  #: of the crops; smaller ones begin anywhere in a JPEG block

TYPES = EFFECTIVE.names


def effective_positions(levels: np.ndarray) -> Tensor:
    """Effective levels (N, 8) in 0..1."""
    return level_positions(torch.from_numpy(levels), EFFECTIVE)


def nominal_positions(levels: np.ndarray) -> Tensor:
    """Nominal levels (N, 5) in 0..1, followed by zeros up to the number of effective ones: (N, 8)."""
    found = level_positions(torch.from_numpy(levels), NOMINAL)
    return torch.nn.functional.pad(found, (0, len(TYPES) - found.shape[1]))


def build(members: int = 1) -> LevelDistribution:
    """The untrained estimator."""
    return LevelDistribution(prior_dim=PRIOR_DIM, num_degradation_types=len(TYPES), members=members)


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
    loaded = load_crops(pools, parts, groups, sizes)
    torch.manual_seed(seed)
    net = build().to(device, memory_format=torch.channels_last).train()
    step_of = Step(net) if device == 'cpu' else _GraphStep(net)
    run = Training(folder, net, step_of.optimizer, int(sizes.estimator_steps * ESTIMATORS[training]))
    weights = np.array(list(parts.values()))
    fit(run, step_of, loaded, weights, device, seed)
    calibrate_on(net, pools, loaded, weights)
    run.finish()


def calibrate_on(net: LevelDistribution, pools: Path, loaded: list[Crops], weights: np.ndarray) -> None:
    """Calibrates an estimator on the crops of the calibration photos."""
    lq, positions = calibration_crops(loaded, weights)
    beyond = {TYPES.index(name): torch.from_numpy(load_pool(pools / f'beyond_{name}').lq[:]) for name in BEYOND}
    calibrate(net, list(zip(lq.split(64), positions.split(64), strict=True)), beyond)


def load_crops(pools: Path, parts: Iterable[str], groups: np.ndarray, sizes: Sizes) -> list[Crops]:
    """The crops of the recipes of a training."""
    return [Crops(load_pool(pools / name), sizes.pairs, groups) for name in parts]


def fit(run: Training, step_of: Step, loaded: list[Crops], weights: np.ndarray, device: str, seed: int) -> None:
    """Makes the steps that are left of a training; which crops each has depends on seed and step alone."""
    for step in run.steps():
        rng = np.random.default_rng((seed, step))
        counts = rng.multinomial(_BATCH, weights)
        drawn = [crops.draw(count, rng) for crops, count in zip(loaded, counts, strict=True) if count]
        lq, positions = (torch.cat(column) for column in zip(*drawn, strict=True))
        rate = _RATE * min(1, (step + 1) / 200) * cosine(step / run.total)
        run.record(step, step_of(augment(lq.to(device), rng), positions.to(device), rate))


class Step:
    """Makes a training step; returns its loss.

    A subclass for another network overrides :meth:`loss`.
    """

    def __init__(self, net: nn.Module, rate: float | Tensor = 0.0, **options: bool) -> None:
        self._net = net
        self.optimizer = torch.optim.AdamW(net.parameters(), rate, (0.9, 0.98), weight_decay=0.05, **options)

    def __call__(self, lq: Tensor, positions: Tensor, rate: float) -> float:
        """Makes a step with crops (B, 3, h, w) in 0..1 and their true levels (B, K) in 0..1."""
        self.optimizer.param_groups[0]['lr'] = rate
        self.optimizer.zero_grad()
        return float(self._make(lq, positions))

    def loss(self, output: Tensor, positions: Tensor) -> Tensor:
        """Returns the loss of the network's output for true levels (B, K) in 0..1."""
        return level_cross_entropy(output, positions).mean()

    def _make(self, lq: Tensor, positions: Tensor) -> Tensor:
        loss = self.loss(self._net(lq), positions)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class _GraphStep(Step):
    """The same on a GPU, by a CUDA graph for each side of the crops."""

    def __init__(self, net: LevelDistribution) -> None:
        super().__init__(net, torch.tensor(0.0, device=net.temperature.device), capturable=True)
        self._stream, self._seen = torch.cuda.Stream(), Counter[int]()
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor]] = {}

    def __call__(self, lq: Tensor, positions: Tensor, rate: float) -> float:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self.optimizer.param_groups[0]['lr'].fill_(rate)
            side = lq.shape[-1]
            self._seen[side] += 1
            if side not in self._graphs:
                self.optimizer.zero_grad(set_to_none=True)
                loss = self._make(lq, positions)
                if self._seen[side] == _WARM_UP:
                    self._capture(side, lq, positions)
                return float(loss)
            graph, *inputs, loss = self._graphs[side]
            for kept, given in zip(inputs, (lq, positions), strict=True):
                kept.copy_(given)
            graph.replay()
            return float(loss)

    def _capture(self, side: int, lq: Tensor, positions: Tensor) -> None:
        self._stream.synchronize()
        self.optimizer.zero_grad(set_to_none=True)
        graph, inputs = torch.cuda.CUDAGraph(), (lq.clone(), positions.clone())
        with torch.cuda.graph(graph, stream=self._stream):
            loss = self._make(*inputs)
        self._graphs[side] = (graph, *inputs, loss)


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


class Crops:
    """The crops of a pool that train and those that calibrate."""

    def __init__(self, pool: Pool, first: int, groups: np.ndarray) -> None:
        self.pool = pool
        calibrates = groups[np.asarray(pool.photo)] % CALIBRATION_PHOTOS == 0
        later = np.arange(len(pool.lq)) >= first
        self.training = np.flatnonzero(later & ~calibrates)
        self.calibration = np.flatnonzero(calibrates)  # SR networks train on some, estimators on none
        self.positions = effective_positions(np.array(pool.levels))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns crops (count, 3, h, w) uint8 to train on, and their true levels (count, K) in 0..1."""
        rows = self.training[rng.integers(len(self.training), size=count)]
        return torch.from_numpy(self.pool.lq[np.sort(rows)]), self.positions[np.sort(rows)]


def calibration_crops(loaded: list[Crops], weights: np.ndarray) -> tuple[Tensor, Tensor]:
    """Crops of the calibration photos, in the proportions of the weights."""
    most = min(len(crops.calibration) / weight for crops, weight in zip(loaded, weights, strict=True))
    kept = [crops.calibration[: max(1, int(weight * most))] for crops, weight in zip(loaded, weights, strict=True)]
    lq = [torch.from_numpy(crops.pool.lq[rows]) for crops, rows in zip(loaded, kept, strict=True)]
    positions = [crops.positions[rows] for crops, rows in zip(loaded, kept, strict=True)]
    return torch.cat(lq), torch.cat(positions)


def load_estimator(folder: Path, members: int = 1) -> LevelDistribution:
    """A trained and calibrated estimator."""
    net = build(members).eval()
    net.load_state_dict(torch.load(folder / 'weights.pth', weights_only=True))
    return net.to(memory_format=torch.channels_last)
