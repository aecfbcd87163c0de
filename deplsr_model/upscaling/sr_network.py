"""SR networks as they are loaded: those of spandrel, and the name and the scale of any."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from basicsr_plugin.errors import UserError, first_line
from deplsr_arch.protocols import is_conditioned
from deplsr_model.upscaling.loaded_model import ModelFiles

__all__ = ['SpandrelNetwork', 'network_name', 'scale_of']

_PROBE = 32


class SpandrelNetwork(nn.Module):
    """A network that spandrel has recognised, with what it does around it: padding and limits to 0..1."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.net = descriptor.model
        self._descriptor = descriptor

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges images (B, 3, h, w)."""
        return self._descriptor(x)


def network_name(net: nn.Module) -> str:
    """Returns the class of a network."""
    return type(net.net if isinstance(net, SpandrelNetwork) else net).__name__


@torch.no_grad()
def scale_of(net: nn.Module, multiple: int, files: ModelFiles) -> int:
    """Returns the enlargement of a network, found by running it on a small gray image.

    Args:
        net: The network.
        multiple: What the sides of an image must be multiples of.
        files: Where it comes from, for the error.

    Raises:
        UserError: It does not enlarge RGB images; one line.
    """
    side = -(-_PROBE // multiple) * multiple
    x = torch.full((1, 3, side, side), 0.5)
    try:
        if is_conditioned(net):
            count = getattr(net, 'num_degradation_types', 5)
            out = net(x, x.new_zeros(1, 1, net.prior_dim), x.new_zeros(1, count, net.prior_dim))
        else:
            out = net(x)
        scale = out.shape[-1] / side
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f'-m: expected a network that enlarges RGB images, got {type(net).__name__} of {files.weights}, which '
            f'fails on one ({first_line(error)})'
        ) from error
    if out.ndim != 4 or out.shape[1] != 3 or scale != int(scale) or scale < 1:
        raise UserError(
            f'-m: expected a network that enlarges RGB images, got {type(net).__name__} of {files.weights}, which '
            f'returns {tuple(out.shape)} for {tuple(x.shape)}'
        )
    return int(scale)
