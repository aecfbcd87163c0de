"""Other ways to condition a small SR network on a prior, compared with the product's FiLM at equal steps."""

from __future__ import annotations

from typing import Any

from basicsr.archs import build_network
from torch import Tensor, nn
from torch.nn import functional as F

from deplsr_arch.plain_resnet_arch import PlainResNet

__all__ = ['FUSIONS', 'build_fused']


class _Kernels(nn.Module):
    """A kernel for each image, from the prior's tokens; zeros at first.

    Shape:
        - tokens: (B, K, D). Returns (B, *shape).
    """

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        size = 1
        for side in shape:
            size *= side
        self.shape = shape
        self.layers = nn.Sequential(nn.Linear(count, 64), nn.GELU(), nn.Linear(64, size))
        nn.init.zeros_(self.layers[2].weight)
        nn.init.zeros_(self.layers[2].bias)

    def forward(self, tokens: Tensor) -> Tensor:
        scaled = tokens.flatten(1) * tokens.shape[-1] ** 0.5
        return self.layers(scaled).unflatten(1, self.shape)


class HypernetworkResNet(nn.Module):
    """PlainResNet whose first convolution has a share that a small network makes from the prior."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.backbone = PlainResNet()
        self.kernels = _Kernels(count, (32, 3, 3, 3))

    def forward(self, lq: Tensor, content: Tensor, degradation: Tensor) -> Tensor:
        """Enlarges images (B, 3, h, w)."""
        net = self.backbone
        own = self.kernels(degradation).flatten(0, 1)  # (B 32, 3, 3, 3)
        extra = F.conv2d(lq.flatten(0, 1)[None], own, padding=1, groups=len(lq)).view(len(lq), 32, *lq.shape[-2:])
        enlarged = F.interpolate(lq, scale_factor=net.scale, mode='nearest')
        return enlarged + F.pixel_shuffle(net.conv_last(net.body(net.conv_first(lq) + extra)), net.scale)


_EVERY_OTHER = tuple(f'body.{block}' for block in range(0, 8, 2))
#: Where the product's FiLM or kernels are applied, or the class of another network.
FUSIONS: dict[str, tuple[str, ...] | type[nn.Module]] = {
    'film': _EVERY_OTHER,
    'film_all': tuple(f'body.{block}' for block in range(8)),
    'film_upsampler': (*_EVERY_OTHER, 'conv_last'),
    'hypernetwork': HypernetworkResNet,
    'kernels': _EVERY_OTHER,
}


def build_fused(fusion: str, types: int, dim: int, blocks: int = 8, channels: int = 32) -> nn.Module:
    """The untrained network with a fusion; see :data:`FUSIONS`. Other sizes have FiLM before every other block."""
    if (blocks, channels) != (8, 32):
        return _fused([f'body.{block}' for block in range(0, blocks, 2)], types, dim, blocks, channels)
    where: Any = FUSIONS[fusion]
    if not isinstance(where, tuple):
        return where(types * dim)
    return _fused(list(where), types, dim, blocks, channels, 'kernels' if fusion == 'kernels' else 'film')


def _fused(places: list[str], types: int, dim: int, blocks: int, channels: int, fusion: str = 'film') -> nn.Module:
    backbone = {'type': 'PlainResNet', 'num_feat': channels, 'num_block': blocks}
    network = {
        'type': 'Fused', 'backbone': backbone, 'fuse_at': places, 'fusion': fusion, 'prior_dim': dim,
        'num_degradation_types': types,
    }  # fmt: skip
    return build_network(network)
