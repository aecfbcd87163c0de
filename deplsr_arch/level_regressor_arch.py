"""A small CNN that estimates degradation levels as numbers: the adaptor's baseline, and a prior without text."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from deplsr_arch.checks import expect, expect_counts
from deplsr_arch.degradation_types import NUM_DEGRADATION_TYPES
from deplsr_arch.level_trunk import build_trunk, pooled_features
from deplsr_arch.number_tokens import number_tokens

__all__ = ['LevelRegressor']


@ARCH_REGISTRY.register()
class LevelRegressor(nn.Module):
    """Estimates the level of each degradation type from an LR photo of any size, as numbers.

    The convolutions of an adaptor's stem, two more on its grid, the mean over the photo, and two linear layers. In
    stage 2 it can replace an adaptor (``network_da``): its numbers are the prior, and there is no content.

    Source: the explicit form of the degradation representation of DASR (Wang et al., CVPR 2021).

    Args:
        prior_dim: Width D of the SR network's prior, at least ``num_degradation_types``; 512 by default.
        num_feat: Channels of the convolutions on the grid, and of the hidden layer of the head.
        stride: Pixels between neighbours of the grid, a power of 2.
        num_degradation_types: Number K of degradation types.
        trunk: Network of timm that replaces the convolutions, such as ``resnet10t``; then ``stride`` has no effect.
        pretrained: Local file of that network's weights, to start a training; None for random ones.

    Shape:
        - lq: (B, 3, h, w) RGB in 0..1.
        - returns (B, K) in 0..1, from the lowest to the highest level of each degradation type. The published order:
          blur, gaussian noise, poisson noise, jpeg, ringing.

    Raises:
        ValueError: An argument is wrong.
        UserError: ``pretrained`` cannot be read or belongs to another network.
    """

    def __init__(
        self,
        *,
        prior_dim: int = 512,
        num_feat: int = 96,
        stride: int = 8,
        num_degradation_types: int = NUM_DEGRADATION_TYPES,
        trunk: str | None = None,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        expect_counts(
            prior_dim=prior_dim, num_feat=num_feat, stride=stride, num_degradation_types=num_degradation_types
        )
        least = f'at least {num_degradation_types}, one entry for each degradation type'
        expect(prior_dim >= num_degradation_types, 'prior_dim', least, prior_dim, 'take the prior_dim of network_g')
        self.prior_dim = prior_dim
        self.num_degradation_types = num_degradation_types
        self.features, channels, self.stride = build_trunk(trunk, pretrained, num_feat, 2, stride)
        self.head = nn.Sequential(nn.Linear(channels, num_feat), nn.GELU(), nn.Linear(num_feat, num_degradation_types))

    def forward(self, lq: Tensor) -> Tensor:
        """Estimates levels (B, K) in 0..1."""
        return self.head(pooled_features(self.features, lq, self.stride)).sigmoid()

    def prior(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """The condition of the SR network: zeros as content (B, 1, D), and the estimated numbers as (B, K, D)."""
        return lq.new_zeros(len(lq), 1, self.prior_dim), number_tokens(self(lq), self.prior_dim)
