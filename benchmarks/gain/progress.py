"""The state of a training on disk, so that it can be stopped at any time and resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from basicsr_plugin.atomic import save_tensors

_EVERY = 250


class Training:
    """Counts the steps of a training and saves its state every 250 steps.

    Args:
        folder: Where ``state.pth`` and, at the end, ``weights.pth`` and ``log.json`` are written.
        net: The network. optimizer: Its optimizer. Both are set to the saved state.
        total: Steps.
        average: The moving average of the network, if one is kept; it is saved and, in the end, written.
        saves: Whether the state is saved every 250 steps; otherwise by :meth:`save` only.

    Attributes:
        first: The step that it begins or is resumed with.
        total: Steps.
    """

    def __init__(
        self,
        folder: Path,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        total: int,
        average: nn.Module | None = None,
        saves: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._net, self._optimizer, self.total = folder, net, optimizer, total
        self._average, self._saves, self._device = average, saves, next(net.parameters()).device.type
        self.first, self._losses, self._seconds = 0, list[float](), 0.0
        state = folder / 'state.pth'
        if state.exists():
            saved = torch.load(state, map_location=self._device, weights_only=True)
            if saved.get('device', 'cpu') != self._device:
                raise SystemExit(
                    f'{folder}: expected a training on {self._device}, got one on {saved["device"]}; take its device'
                )
            if saved['total'] != total:
                raise SystemExit(f'{folder}: expected a training of {total} steps, got one of {saved["total"]}')
            net.load_state_dict(saved['net'])
            optimizer.load_state_dict(saved['optimizer'])
            if average is not None:
                average.load_state_dict(saved['average'])
            self.first, self._losses, self._seconds = saved['step'], saved['losses'], saved['seconds']
        self._began, self._recent = time.time(), list[float]()

    def steps(self) -> Iterator[int]:
        """Yields the steps that are left."""
        bar = tqdm(range(self.first, self.total), self._folder.name, self.total - self.first, leave=False)
        yield from bar

    def record(self, step: int, loss: float) -> None:
        """Records the loss of a finished step; saves every so often."""
        self._recent.append(loss)
        if (step + 1) % _EVERY == 0 or step + 1 == self.total:
            self._losses.append(round(sum(self._recent) / len(self._recent), 5))
            self._recent = []
            if self._saves:
                self.save(step + 1)

    def finish(self) -> None:
        """Writes the weights and the log."""
        seconds = round(self._seconds + time.time() - self._began)
        log = {'steps': self.total, 'seconds': seconds, 'every': _EVERY, 'losses': self._losses}
        (self._folder / 'log.json').write_text(json.dumps(log), encoding='utf-8')
        net = self._net if self._average is None else self._average
        save_tensors({name: value.cpu() for name, value in net.state_dict().items()}, self._folder / 'weights.pth')

    def save(self, step: int) -> None:
        """Saves the state after so many steps."""
        state = {
            'net': self._net.state_dict(), 'optimizer': self._optimizer.state_dict(), 'step': step,
            'losses': self._losses, 'seconds': self._seconds + time.time() - self._began, 'total': self.total,
            'device': self._device,
        }  # fmt: skip
        if self._average is not None:
            state['average'] = self._average.state_dict()
        save_tensors(state, self._folder / 'state.pth')
