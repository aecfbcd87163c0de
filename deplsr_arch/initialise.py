"""The published initialisation of linear layers, shared by DAT and the fusion."""

from __future__ import annotations

from torch import nn


def initialise(module: nn.Module) -> None:
    """Sets small normal weights and a zero bias in a linear layer (published); other layers keep torch's start."""
    if isinstance(module, nn.Linear) and module.weight.numel():
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
