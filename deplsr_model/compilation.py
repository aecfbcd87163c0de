"""Compiling networks in place (torch.compile)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ['compile_for_all_sizes', 'compile_in_place']


def compile_for_all_sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a network or function once; sizes of images are variables, so that another size needs no compilation."""
    return torch.compile(function, dynamic=True)


def compile_in_place(net: nn.Module, **settings: Any) -> None:
    """Compiles a network: for the sizes it is trained with, and once for all sizes without gradients.

    Names of parameters stay as they are, as with ``nn.Module.compile``; copies of the network are not compiled.

    Args:
        net: The network.
        settings: Further arguments of ``torch.compile`` for training, such as ``mode``.
    """
    train = torch.compile(net._call_impl, dynamic=False, **settings)
    evaluate = compile_for_all_sizes(net._call_impl)

    def call(*args: Any, **kwargs: Any) -> Any:
        return (train if torch.is_grad_enabled() else evaluate)(*args, **kwargs)

    net._compiled_call_impl = call
