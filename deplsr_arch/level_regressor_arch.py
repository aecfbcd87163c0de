"""A small CNN that reads degradation levels as numbers: the yardstick of the adaptor, and a prior without words."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from deplsr_arch.checks import expect, expect_counts
from deplsr_arch.conv_stem import conv_stem
from deplsr_arch.degradation_types import NUM_DEGRADATION_TYPES

__all__ = ['LevelRegressor', 'number_tokens']


@ARCH_REGISTRY.register()
class LevelRegressor(nn.Module):
    """Reads the levels of the five degradation types off an LR photo of any size, as numbers.

    The convolutions of an adaptor's stem, two more on its grid, the mean over the photo, and two linear layers. In
    stage 2 it stands in an adaptor's place (``network_da``); its numbers are the prior, and there is no content.

    Source: the explicit form of the degradation representation of DASR (Wang et al., CVPR 2021).

    Args:
        prior_dim: Width D of the SR network's prior, at least 5.
        num_feat: Channels on the grid.
        stride: Pixels between neighbours of the grid, a power of 2.

    Shape:
        - lq: (B, 3, h, w) RGB in 0..1. Returns (B, 5) in 0..1, from the lowest to the highest level of each degradation type: blur,
          gaussian noise, poisson noise, jpeg, ringing.

    Raises:
        ValueError: An argument is wrong.
    """

    def __init__(self, *, prior_dim: int = 512, num_feat: int = 96, stride: int = 8) -> None:
        super().__init__()
        expect_counts(prior_dim=prior_dim, num_feat=num_feat, stride=stride)
        expect(
            prior_dim >= NUM_DEGRADATION_TYPES,
            'prior_dim',
            f'at least {NUM_DEGRADATION_TYPES}',
            prior_dim,
            'take that of network_g',
        )
        self.prior_dim = prior_dim
        self.stride = stride
        layers: list[nn.Module] = [conv_stem(num_feat, stride)]
        for _ in range(2):
            layers += [nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False), nn.BatchNorm2d(num_feat), nn.GELU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(num_feat, num_feat), nn.GELU(), nn.Linear(num_feat, NUM_DEGRADATION_TYPES))

    def forward(self, lq: Tensor) -> Tensor:
        """Reads levels, 0..1."""
        missing = [max(0, self.stride - side) for side in lq.shape[-2:]]
        lq = F.pad(lq.expand(-1, 3, -1, -1), (0, missing[1], 0, missing[0]), mode='replicate')
        return self.head(self.features(lq - 0.5).mean(dim=(2, 3))).sigmoid()

    def prior(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """The condition of the SR network: no content (B, 1, D), and the numbers read off ``lq`` as (B, 5, D)."""
        return lq.new_zeros(len(lq), 1, self.prior_dim), number_tokens(self(lq), self.prior_dim)


def number_tokens(positions: Tensor, dim: int) -> Tensor:
    """Writes numbers as tokens without words: number k of 0..1 stands, as -1..1, at place k of token k.

    Entries are scaled as those of embeddings of unit length, which the fusion expects.

    Shape:
        - positions: (B, K). Returns (B, K, dim), dim at least K.
    """
    tokens = torch.diag_embed((2 * positions - 1) / dim**0.5)  # (B, K, K)
    return F.pad(tokens, (0, dim - positions.shape[1]))
