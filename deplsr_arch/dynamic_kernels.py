"""A fusion for maps whose convolution kernels are made from the prior."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deplsr_arch.degradation_types import NUM_DEGRADATION_TYPES
from deplsr_arch.fusion import expect_token_counts

__all__ = ['DynamicKernels']


class DynamicKernels(nn.Module):
    """Adds a depth-wise 3 x 3 convolution of the map, with kernels for each image that are made from the prior.

    :class:`~deplsr_arch.fusion.PriorModulation` scales channels; this can sharpen or smooth them too. The last layer
    starts at zero: at first the map passes unchanged. ONNX has no such convolution: export to safetensors.

    Source: degradation-aware convolution of DASR (Wang et al., CVPR 2021).

    Args:
        dim: Channels C.
        num_degradation_types: Number K of degradation tokens.

    Shape:
        - x: (B, C, h, w). xi: (B, 1, C) content. xd: (B, K, C) degradation; xi and xd are returned unchanged.
    """

    def __init__(self, dim: int, num_degradation_types: int = NUM_DEGRADATION_TYPES) -> None:
        super().__init__()
        self.dim, self.num_degradation_types = dim, num_degradation_types
        self.mix = nn.Linear((1 + num_degradation_types) * dim, 2 * dim)
        self.act = nn.GELU()
        self.out = nn.Linear(2 * dim, 9 * dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, xi: Tensor, xd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Filters a map x (B, C, h, w) by the prior xi (B, 1, C), xd (B, K, C)."""
        expect_token_counts('kernels', self.num_degradation_types, xi.shape[1], xd.shape[1])
        kernels = self.out(self.act(self.mix(torch.cat([xi, xd], dim=1).flatten(1)))).to(x.dtype)
        if x.shape[0] == 1:  # without copies
            return x + F.conv2d(x, kernels.view(self.dim, 1, 3, 3), padding=1, groups=self.dim), xi, xd
        kernels = kernels.view(-1, 1, 3, 3)
        filtered = F.conv2d(x.flatten(0, 1)[None], kernels, padding=1, groups=len(kernels))
        return x + filtered.view(x.shape), xi, xd
