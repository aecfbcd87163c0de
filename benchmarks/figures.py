"""What the benchmarks of training calculate their figures with."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata
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


def bootstrap_ranks(true: np.ndarray, ours: np.ndarray, theirs: np.ndarray, rounds: int = 2000) -> list[float]:
    """Spearman of ``ours`` with ``true`` less that of ``theirs``, (photos, draws) each; 95% interval over photos."""
    drawn = np.random.default_rng(0).integers(len(true), size=(rounds, len(true)))
    everyone, *chances = (
        _spearman(true[rows].reshape(len(rows), -1), ours[rows].reshape(len(rows), -1))
        - _spearman(true[rows].reshape(len(rows), -1), theirs[rows].reshape(len(rows), -1))
        for rows in (np.arange(len(true))[None], drawn)
    )
    return [round(float(value), 3) for value in (everyone[0], *np.percentile(chances, [2.5, 97.5]))]


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each row of two (rows, values): (rows,)."""
    ranks = [rankdata(values, axis=1) for values in (a, b)]
    centred = [(values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True) for values in ranks]
    return (centred[0] * centred[1]).mean(1)
