"""Trunks of the estimators that return numbers: convolutions on a grid, or a network of timm."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_plugin.checkpoint import check_finite, mismatches, read_state_dict
from basicsr_plugin.errors import UserError, first_line
from basicsr_plugin.names import nearest
from deplsr_arch.attention import normalised
from deplsr_arch.checks import expect
from deplsr_arch.conv_stem import conv_stem

__all__ = ['TimmTrunk', 'build_trunk', 'pooled_features']

_PROBE = (64, 96)  # sides of the image that a network of timm is tried on


def build_trunk(
    name: str | None, pretrained: str | None, num_feat: int, num_block: int, stride: int
) -> tuple[nn.Module, int, int]:
    """Builds a trunk; returns it, the number of its features, and the pixels between neighbours of its grid.

    Args:
        name: See :class:`TimmTrunk`; None for the convolutions of an adaptor's stem, and more on its grid.
        pretrained: See :class:`TimmTrunk`; only with a name.
        num_feat: Channels of the convolutions.
        num_block: Convolutions on the grid.
        stride: Pixels between neighbours of that grid.
    """
    if name is not None:
        trunk = TimmTrunk(name, pretrained)
        return trunk, trunk.channels, trunk.stride
    expect(pretrained is None, 'pretrained', 'it only with trunk', pretrained, 'name the network of timm with trunk')
    layers: list[nn.Module] = [conv_stem(num_feat, stride, 'stride')]
    for _ in range(num_block):
        layers += [nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False), nn.BatchNorm2d(num_feat), nn.GELU()]
    return ConvTrunk(*layers), num_feat, stride


class ConvTrunk(nn.Sequential):
    """Convolutions, in evaluation with their batch norms in them, which take a fifth of the time otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns features (B, F, h / stride, w / stride) of images (B, 3, h, w)."""
        layers = [layer for part in self for layer in (part if isinstance(part, nn.Sequential) else (part,))]
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            if isinstance(following, nn.BatchNorm2d):
                x = normalised(layer, following, x)
            elif not isinstance(layer, nn.BatchNorm2d):
                x = layer(x)
        return x


def pooled_features(trunk: nn.Module, lq: Tensor, stride: int) -> Tensor:
    """Returns the mean of a trunk's features over photos of any size, colour or gray.

    Shape:
        - lq: (B, 3 or 1, h, w) in 0..1. Returns (B, F).
    """
    below, right = (max(0, stride - side) for side in lq.shape[-2:])
    lq = F.pad(lq.expand(-1, 3, -1, -1), (0, right, 0, below), mode='replicate')
    return trunk(lq - 0.5).mean(dim=(2, 3))


class TimmTrunk(nn.Module):
    """A network of timm without its classifier.

    Args:
        name: In ``timm.list_models()``, of a network that takes photos of any size, such as ``resnet10t``.
        pretrained: Local file of its weights, with or without the classifier; None for random ones. Nothing is
            downloaded.

    Attributes:
        channels: Number F of its features.
        stride: Pixels between neighbours of its last grid.

    Shape:
        - x: (B, 3, h, w), 0.5 less than RGB in 0..1. Returns (B, F, h / stride, w / stride), rounded up.

    Raises:
        OptionError: timm has no such network, or it takes images of one size only.
        UserError: The file cannot be read or belongs to another network.
    """

    net: Any  # a module with the attributes of timm's networks
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, pretrained: str | None = None) -> None:
        super().__init__()
        import timm  # here, since few networks need it and it takes a sixth as long as torch

        known = isinstance(name, str) and timm.is_model(name)
        hint = nearest(name, timm.list_models()).removeprefix('; ') or 'see timm.list_models()'
        expect(known, 'trunk', 'the name of a network of timm', name, hint)
        self.net = timm.create_model(name, pretrained=False, num_classes=0, global_pool='')
        found = self.net.pretrained_cfg
        mean, std = (torch.tensor(found[key]).view(1, -1, 1, 1) for key in ('mean', 'std'))
        self.register_buffer('mean', mean - 0.5, persistent=False)
        self.register_buffer('std', std, persistent=False)
        self.channels: int = self.net.num_features
        self.stride: int = self.net.feature_info[-1]['reduction']
        problem = self._problem()
        hint = 'choose one of convolutions, such as resnet10t'
        expect(problem is None, 'trunk', 'a network of timm for photos of any size', f'{name} ({problem})', hint)
        if pretrained is not None:
            self._load(pretrained, found.get('classifier'))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the features of the last grid."""
        return self.net.forward_features((x - self.mean) / self.std)

    @torch.no_grad()
    def _problem(self) -> str | None:
        """Returns why the network cannot be used, found by running it; None if it can."""
        height, width = _PROBE
        self.eval()
        try:
            shape = tuple(self(torch.zeros(1, 3, height, width)).shape)
        except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            return first_line(error)
        finally:
            self.train()
        wanted = (1, self.channels, -(-height // self.stride), -(-width // self.stride))
        return None if shape == wanted else f'features of the shape {shape} instead of {wanted}'

    def _load(self, pretrained: str, classifier: str | tuple[str, ...] | None) -> None:
        heads = (classifier,) if isinstance(classifier, str) else classifier or ()
        own = {key: value for key, value in self.net.state_dict().items() if key.endswith('num_batches_tracked')}
        stored = read_state_dict(pretrained, 'state_dict', 'pretrained')
        weights = own | {k: v for k, v in stored.items() if not k.startswith(tuple(f'{one}.' for one in heads))}
        problems = mismatches(self.net, weights)
        if problems:
            raise UserError(
                f"pretrained: expected the weights of the trunk, got '{pretrained}' with {'; '.join(problems)}; name "
                'the network that they belong to'
            )
        check_finite(weights, pretrained, 'pretrained', 'name another file')
        self.net.load_state_dict(weights)
