"""A small residual network at LR size or below, fast enough for a CPU."""

from __future__ import annotations

import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from deplsr_arch.checks import expect_counts

__all__ = ['PlainResNet']


class _Block(nn.Module):
    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


@ARCH_REGISTRY.register()
class PlainResNet(nn.Module):
    """Residual blocks without normalisation at LR size, or below it, added to the image enlarged by repetition.

    Nothing is computed at HR size except one sub-pixel shuffle, so most of the cost is in the blocks. With
    ``unshuffle: 2`` the blocks work at half the LR size: a quarter of the cost at equal width, and twice the reach.

    Args:
        num_feat: Channels of the blocks.
        num_block: Residual blocks, two 3 x 3 convolutions each.
        scale: Scale.
        unshuffle: Side of the squares of LR pixels that become the channels of one position; 1 for none.

    Shape:
        - x: (B, 3, h, w). Returns (B, 3, scale h, scale w).

    Raises:
        ValueError: An argument is no positive whole number.
    """

    def __init__(self, num_feat: int = 32, num_block: int = 8, scale: int = 4, unshuffle: int = 1) -> None:
        super().__init__()
        expect_counts(num_feat=num_feat, num_block=num_block, scale=scale, unshuffle=unshuffle)
        self.scale = scale
        self.unshuffle = unshuffle
        self.conv_first = nn.Conv2d(3 * unshuffle**2, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(_Block(num_feat) for _ in range(num_block)))
        self.conv_last = nn.Conv2d(num_feat, 3 * (scale * unshuffle) ** 2, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges images."""
        height, width = x.shape[-2:]
        below, right = -height % self.unshuffle, -width % self.unshuffle
        complete = F.pad(x, (0, right, 0, below), mode='replicate') if below or right else x
        features = self.conv_first(F.pixel_unshuffle(complete, self.unshuffle))
        details = F.pixel_shuffle(self.conv_last(self.body(features)), self.scale * self.unshuffle)
        enlarged = F.interpolate(x, scale_factor=self.scale, mode='nearest')
        return enlarged + details[..., : self.scale * height, : self.scale * width]
