"""A CNN that estimates a distribution over the levels of each degradation type, and recognises unfamiliar photos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from deplsr_arch.checks import expect, expect_counts
from deplsr_arch.degradation_types import NUM_DEGRADATION_TYPES
from deplsr_arch.level_trunk import build_trunk, pooled_features
from deplsr_arch.number_tokens import distribution_tokens

__all__ = ['LevelDistribution', 'LevelEstimate', 'cautious', 'quantile', 'trust']

#: Factor of the deviation at use. An SR network is trained with estimates of the recipes of its training. On recipes
#: that were left out of it their errors are 1.2 to 3.0 times the deviation, 1.65 in the geometric mean
#: (docs/notebook_effective.md).
CAUTION = 1.5


class LevelEstimate(NamedTuple):
    """What is known about the levels of photos, in 0..1 from the lowest to the highest level of each type.

    Attributes:
        mean: (B, K) expected levels.
        deviation: (B, K) standard deviations.
        low: (B, K) lower ends of the intervals.
        high: (B, K) upper ends.
        distance: (B,) how far it is out of the range of the training photos; above 1 it is.
    """

    mean: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor
    distance: Tensor


@ARCH_REGISTRY.register()
class LevelDistribution(nn.Module):
    """Estimates how likely each level of each degradation type is, from an LR photo of any size.

    The convolutions of an adaptor's stem, more on its grid, the mean over the photo, and for each degradation type a
    softmax over evenly spaced levels. The prior is the mean and the standard deviation of that distribution: where the
    photo does not show a level, the mean approaches the usual level of the training photos and the deviation is large.
    The further the features lie outside of those of the training photos, the closer the prior is to zeros, which is no
    prior (option ``prior_dropout`` trains an SR network for that case).

    Temperatures, interval margins and the range of features are buffers, which
    :func:`deplsr_model.calibration.calibrate` sets after training; until then intervals are those of the softmax and
    no photo is out of range. The range ends at a distance from the training photos, and for each degradation type whose
    stronger levels the calibration was shown, where the features become those of such photos.

    With several ``members``, networks of equal size that are trained on the same photos from different weights, the
    distribution is the mean of theirs and features are those of all. Where a photo is unlike those of the training they
    disagree, and the deviation grows.

    Sources: deep ensembles (Lakshminarayanan et al., NeurIPS 2017); temperature scaling (Guo et al., ICML 2017);
    conformalized quantile regression (Romano et al., NeurIPS 2019); Mahalanobis distance of features (Lee et al.,
    NeurIPS 2018); outlier exposure (Hendrycks et al., ICLR 2019).

    Args:
        prior_dim: Width D of the SR network's prior, at least twice ``num_degradation_types``; 512 by default.
        num_feat: Channels F of the convolutions on the grid, and of the hidden layer of the head.
        num_block: Convolutions on the grid.
        stride: Pixels between neighbours of the grid, a power of 2.
        num_levels: Levels L of each degradation type.
        num_degradation_types: Number K of degradation types.
        trunk: Network of timm that replaces the convolutions, such as ``resnet10t``; then F and the grid are its own,
            and ``num_block`` and ``stride`` have no effect. None for the convolutions.
        pretrained: Local file of that network's weights, to start a training; None for random ones.
        members: Number M of networks that estimate together, each at the full cost. With ``pretrained`` they differ in
            their heads at first.

    Shape:
        - lq: (B, 3, h, w) RGB in 0..1.
        - returns logits (B, K, L), or (M, B, K, L) of several members, before the temperatures.

    Raises:
        ValueError: An argument is wrong.
        UserError: ``pretrained`` cannot be read or belongs to another network.
    """

    temperature: Tensor
    margin: Tensor
    centre: Tensor
    whitening: Tensor
    threshold: Tensor
    beyond_weight: Tensor
    beyond_bias: Tensor

    def __init__(
        self,
        *,
        prior_dim: int = 512,
        num_feat: int = 96,
        num_block: int = 2,
        stride: int = 8,
        num_levels: int = 25,
        num_degradation_types: int = NUM_DEGRADATION_TYPES,
        trunk: str | None = None,
        pretrained: str | None = None,
        members: int = 1,
    ) -> None:
        super().__init__()
        expect_counts(
            prior_dim=prior_dim,
            num_feat=num_feat,
            num_block=num_block,
            stride=stride,
            num_levels=num_levels,
            num_degradation_types=num_degradation_types,
            members=members,
        )
        least = f'at least {2 * num_degradation_types}, two entries for each degradation type'
        expect(prior_dim >= 2 * num_degradation_types, 'prior_dim', least, prior_dim, 'take the prior_dim of network_g')
        expect(num_levels > 1, 'num_levels', 'at least 2', num_levels, 'such as 25')
        self.prior_dim = prior_dim
        self.num_levels = num_levels
        self.num_degradation_types = num_degradation_types
        self.members = members
        built = [build_trunk(trunk, pretrained, num_feat, num_block, stride) for _ in range(members)]
        channels, self.stride = built[0][1], built[0][2]
        outputs = num_degradation_types * num_levels
        heads = [nn.Sequential(nn.Linear(channels, num_feat), nn.GELU(), nn.Linear(num_feat, outputs)) for _ in built]
        self.trunk, self.head = built[0][0], heads[0]
        self.other_trunks, self.other_heads = nn.ModuleList(one[0] for one in built[1:]), nn.ModuleList(heads[1:])
        channels *= members
        one_each = (num_degradation_types,) if members == 1 else (members, num_degradation_types)
        self.register_buffer('temperature', torch.ones(one_each))
        self.register_buffer('margin', torch.zeros(num_degradation_types))
        self.register_buffer('centre', torch.zeros(channels))
        self.register_buffer('whitening', torch.zeros(channels, channels))
        self.register_buffer('threshold', torch.ones(()))
        self.register_buffer('beyond_weight', torch.zeros(num_degradation_types, channels))
        self.register_buffer('beyond_bias', torch.zeros(num_degradation_types))

    def features(self, lq: Tensor) -> Tensor:
        """Returns features (B, F) of photos, (B, M F) of several members."""
        trunks = [self.trunk, *self.other_trunks]
        return torch.cat([pooled_features(trunk, lq, self.stride) for trunk in trunks], dim=1)

    def logits(self, features: Tensor) -> Tensor:
        """Returns logits (B, K, L) of features (B, F), or (M, B, K, L) of several members."""
        heads = [self.head, *self.other_heads]
        parts = zip(heads, features.chunk(len(heads), dim=1), strict=True)
        shape = (self.num_degradation_types, self.num_levels)
        found = [head(part).unflatten(1, shape) for head, part in parts]
        return torch.stack(found) if self.members > 1 else found[0]

    def forward(self, lq: Tensor) -> Tensor:
        """Returns logits (B, K, L), or (M, B, K, L) of several members."""
        return self.logits(self.features(lq))

    def positions(self) -> Tensor:
        """Returns the levels (L,) in 0..1."""
        return torch.linspace(0, 1, self.num_levels, device=self.temperature.device)

    def shares(self, features: Tensor) -> Tensor:
        """Returns how likely each level is, (B, K, L), rows that add up to 1, from features (B, F)."""
        shape = (self.members, -1, self.num_degradation_types, self.num_levels)
        logits, temperature = (
            self.logits(features).float().reshape(shape),
            self.temperature.reshape(self.members, 1, -1, 1),
        )
        return (logits / temperature).softmax(dim=-1).mean(dim=0)

    def distance(self, features: Tensor) -> Tensor:
        """Returns the distance (B,) of features (B, F) from those of the training photos; 1 is the end of the range."""
        return ((features - self.centre) @ self.whitening).square().mean(dim=1).sqrt() / self.threshold

    def range_distance(self, features: Tensor) -> Tensor:
        """Returns as :meth:`distance` how far features are out of range, that of a degradation type included.

        The prior does not fade by it: where a level is beyond its range, an estimate at the end of the range still
        helps an SR network (0.02 dB on Set14-SE).
        """
        beyond = F.linear(features, self.beyond_weight, self.beyond_bias)
        return torch.maximum(self.distance(features), beyond.amax(dim=1))

    def moments(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """Returns means and standard deviations (B, K) of distributions (B, K, L)."""
        mean = share @ self.positions()
        return mean, (share @ self.positions().square() - mean.square()).clamp(min=0).sqrt()

    def interval(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the ends (B, K) of the intervals of distributions (B, K, L)."""
        return interval(share, self.margin)

    def estimate(self, lq: Tensor) -> LevelEstimate:
        """Estimates levels with their 90% intervals, and whether a photo is out of range."""
        features = self.features(lq).float()
        share = self.shares(features)
        mean, deviation = self.moments(share)
        low, high = self.interval(share)
        return LevelEstimate(mean, deviation, low.minimum(mean), high.maximum(mean), self.range_distance(features))

    def own_names(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Adds what a state dict of version 0.2.0 does not have: no level is beyond its range."""
        missing = {name: torch.zeros_like(getattr(self, name)) for name in ('beyond_weight', 'beyond_bias')}
        return {**missing, **state}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in torch; also takes what :meth:`own_names` does."""
        return super().load_state_dict(self.own_names(state_dict), strict=strict, assign=assign)

    def prior(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """The condition of the SR network: zeros as content (B, 1, D), mean and deviation of levels as (B, K, D)."""
        features = self.features(lq).float()
        return self._prior(features, *self.moments(self.shares(features)))

    def prior_at_use(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`prior`, which an SR network is trained with, but with the deviation of :func:`cautious`."""
        features = self.features(lq).float()
        mean, deviation = self.moments(self.shares(features))
        return self._prior(features, mean, cautious(deviation))

    def _prior(self, features: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        tokens = distribution_tokens(mean, deviation, self.prior_dim)
        content = features.new_zeros(len(features), 1, self.prior_dim)
        return content, trust(self.distance(features))[:, None, None] * tokens


def cautious(deviation: Tensor) -> Tensor:
    """Returns the deviation of estimates of photos that are not those of the training, at most 0.5."""
    return (CAUTION * deviation).clamp(max=0.5)


def trust(distance: Tensor) -> Tensor:
    """Returns the weight of an estimate: 1 within range, falling to 0 at twice its size."""
    return (2 - distance).clamp(0, 1)


def interval(share: Tensor, margin: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Returns the ends of 90% intervals, moved out by a margin; an end at the end of the range stays there.

    Where many photos have the lowest level (no noise at all), moving such an end in would lose all of them at once.

    Shape:
        - share: (B, K, L). margin: (K,). Returns two (B, K).
    """
    low, high = quantile(share, 0.05), quantile(share, 0.95)
    return (
        torch.where(low > 0, (low - margin).clamp(0, 1), low),
        torch.where(high < 1, (high + margin).clamp(0, 1), high),
    )


def quantile(share: Tensor, at: float) -> Tensor:
    """Returns a quantile of distributions over evenly spaced levels, each of which covers half a step to both sides.

    Shape:
        - share: (..., L), rows that add up to 1. Returns (...) in 0..1.
    """
    cumulative = share.cumsum(dim=-1)
    index = (cumulative < at).sum(dim=-1, keepdim=True).clamp(max=share.shape[-1] - 1)
    mass = share.gather(-1, index)
    before = cumulative.gather(-1, index) - mass
    place = index + ((at - before) / mass.clamp(min=1e-12)).clamp(0, 1) - 0.5
    return (place.squeeze(-1) / (share.shape[-1] - 1)).clamp(0, 1)
