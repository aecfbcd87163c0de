"""Mixed precision, gradient accumulation and clipping: how a loss becomes a step of an optimizer."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn

from basicsr_plugin.errors import OptionError

__all__ = ['AMP_TYPES', 'Amp', 'Throughput', 'TrainingStep', 'autocast', 'check_amp']

#: The values of option ``amp``.
Amp = Literal['bf16', 'fp16']
AMP_TYPES: Mapping[str, torch.dtype] = {'bf16': torch.bfloat16, 'fp16': torch.float16}

_STATE_KEY = 'training_step'


def autocast(device: torch.device, amp: Amp | None) -> torch.autocast:
    """Returns a context in which a network computes in the precision of option ``amp``; without one, in its own.

    No optimizer may step within the context: it caches the weights in the lower precision.
    """
    return torch.autocast(device.type, AMP_TYPES.get(amp or '', torch.bfloat16), enabled=amp is not None)


class TrainingStep:
    """Collects gradients and steps an optimizer: backward, unscale, clip, step, zero.

    An iteration is one batch. Gradients of ``accumulate`` batches are averaged for a step of the optimizer, so that
    only every so many-th iteration changes the weights; the learning rate of a step is that of its iteration. Losses
    are scaled for fp16 (torch's GradScaler, which skips a step whose gradients overflow). A step whose loss or norm of
    gradients is not finite, in any process, is skipped: :attr:`skipped`, :attr:`skipped_in_row`.

    What a resumed run needs, the batches and gradients collected so far and the state of the scaler, is part of
    the optimizer's state dict, so it is saved and resumed wherever that is.

    Args:
        optimizer: What steps.
        device: Where its parameters are.
        amp: Precision of the networks.
        accumulate: Batches of a step.
        clip_grad_norm: Largest norm of all gradients together; None for any.
        net: The network of the parameters. A skipped step takes back what its batches did to its buffers, such as the
            running averages of batch norms.

    Attributes:
        skipped: Why the latest step was skipped; None if it was not, or no group ended.
        skipped_in_row: Number of steps that have been skipped since the last that was not.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        amp: Amp | None = None,
        accumulate: int = 1,
        clip_grad_norm: float | None = None,
        net: nn.Module | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._accumulate = accumulate
        self._clip_grad_norm = clip_grad_norm
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp == 'fp16')
        self._batches = 0
        self._used = False
        self._loss: Tensor | None = None
        self._norm: float | None = None
        self.skipped: str | None = None
        self.skipped_in_row = 0
        self._buffers = [] if net is None else _saved_buffers(net)
        self._good_buffers = [buffer.clone() for buffer in self._buffers]
        optimizer.register_state_dict_post_hook(self._add_state)
        optimizer.register_load_state_dict_pre_hook(self._take_state)
        if accumulate > 1 or self._scaler.is_enabled():  # BasicSR steps its schedulers in every iteration
            warnings.filterwarnings('ignore', message='Detected call of `lr_scheduler.step')

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a loss of the current batch, which may have several."""
        self._scaler.scale(loss).backward()
        detached = loss.detach().float()
        self._loss = detached if self._loss is None else self._loss + detached
        self._used = True

    def step(self, last: bool = False) -> bool:
        """Ends a batch; steps the optimizer if enough are collected.

        Args:
            last: Whether no batch follows; an incomplete group then makes a step of its own.

        Returns:
            Whether the optimizer made a step.
        """
        self.skipped = None
        self._batches += self._used
        self._used = False
        if not self._batches or (self._batches < self._accumulate and not last):
            return False
        if self._batches > 1:
            for parameter in self._parameters():
                if parameter.grad is not None:
                    parameter.grad /= self._batches
        self._scaler.unscale_(self._optimizer)
        self.skipped = self._why_not_finite(self._clip())
        if self.skipped is None:
            self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        self._batches, self._loss = 0, None
        self.skipped_in_row = 0 if self.skipped is None else self.skipped_in_row + 1
        self._keep_buffers()
        return self.skipped is None

    @torch.no_grad()
    def _keep_buffers(self) -> None:
        """Keeps the buffers of a good step; takes them back after one that is skipped."""
        pair = (self._good_buffers, self._buffers)
        if self._buffers:
            torch._foreach_copy_(*(pair if self.skipped is None else reversed(pair)))

    def _clip(self) -> Tensor:
        """Returns the norm of all gradients, and limits it."""
        if self._clip_grad_norm is None:
            return _total_norm([p.grad for p in self._parameters() if p.grad is not None])
        norm = nn.utils.clip_grad_norm_(self._parameters(), self._clip_grad_norm)
        self._norm = float(norm)
        return norm

    def _why_not_finite(self, norm: Tensor) -> str | None:
        """Returns what is not finite: loss or gradients; the same in all processes, which must step together."""
        loss = norm.new_zeros(()) if self._loss is None else self._loss.to(norm.device)
        values = torch.stack([loss, norm])  # one wait for the device
        if distributed.is_available() and distributed.is_initialized():
            values = torch.where(values.isfinite(), 0.0, torch.inf)
            distributed.all_reduce(values, op=distributed.ReduceOp.MAX)
        loss_is_finite, norm_is_finite = map(math.isfinite, values.tolist())
        if loss_is_finite and norm_is_finite:
            return None
        what = 'norm of gradients' if loss_is_finite else 'loss'
        return f'the {what} is {float(norm if loss_is_finite else loss)}'

    def log(self, label: str) -> dict[str, float]:
        """Returns the norm of the gradients before the latest clipping and the factor on fp16 losses, where used."""
        values = {} if self._norm is None else {f'grad_norm_{label}': self._norm}
        if self._scaler.is_enabled():
            values[f'loss_scale_{label}'] = self._scaler.get_scale()
        return values

    def _parameters(self) -> Iterator[nn.Parameter]:
        return (parameter for group in self._optimizer.param_groups for parameter in group['params'])

    def _add_state(self, _: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        gradients = [parameter.grad for parameter in self._parameters()] if self._batches else []
        state[_STATE_KEY] = {
            'batches': self._batches,
            'gradients': gradients,
            'scaler': self._scaler.state_dict(),
            'loss': None if self._loss is None else float(self._loss),
            'skipped_in_row': self.skipped_in_row,
        }

    def _take_state(self, _: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        saved = state.get(_STATE_KEY)  # BasicSR's models and earlier versions write none
        if saved is None:
            return
        self._batches = saved['batches']
        self.skipped_in_row = saved.get('skipped_in_row', 0)
        self._loss = None if saved.get('loss') is None else torch.tensor(saved['loss'])
        for parameter, gradient in zip(self._parameters(), saved['gradients'], strict=False):
            parameter.grad = None if gradient is None else gradient.to(parameter).clone()
        if saved['scaler'] and self._scaler.is_enabled():
            self._scaler.load_state_dict(saved['scaler'])


def _saved_buffers(net: nn.Module) -> list[Tensor]:
    """Returns the buffers that are part of a network's checkpoint."""
    saved = net.state_dict().keys()
    return [buffer for name, buffer in net.named_buffers() if name in saved]


