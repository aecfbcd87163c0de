"""How often a level is read right."""

from __future__ import annotations

from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

__all__ = ['level_accuracy']


@METRIC_REGISTRY.register()
def level_accuracy(read: Tensor, true: Tensor, tolerance: float) -> float:
    """Returns the share of levels that are read nearer to the true one than ``tolerance``.

    Args:
        read: (N,) levels as read.
        true: (N,) levels as applied.
        tolerance: In the unit of the level; for yes or no (ringing), anything up to 1.

    Source: method of evaluation of Sci. Rep. 15, 28837 (2025), with levels compared as numbers.
    """
    return ((read - true).abs() < tolerance).double().mean().item()
