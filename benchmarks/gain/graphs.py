"""Trains several small SR networks at a time on a GPU: each step is a CUDA graph, each network has its own stream.

A step of such a network is a few hundred short kernels, which a GPU runs faster than Python starts them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gain.batches import Batches, Patches
from benchmarks.gain.estimators import PRIOR_DIM
from benchmarks.gain.pairs import load_pool
from benchmarks.gain.progress import Training

__all__ = ['Crops', 'GraphTraining', 'gather_batch', 'load_crops', 'train_together']

_CHUNK, _AHEAD = 50, 2  # steps that are started at once; how many chunks the GPU has to do at most
_SAVE_EVERY = 5000
_LONG = 10_000  # longer trainings go first on the GPU
_WARM_UP = 3  # steps before a graph is captured, in which the libraries choose their kernels


class Crops(NamedTuple):
    """Pairs of several recipes in the memory of a GPU: lq (N, 3, h, w) and gt (N, 3, H, W) uint8; first row of each."""

    lq: Tensor
    gt: Tensor
    first: dict[str, int]


def load_crops(pools: Path, names: Sequence[str], count: int, device: str = 'cuda') -> Crops:
    """Loads the first ``count`` pairs of each pool."""
    loaded = [load_pool(pools / name) for name in names]
    lq, gt = (
        torch.empty(len(names) * count, *getattr(loaded[0], part).shape[1:], dtype=torch.uint8, device=device)
        for part in ('lq', 'gt')
    )
    for number, pool in enumerate(loaded):
        rows = slice(count * number, count * (number + 1))
        lq[rows].copy_(torch.from_numpy(np.array(pool.lq[:count])))
        gt[rows].copy_(torch.from_numpy(np.array(pool.gt[:count])))
    return Crops(lq, gt, {name: count * number for number, name in enumerate(names)})


class GraphTraining:
    """A training on pairs in the memory of a GPU; resumed from the state in its folder.

    Args:
        folder: See :class:`~benchmarks.gain.progress.Training`.
        net: The network, in training mode. average: Its moving average, if one is kept.
        crops: The pairs. names: The recipes that are trained on, in the order of the batches' weights.
        tokens: The prior of each pair (N, K, D).
        batches: Which patches each batch is made of.
        rates: The learning rate of each step. decays: The decay of the average at each step.
        amp: Whether it is trained in bfloat16, by autocast.
    """

    def __init__(
        self,
        folder: Path,
        net: nn.Module,
        crops: Crops,
        names: Sequence[str],
        tokens: Tensor,
        batches: Batches,
        rates: Sequence[float],
        average: nn.Module | None = None,
        decays: Sequence[float] = (),
        amp: bool = False,
    ) -> None:
        device = crops.lq.device
        self._net, self._average = net, average
        self._crops, self._tokens, self._patches, self._amp = crops, tokens, batches.patches, amp
        self._total = len(rates)
        rows = batches.first(self._total).copy()
        rows[..., 1] += np.array([crops.first[name] for name in names], np.int32)[rows[..., 0]]
        self._rows = torch.from_numpy(rows).to(device)
        self._rates, self._decays = (torch.tensor(list(one), device=device) for one in (rates, decays))
        self._losses = torch.zeros(self._total, device=device)
        rate = torch.tensor(0.0, device=device)
        self._optimizer = torch.optim.Adam(net.parameters(), rate, betas=(0.9, 0.99), capturable=True, fused=True)
        self._training = Training(folder, net, self._optimizer, self._total, average, saves=False)
        self.step = self._started = self._training.first
        self._at = torch.full((1,), self.step, device=device)
        priority = -1 if self._total > _LONG else 0
        self._stream, self._under_way = torch.cuda.Stream(priority=priority), deque[tuple[int, torch.cuda.Event]]()
        self._capture()

    def _capture(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream())
        first = min(_WARM_UP, self._total - self.step)
        with torch.cuda.stream(self._stream):
            for _ in range(first):
                self._optimizer.zero_grad(set_to_none=True)
                self._make_step()
            self._started += first
            self._record(first)
        self._stream.synchronize()
        self._optimizer.zero_grad(set_to_none=True)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._make_step()

    def _make_step(self) -> None:
        """Makes the step whose number is in ``_at``; reads and writes nothing on the CPU."""
        self._optimizer.param_groups[0]['lr'].copy_(self._rates.index_select(0, self._at)[0])
        rows = self._rows.index_select(0, self._at)[0].long()
        lq, gt, tokens = gather_batch(self._crops, self._tokens, self._patches, rows)
        with torch.autocast('cuda', torch.bfloat16, enabled=self._amp, cache_enabled=False):
            output = self._net(lq, lq.new_zeros(len(lq), 1, PRIOR_DIM), tokens)
        loss = (output.float() - gt).abs().mean()
        loss.backward()
        self._optimizer.step()
        if self._average is not None:
            weights, averaged = list(self._net.parameters()), list(self._average.parameters())
            with torch.no_grad():
                change = torch._foreach_sub(weights, averaged)
                torch._foreach_mul_(change, 1 - self._decays.index_select(0, self._at)[0])
                torch._foreach_add_(averaged, change)
        self._losses.index_copy_(0, self._at, loss.detach()[None])
        self._at += 1

    def advance(self, until: int | None = None) -> bool:
        """Starts further steps unless the GPU has enough to do; True when ``until``, or all, are done."""
        last = self._total if until is None else until
        while self._under_way and self._under_way[0][1].query():
            self._record(self._under_way.popleft()[0])
        if len(self._under_way) < _AHEAD and self._started < last:
            steps = min(_CHUNK, last - self._started)
            with torch.cuda.stream(self._stream):
                for _ in range(steps):
                    self._graph.replay()
                event = torch.cuda.Event()
                event.record()
            self._under_way.append((steps, event))
            self._started += steps
        return self.step == last

    def save(self) -> None:
        """Waits for the steps that were started, and saves the state."""
        self._stream.synchronize()
        while self._under_way:
            self._record(self._under_way.popleft()[0])
        self._training.save(self.step)

    def finish(self) -> None:
        """Writes the weights and the log."""
        self._training.finish()

    def _record(self, steps: int) -> None:
        """Records the losses of steps that are done."""
        for loss in self._losses[self.step : self.step + steps].tolist():
            self._training.record(self.step, loss)
            self.step += 1
        if self.step // _SAVE_EVERY > (self.step - steps) // _SAVE_EVERY:
            self.save()


def gather_batch(crops: Crops, tokens: Tensor, patches: Patches, rows: Tensor) -> tuple[Tensor, ...]:
    """As :func:`benchmarks.gain.networks.take_batch`, but rows (B, 8) number the crops of all recipes together."""
    side, scale = patches.side, patches.scale
    _, row, top, left, in_x, in_y, diagonal, kept = rows.unbind(1)
    turns = (in_x, in_y, diagonal)
    lq = _gather(crops.lq, row, top, left, side, *turns)
    return (
        lq,
        _gather(crops.gt, row, scale * top, scale * left, scale * side, *turns),
        tokens[row] * kept[:, None, None],
    )


def _gather(
    images: Tensor, row: Tensor, top: Tensor, left: Tensor, side: int, in_x: Tensor, in_y: Tensor, diagonal: Tensor
) -> Tensor:
    """Cuts patches (B, 3, side, side) in 0..1, strides of channels_last, out of images (N, 3, h, w) uint8."""
    along = torch.arange(side, device=images.device)
    y = top[:, None] + torch.where(in_y[:, None] > 0, side - 1 - along, along)
    x = left[:, None] + torch.where(in_x[:, None] > 0, side - 1 - along, along)
    turned = diagonal[:, None, None] > 0
    ys = torch.where(turned, y[:, None, :], y[:, :, None])
    xs = torch.where(turned, x[:, :, None], x[:, None, :])
    return images[row[:, None, None], :, ys, xs].permute(0, 3, 1, 2).float() / 255


def train_together(
    pending: list[str],
    start: Callable[[str], GraphTraining | None],
    at_once: int,
    deadline: float,
) -> list[str]:
    """Trains networks, several at a time.

    Args:
        pending: Their names, in order.
        start: Returns the training of a name, or None as long as something that it needs is missing.
        at_once: Trainings at a time.
        deadline: Then states are saved; in the units of time.time().

    Returns:
        The names that are not finished.
    """
    active: dict[str, GraphTraining] = {}
    left, looked = list(pending), 0.0
    while (left or active) and time.time() < deadline:
        if len(active) < at_once and left and time.time() > looked + 1:
            for name in list(left):
                training = start(name)
                if training is not None:
                    active[name] = training
                    left.remove(name)
                if len(active) == at_once:
                    break
            looked = time.time()
        for name, training in list(active.items()):
            if training.advance():
                training.finish()
                del active[name]
                looked = 0.0
                print(f'{name}: done, {len(active)} under way, {len(left)} left', flush=True)
        time.sleep(0.0005 if active else 0.5)
    for training in active.values():
        training.save()
    return [*active, *left]
