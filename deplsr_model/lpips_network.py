"""The network of LPIPS: the package lpips, whose linear weights come with it, and a backbone from a local file."""

from __future__ import annotations

import contextlib
import io
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from basicsr_plugin.checkpoint import read_state_dict
from basicsr_plugin.errors import UserError
from basicsr_plugin.weights import load_weights

__all__ = ['BACKBONES', 'Backbone', 'lpips_network']

Backbone = Literal['alex', 'vgg', 'squeeze']

#: Files of torchvision's weights, as torch's cache names them.
BACKBONES = {
    'alex': 'alexnet-owt-7be5be79.pth',
    'vgg': 'vgg16-397923af.pth',
    'squeeze': 'squeezenet1_1-b8a52dc0.pth',
}


@lru_cache(maxsize=4)
def lpips_network(net: Backbone = 'alex', backbone: str | None = None) -> nn.Module:
    """Builds the network of LPIPS version 0.1; nothing is downloaded.

    Args:
        net: Which backbone.
        backbone: File of torchvision's weights of it; by default the one in torch's cache.

    Raises:
        UserError: The package or the weights are missing, or the weights are of another network; one line.
    """
    if net not in BACKBONES:
        raise UserError(f"calculate_lpips.net: expected {', '.join(BACKBONES)}, got '{net}'")
    try:
        import lpips
    except ImportError:
        raise UserError('calculate_lpips: expected the package lpips, found none; pip install lpips') from None
    path = Path(backbone) if backbone else Path(torch.hub.get_dir(), 'checkpoints', BACKBONES[net])
    if not path.is_file():
        raise UserError(
            f"calculate_lpips.backbone: expected torchvision's weights of {net} in '{path}', found no such file; "
            f'copy {BACKBONES[net]} there, or name it with backbone:'
        )
    state = read_state_dict(str(path), None, 'calculate_lpips.backbone')
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads
        network = lpips.LPIPS(net=net, version='0.1', pnet_rand=True, verbose=False)
    _load_backbone(network.net, state, str(path))
    return network.requires_grad_(False).eval()


def _load_backbone(slices: nn.Module, state: dict[str, torch.Tensor], path: str) -> None:
    """Loads torchvision's ``features.N.*`` into the slices of lpips, which are named ``sliceK.N.*``."""
    wanted = slices.state_dict()
    found = {key: state.get('features.' + key.partition('.')[2]) for key in wanted}
    wrong = [key for key, value in found.items() if value is None or value.shape != wanted[key].shape]
    if wrong:
        raise UserError(
            f"calculate_lpips.backbone: expected torchvision's weights, got '{path}' without "
            f'features.{wrong[0].partition(".")[2]} of {tuple(wanted[wrong[0]].shape)}; take the file of this backbone'
        )
    fitting = {key: value for key, value in found.items() if value is not None}
    load_weights(slices, fitting, path, 'calculate_lpips.backbone')