def _total_norm(gradients: list[Tensor]) -> Tensor:
    """Returns the norm of all gradients together."""
    if not gradients:
        return torch.zeros(())
    # for 80 small tensors on the CPU torch's get_total_norm takes 2.6 times as long
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


class Throughput:
    """Images per second since the last call of :meth:`rate`, without pauses."""

    def __init__(self) -> None:
        self._images = 0
        self._start: float | None = None

    def count(self, images: int) -> None:
        """Counts a batch; the first one, in which loader and kernels start, only starts the clock."""
        if self._start is None:
            self._start = time.perf_counter()
        else:
            self._images += images

    def rate(self) -> float | None:
        """Returns images per second, and counts from 0 again; None before the second batch."""
        if self._start is None or not self._images:
            return None
        now = time.perf_counter()
        rate = self._images / (now - self._start)
        self._images, self._start = 0, now
        return rate

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out what takes time but is no training, such as a validation."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            if self._start is not None:
                self._start += time.perf_counter() - begin


def check_amp(amp: Amp | None, num_gpu: int) -> None:
    """Refuses a precision that the device cannot train in.

    Raises:
        OptionError: fp16 on the CPU.
    """
    if amp == 'fp16' and num_gpu == 0:
        raise OptionError('amp: expected bf16 on the CPU (num_gpu: 0), got fp16; set amp: bf16, or use a GPU')
