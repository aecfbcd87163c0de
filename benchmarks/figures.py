"""Statistics that the benchmarks share."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from deplsr_model.statistics import with_interval


def ridge(x: Tensor, y: Tensor, at: Tensor, penalty: float = 1e-3) -> Tensor:
    """Predicts by linear regression with a constant; the penalty is relative to the variance of the features."""
    mean, middle = x.mean(0), y.mean()
    x = (x - mean).double()
    gram = x.T @ x
    gram += penalty * gram.diagonal().mean() * torch.eye(len(gram))
    weights = torch.linalg.solve(gram, x.T @ (y - middle).double())
    return ((at - mean).double() @ weights + middle).float()


def bootstrap_share(part: np.ndarray, whole: np.ndarray, rounds: int = 10000) -> list[float]:
    """Ratio of two means over the same photos, with its 95% interval."""
    drawn = np.random.default_rng(0).integers(len(part), size=(rounds, len(part)))
    ratios = part[drawn].mean(1) / whole[drawn].mean(1)
    return with_interval(part.mean() / whole.mean(), ratios)


def bootstrap_ranks(true: np.ndarray, ours: np.ndarray, theirs: np.ndarray, rounds: int = 2000) -> list[float]:
    """Spearman of ``ours`` with ``true`` minus that of ``theirs``, (photos, draws) each; 95% interval over photos."""

    def difference(photos: np.ndarray) -> np.ndarray:
        """Of each row of indices of photos."""
        ranks = [rankdata(values[photos].reshape(len(photos), -1), axis=1) for values in (true, ours, theirs)]
        return _correlation(ranks[0], ranks[1]) - _correlation(ranks[0], ranks[2])

    mean = difference(np.arange(len(true))[None])[0]
    drawn = difference(np.random.default_rng(0).integers(len(true), size=(rounds, len(true))))
    return with_interval(mean, drawn)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each row of two (rows, values): (rows,); 0 where one of them is constant."""
    a, b = (values - values.mean(1, keepdims=True) for values in (a, b))
    product = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return (a * b).sum(1) / np.where(product > 0, product, 1)
