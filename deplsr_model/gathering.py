"""Joins the parts of a batch that several processes have, with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed

__all__ = ['gather_batch']


def gather_batch(tensor: Tensor) -> Tensor:
    """Returns the rows of all processes, in their order; the tensor itself where there is one process.

    Every process must compute the same loss of the complete batch. DistributedDataParallel then averages the gradients
    of all processes, each of which has those of its own rows times the number of processes: the gradient of one
    process with the complete batch.

    Shape:
        - tensor: (B, ...), of one shape in all processes. Returns (processes * B, ...).
    """
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return tensor
    joined: Tensor = _Gather.apply(tensor)
    return joined


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, tensor.contiguous())
        ctx.rows = len(tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # the others compute the same loss, and so the same gradient: no process needs theirs
        first = distributed.get_rank() * ctx.rows
        return gradient[first : first + ctx.rows] * distributed.get_world_size()
