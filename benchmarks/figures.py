"""What the benchmarks of training calculate their figures with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def ridge(x: Tensor, y: Tensor, at: Tensor, penalty: float = 1e-3) -> Tensor:
    """Predicts by linear regression with a constant; the penalty is relative to the variance of the features."""
    mean, middle = x.mean(0), y.mean()
    x = (x - mean).double()
    gram = x.T @ x
    gram += penalty * gram.diagonal().mean() * torch.eye(len(gram))
    weights = torch.linalg.solve(gram, x.T @ (y - middle).double())
    return ((at - mean).double() @ weights + middle).float()


def bootstrap(gains: np.ndarray, rounds: int = 10000, digits: int = 3) -> list[float]:
    """Mean and 95% interval over photos."""
    drawn = np.random.default_rng(0).choice(gains, (rounds, len(gains))).mean(1)
    return [round(float(value), digits) for value in (gains.mean(), *np.percentile(drawn, [2.5, 97.5]))]


def bootstrap_share(part: np.ndarray, whole: np.ndarray, rounds: int = 10000) -> list[float]:
    """Ratio of two means over the same photos, with its 95% interval."""
    drawn = np.random.default_rng(0).integers(len(part), size=(rounds, len(part)))
    ratios = part[drawn].mean(1) / whole[drawn].mean(1)
    return [round(float(value), 3) for value in (part.mean() / whole.mean(), *np.percentile(ratios, [2.5, 97.5]))]
