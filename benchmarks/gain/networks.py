"""Trains SR networks that differ in their prior alone, on pairs made ahead."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import deplsr_arch  # noqa: F401  registers
from benchmarks.gain.estimators import PRIOR_DIM, TYPES, cosine, effective_positions, load_estimator, nominal_positions
from benchmarks.gain.fusions import build_fused
from benchmarks.gain.pairs import Pool, load_pool
from benchmarks.gain.progress import Training
from benchmarks.gain.settings import CONTEXT, LQ_SIZE, SCALE, Run, Sizes, parts_of
from deplsr_arch.number_tokens import distribution_tokens

__all__ = [
    'Pairs',
    'Patches',
    'build',
    'estimated_tokens',
    'load_network',
    'make_step',
    'prior_of',
    'tokens_of',
    'train_network',
]

_RATE, _DROPOUT = 1e-3, 0.1


def build(run: Run) -> nn.Module:
    """The untrained network of a run."""
    return build_fused(run.fusion, len(TYPES), PRIOR_DIM, run.blocks, run.channels)


def tokens_of(positions: Tensor) -> Tensor:
    """Tokens (N, K, D) of levels (N, K) that are known exactly."""
    return distribution_tokens(positions, torch.zeros_like(positions), PRIOR_DIM)


@torch.no_grad()
def estimated_tokens(pool: Path, count: int, estimator: Path, suffix: str = '') -> Tensor:
    """What an estimator finds in the first ``count`` crops of a pool; kept as POOL SUFFIX.npy at the estimator."""
    kept = estimator / f'{pool.name}{suffix}.npy'
    if not kept.exists():
        net, lq = load_estimator(estimator), load_pool(pool).lq[:count]
        found = [net.prior(torch.from_numpy(lq[i : i + 64]).float() / 255)[1] for i in range(0, count, 64)]
        np.save(kept, torch.cat(found).numpy())
    return torch.from_numpy(np.load(kept))


def prior_of(run: Run, pool_folder: Path, pool: Pool, count: int, estimators: Path) -> Tensor:
    """The prior's tokens (count, K, D) of the first crops of a pool."""
    if run.prior == 'constant':
        return torch.zeros(count, len(TYPES), PRIOR_DIM)
    if run.prior == 'estimated':
        return estimated_tokens(pool_folder, count, estimators / run.estimator)
    if run.prior == 'true_nominal':
        return tokens_of(nominal_positions(np.array(pool.nominal[:count])))
    return tokens_of(effective_positions(np.array(pool.levels[:count])))


class Pairs(NamedTuple):
    """A pool, and the prior's tokens of its crops."""

    pool: Pool
    tokens: Tensor


class Patches(NamedTuple):
    """What a batch is made of: patches, their side in LR pixels, and the crops of a pool that they come from."""

    batch: int = 16
    side: int = LQ_SIZE
    crops: int = Sizes.pairs
    scale: int = SCALE


def train_network(folder: Path, pools: Path, estimators: Path, run: Run, sizes: Sizes) -> None:
    """Trains the network of a run; all runs of one seed and recipe see the same batches. Resumed from its state."""
    if (folder / 'weights.pth').exists():
        return
    parts = parts_of(run.recipe)
    pairs = []
    for name in parts:
        pool = load_pool(pools / name)
        pairs.append(Pairs(pool, prior_of(run, pools / name, pool, sizes.pairs, estimators)))
    torch.manual_seed(run.seed)
    net = build(run).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(net.parameters(), _RATE, betas=(0.9, 0.99))
    total = int(sizes.steps * run.share)
    patches = Patches(crops=sizes.pairs)
    training, weights = Training(folder, net, optimizer, total), np.array(list(parts.values()))
    for step in training.steps():
        rng = np.random.default_rng((run.seed, step, 1))
        rate = _RATE * cosine(step / total)
        training.record(step, make_step(net, optimizer, rate, pairs, weights, patches, rng))
    training.finish()


def make_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    rate: float,
    pairs: list[Pairs],
    weights: np.ndarray,
    patches: Patches,
    rng: np.random.Generator,
) -> float:
    """Makes a step on a batch of patches, some of them without their prior; returns the loss (L1)."""
    for group in optimizer.param_groups:
        group['lr'] = rate
    lq, gt, tokens = draw_batch(pairs, weights, patches, rng)
    kept = torch.from_numpy(rng.random(patches.batch) >= _DROPOUT)
    loss = (net(lq, lq.new_zeros(patches.batch, 1, PRIOR_DIM), tokens * kept[:, None, None]) - gt).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def draw_batch(
    pairs: list[Pairs], weights: np.ndarray, patches: Patches, rng: np.random.Generator
) -> tuple[Tensor, ...]:
    """Draws LR patches (B, 3, h, h) and GT (B, 3, scale h, scale h) in 0..1, and the tokens of their crops."""
    lq, gt, tokens = [], [], []
    for place in rng.choice(len(pairs), patches.batch, p=weights):
        row = int(rng.integers(patches.crops))
        top, left = rng.integers(CONTEXT - patches.side + 1, size=2)
        flips = rng.random(3) < 0.5
        for images, pixels, times in ((lq, pairs[place].pool.lq, 1), (gt, pairs[place].pool.gt, patches.scale)):
            y, x, side = top * times, left * times, patches.side * times
            image = pixels[row, :, y : y + side, x : x + side]
            image = image[..., ::-1] if flips[0] else image
            image = image[..., ::-1, :] if flips[1] else image
            images.append(image.transpose(0, 2, 1) if flips[2] else image)
        tokens.append(pairs[place].tokens[row])
    images = (torch.from_numpy(np.stack(one)).to(memory_format=torch.channels_last).float() / 255 for one in (lq, gt))
    return *images, torch.stack(tokens)


def load_network(folder: Path, run: Run) -> nn.Module:
    """A trained network."""
    net = build(run).eval()
    net.load_state_dict(torch.load(folder / 'weights.pth', weights_only=True))
    return net.to(memory_format=torch.channels_last)
