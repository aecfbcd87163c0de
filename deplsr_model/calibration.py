"""Makes a trained estimator honest: probabilities that fit, intervals that cover, and the range of what it has seen."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from deplsr_arch.level_distribution_arch import LevelDistribution, interval
from deplsr_model.level_text import neighbour_shares

__all__ = ['Crops', 'calibrate', 'level_cross_entropy']

#: Batches of photos (B, 3, h, w), uint8 or float in 0..1, and their true levels (B, K) in 0..1.
Crops = list[tuple[Tensor, Tensor]]
COVERAGE = 0.9  #: of the intervals
FAMILIAR = 0.98  #: share of the calibration photos that is within range by the distance, and by each classifier
_LAST = 0.999  # share of them that is less than 1.5 times as far as the range
_PENALTY = 1e-3  # of the squared weights of a classifier
_PART = 64  # photos at a time


def level_cross_entropy(logits: Tensor, positions: Tensor) -> Tensor:
    """Cross entropy (K,) of each degradation type, the mean over members.

    Shape:
        - logits: (B, K, L) or (M, B, K, L). positions: (B, K), true levels in 0..1.
    """
    target = neighbour_shares(positions, logits.shape[-1])
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1).flatten(0, -2).mean(dim=0)


@torch.no_grad()
def calibrate(net: LevelDistribution, crops: Crops, beyond: Mapping[int, Tensor] | None = None) -> None:
    """Sets the temperatures, the margins of the intervals and the range of features.

    A temperature for each degradation type and member minimises the cross entropy (Guo et al., ICML 2017). Then the 5%
    and 95% quantiles are moved by the same margin in or out, so that they hold the true level of 90% of the photos
    (Romano et al., NeurIPS 2019). Out of range are the 2% of the photos that are furthest from the mean of the features
    by the Mahalanobis distance, and for each degradation type in ``beyond`` the 2% that a linear classifier finds most
    similar to those.

    Args:
        net: The trained estimator; it is changed in place and left in evaluation mode.
        crops: Photos that it was not trained on, degraded as in training.
        beyond: Photos (N, 3, h, w), uint8 or float in 0..1, with a level of a degradation type (its number) that is
            above those of the training.
    """
    net.eval()
    device = net.temperature.device
    features = torch.cat([_features(net, lq) for lq, _ in crops])
    positions = torch.cat([known for _, known in crops]).to(device)
    members = net.logits(features).reshape(net.members, -1, net.num_degradation_types, net.num_levels)
    temperatures = torch.stack([_temperatures(one, positions) for one in members])
    net.temperature.copy_(temperatures.view_as(net.temperature))
    net.margin.copy_(_margins(net.shares(features), positions))
    net.centre.copy_(features.mean(dim=0))
    covariance = features.T.cov()
    ridge = 0.01 * covariance.diagonal().mean() * torch.eye(len(covariance), device=device)
    values, vectors = torch.linalg.eigh(covariance + ridge)
    net.whitening.copy_(vectors * values.rsqrt())
    net.threshold.fill_(1)
    net.beyond_weight.zero_()
    net.beyond_bias.zero_()
    net.threshold.copy_(net.distance(features).quantile(FAMILIAR))
    for number, photos in (beyond or {}).items():
        further = torch.cat([_features(net, part) for part in photos.split(_PART)])
        weight, bias = _beyond(net, features, further)
        net.beyond_weight[number], net.beyond_bias[number] = weight, bias


def _features(net: LevelDistribution, lq: Tensor) -> Tensor:
    lq = lq.to(net.temperature.device)
    return net.features(lq.float() / 255 if lq.dtype == torch.uint8 else lq).float()


def _beyond(net: LevelDistribution, features: Tensor, further: Tensor) -> tuple[Tensor, Tensor]:
    """Separates photos in range from those beyond by logistic regression on their whitened features.

    Returns:
        A weight (F,) and a bias () of features: above 1 for 2% of the photos in range, above 1.5 for 0.1% of them. So
        that classifiers compare with each other, their unit does not depend on the photos beyond.
    """
    inside, outside = ((one - net.centre) @ net.whitening for one in (features, further))
    x = torch.cat([inside, outside])
    target = torch.cat([x.new_zeros(len(inside)), x.new_ones(len(outside))])
    balance = torch.where(target > 0, len(inside) / len(outside), 1.0)
    weight, bias = x.new_zeros(x.shape[1], requires_grad=True), x.new_zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200)

    def loss() -> Tensor:
        optimizer.zero_grad()
        error = F.binary_cross_entropy_with_logits(x @ weight + bias, target, weight=balance)
        total = error + _PENALTY * weight.square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(loss)
    weight = weight.detach()
    found = inside @ weight
    end, last = found.quantile(FAMILIAR), found.quantile(_LAST)
    unit = 2 * (last - end).clamp(min=1e-6)
    weight = net.whitening @ weight / unit
    return weight, 1 - end / unit - net.centre @ weight


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
