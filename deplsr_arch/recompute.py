"""Computing parts of a network again in the backward pass, which keeps less for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ['Recompute', 'computed_again', 'is_recomputed']

Recompute = bool | Literal['auto']


def is_recomputed(setting: Recompute, x: Tensor) -> bool:
    """Returns whether to compute again: with 'auto' where x is on the CPU.

    On a GPU small networks wait for the launches of kernels, which computing again adds to.
    """
    return x.device.type == 'cpu' if setting == 'auto' else setting


def computed_again(function: Callable[..., Tensor], module: nn.Module, *inputs: Any, draws: bool = True) -> Tensor:
    """Calls a function so that only its inputs are kept for the backward pass, which calls it a second time.

    Args:
        function: A function of tensors, with dropout and batch norms from ``module`` only.
        module: What it belongs to. A batch counts once in the running averages of its batch norms.
        inputs: Its arguments.
        draws: Whether it draws random numbers, which must be the same both times. On a GPU their state is kept on the
            CPU, which also excludes CUDA graphs.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    if torch.compiler.is_compiling():  # buffers are written once there, after the traced function
        return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=draws)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _running_statistics_kept(module)

    return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts, preserve_rng_state=draws)


@contextmanager
def _running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Keeps batch norms from counting a batch again while its forward pass is repeated for the backward pass."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, num_batches_tracked) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches_tracked
