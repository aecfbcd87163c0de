"""Makes a trained estimator honest: probabilities that fit, intervals that cover, and the range of what it has seen."""

from __future__ import annotations

import torch
from torch import Tensor

from deplsr_arch.level_distribution_arch import LevelDistribution, interval
from deplsr_model.level_text import neighbour_shares

__all__ = ['Crops', 'calibrate', 'level_cross_entropy']

#: Batches of photos (B, 3, h, w), uint8 or float in 0..1, and their true levels (B, K) in 0..1.
Crops = list[tuple[Tensor, Tensor]]
COVERAGE = 0.9  #: of the intervals
FAMILIAR = 0.98  #: share of the calibration photos that is within range


def level_cross_entropy(logits: Tensor, positions: Tensor) -> Tensor:
    """Cross entropy (K,) of each degradation type.

    Shape:
        - logits: (B, K, L). positions: (B, K), true levels in 0..1.
    """
    target = neighbour_shares(positions, logits.shape[-1])
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1).mean(dim=0)


@torch.no_grad()
def calibrate(net: LevelDistribution, crops: Crops) -> None:
    """Sets the temperatures, the margins of the intervals and the range of features.

    A temperature for each degradation type minimises the cross entropy (Guo et al., ICML 2017). Then the 5% and 95%
    quantiles are moved by the same margin in or out, so that they hold the true level of 90% of the photos (Romano et
    al., NeurIPS 2019). Out of range is what is further from the mean of the features than 98% of the photos, by the
    Mahalanobis distance.

    Args:
        net: The trained estimator; it is changed in place and left in evaluation mode.
        crops: Photos that it was not trained on, degraded as in training.
    """
    net.eval()
    device = net.temperature.device
    features = torch.cat([net.features(_unit(lq.to(device))).float() for lq, _ in crops])
    positions = torch.cat([known for _, known in crops]).to(device)
    logits = net.logits(features)
    net.temperature.copy_(_temperatures(logits, positions))
    share = (logits / net.temperature[:, None]).softmax(dim=-1)
    net.margin.copy_(_margins(share, positions))
    net.centre.copy_(features.mean(dim=0))
    covariance = features.T.cov()
    ridge = 0.01 * covariance.diagonal().mean() * torch.eye(len(covariance), device=device)
    values, vectors = torch.linalg.eigh(covariance + ridge)
    net.whitening.copy_(vectors * values.rsqrt())
    distance = ((features - net.centre) @ net.whitening).square().mean(dim=1).sqrt()
    net.threshold.copy_(distance.quantile(FAMILIAR))


def _margins(share: Tensor, positions: Tensor) -> Tensor:
    """Returns by how much the ends of the intervals have to move for each degradation type: (K,)."""
    low, high = interval(share)
    below = torch.where(low > 0, low - positions, -1.0)  # an end at the end of the range does not move
    above = torch.where(high < 1, positions - high, -1.0)
    return torch.maximum(below, above).quantile(min(1.0, COVERAGE * (1 + 1 / len(positions))), dim=0)


def _temperatures(logits: Tensor, positions: Tensor) -> Tensor:
    """Returns the temperature (K,) of each degradation type by a search over a grid of 1% steps."""
    grid = torch.logspace(-1, 1, 461, device=logits.device)
    target = neighbour_shares(positions, logits.shape[-1])
    losses = torch.stack([-(target * (logits / one).log_softmax(dim=-1)).sum(dim=(0, 2)) for one in grid])
    return grid[losses.argmin(dim=0)]


def _unit(lq: Tensor) -> Tensor:
    return lq.float() / 255 if lq.dtype == torch.uint8 else lq
