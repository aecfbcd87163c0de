"""Trains SR networks that differ in their prior alone, on pairs made ahead."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import deplsr_arch  # noqa: F401  registers
from basicsr_plugin.atomic import write_file
from benchmarks.gain.batches import Batches, Patches
from benchmarks.gain.estimators import PRIOR_DIM, TYPES, cosine, effective_positions, load_estimator, nominal_positions
from benchmarks.gain.fusions import build_fused
from benchmarks.gain.pairs import Pool, load_pool
from benchmarks.gain.progress import Training
from benchmarks.gain.settings import Run, Sizes, parts_of
from deplsr_arch.number_tokens import distribution_tokens

__all__ = [
    'RATE',
    'Pairs',
    'build',
    'estimated_tokens',
    'load_network',
    'make_step',
    'prior_of',
    'take_batch',
    'tokens_of',
    'train_network',
]

RATE = 1e-3  #: at first; it falls along half a cosine


def build(run: Run) -> nn.Module:
    """The untrained network of a run."""
    return build_fused(run.fusion, len(TYPES), PRIOR_DIM, run.blocks, run.channels)


def tokens_of(positions: Tensor) -> Tensor:
    """Tokens (N, K, D) of levels (N, K) that are known exactly."""
    return distribution_tokens(positions, torch.zeros_like(positions), PRIOR_DIM)


@torch.no_grad()
def estimated_tokens(pool: Path, count: int, estimator: Path, suffix: str = '', device: str = 'cpu') -> Tensor:
    """What an estimator finds in the first ``count`` crops of a pool; kept as POOL SUFFIX.npy at the estimator."""
    kept = estimator / f'{pool.name}{suffix}.npy'
    if not kept.exists():
        net, lq = load_estimator(estimator).to(device), load_pool(pool).lq[:count]
        found = [net.prior(torch.from_numpy(lq[i : i + 64]).to(device).float() / 255)[1] for i in range(0, count, 64)]
        buffer = io.BytesIO()
        np.save(buffer, torch.cat(found).cpu().numpy())
        write_file(kept, buffer.getvalue())  # other trainings look for it at the same time
    return torch.from_numpy(np.load(kept))


def prior_of(run: Run, pool_folder: Path, pool: Pool, count: int, estimators: Path, device: str = 'cpu') -> Tensor:
    """The prior's tokens (count, K, D) of the first crops of a pool."""
    if run.prior == 'constant':
        return torch.zeros(count, len(TYPES), PRIOR_DIM)
    if run.prior == 'estimated':
        return estimated_tokens(pool_folder, count, estimators / run.estimator, device=device)
    if run.prior == 'true_nominal':
        return tokens_of(nominal_positions(np.array(pool.nominal[:count])))
    return tokens_of(effective_positions(np.array(pool.levels[:count])))


class Pairs(NamedTuple):
    """A pool, and the prior's tokens of its crops."""

    pool: Pool
    tokens: Tensor


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
    optimizer = torch.optim.Adam(net.parameters(), RATE, betas=(0.9, 0.99))
    total = int(sizes.steps * run.share)
    batches = Batches(run.seed, parts, Patches(crops=sizes.pairs))
    training = Training(folder, net, optimizer, total)
    for step in training.steps():
        loss = make_step(net, optimizer, RATE * cosine(step / total), pairs, batches.patches, batches[step])
        training.record(step, loss)
    training.finish()


def make_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    rate: float,
    pairs: list[Pairs],
    patches: Patches,
    rows: np.ndarray,
) -> float:
    """Makes a step on a batch of patches, some of them without their prior; returns the loss (L1)."""
    for group in optimizer.param_groups:
        group['lr'] = rate
    lq, gt, tokens = take_batch(pairs, patches, rows)
    loss = (net(lq, lq.new_zeros(len(lq), 1, PRIOR_DIM), tokens) - gt).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def take_batch(pairs: list[Pairs], patches: Patches, rows: np.ndarray) -> tuple[Tensor, ...]:
    """Returns LR patches (B, 3, h, w) and GT (B, 3, scale h, scale w) in 0..1, and the tokens of their crops."""
    lq, gt, tokens = [], [], []
    for recipe, row, top, left, in_x, in_y, diagonal, kept in rows.tolist():
        for images, pixels, times in ((lq, pairs[recipe].pool.lq, 1), (gt, pairs[recipe].pool.gt, patches.scale)):
            y, x, side = top * times, left * times, patches.side * times
            image = pixels[row, :, y : y + side, x : x + side]
            image = image[..., ::-1] if in_x else image
            image = image[..., ::-1, :] if in_y else image
            images.append(image.transpose(0, 2, 1) if diagonal else image)
        tokens.append(pairs[recipe].tokens[row] * kept)
    images = (torch.from_numpy(np.stack(one)).to(memory_format=torch.channels_last).float() / 255 for one in (lq, gt))
    return *images, torch.stack(tokens)


def load_network(folder: Path, run: Run) -> nn.Module:
    """A trained network."""
    net = build(run).eval()
    net.load_state_dict(torch.load(folder / 'weights.pth', weights_only=True))
    return net.to(memory_format=torch.channels_last)
