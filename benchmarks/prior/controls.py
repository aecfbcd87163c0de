"""The small network of benchmarks/prior.py: residual blocks and one pixel shuffle, cheap enough for two CPU cores."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


class _Block(nn.Module):
    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


@ARCH_REGISTRY.register()
class PlainResNet(nn.Module):
    """Residual blocks at LR size, added to the image enlarged by repetition: (B, 3, h, w) to (B, 3, 4 h, 4 w)."""

    def __init__(self, num_feat: int = 32, num_block: int = 8, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.conv_first = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(_Block(num_feat) for _ in range(num_block)))
        self.conv_last = nn.Conv2d(num_feat, 3 * scale**2, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges images."""
        enlarged = F.interpolate(x, scale_factor=self.scale, mode='nearest')
        return enlarged + F.pixel_shuffle(self.conv_last(self.body(self.conv_first(x))), self.scale)
