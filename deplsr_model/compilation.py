"""Compiling networks in place (torch.compile)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from basicsr_plugin.errors import OptionError

__all__ = ['Compile', 'check_compile', 'compile_for_all_sizes', 'compile_in_place']

Compile = bool | Literal['reduce-overhead']


def check_compile(mode: Compile, accumulate: int) -> None:
    """Refuses CUDA graphs with accumulated gradients, which the next pass of a graph overwrites.

    Raises:
        OptionError: One line.
    """
    if mode == 'reduce-overhead' and accumulate > 1:
        raise OptionError(
            f'compile: expected true or false with train.accumulate: {accumulate}, got reduce-overhead, whose CUDA '
            'graphs keep the gradients of one batch; change one'
        )


def compile_for_all_sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a network or function once; sizes of images are variables, so that another size needs no compilation."""
    return torch.compile(function, dynamic=True)


def compile_in_place(net: nn.Module, mode: Compile = True) -> None:
    """Compiles a network: for the sizes it is trained with, and once for all sizes without gradients.

    Names of parameters stay as they are, as with ``nn.Module.compile``; copies of the network are not compiled.

    Args:
        net: The network.
        mode: ``reduce-overhead`` also records the kernels of a training pass on a GPU once and replays them (CUDA
            graphs); True compiles only, and False does nothing.
    """
    if not mode:
        return
    graphs = mode == 'reduce-overhead'
    train = torch.compile(net._call_impl, dynamic=False, mode='reduce-overhead' if graphs else None)
    evaluate = compile_for_all_sizes(net._call_impl)

    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return evaluate(*args, **kwargs)
        if graphs:
            torch.compiler.cudagraph_mark_step_begin()  # also after a pass without a backward pass, as in net_d_iters
        output = train(*args, **kwargs)
        # a CUDA graph writes each pass into the same memory: what is kept until the next one must be a copy
        return tree_map_only(Tensor, Tensor.clone, output) if graphs else output

    net._compiled_call_impl = call
