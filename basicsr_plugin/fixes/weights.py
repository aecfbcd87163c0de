"""Fixes of how BasicSR loads weights: those of networks, and those of VGG for the perceptual loss."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from basicsr_plugin.errors import UserError, first_line
from basicsr_plugin.fixes.source import contains

__all__ = ['fix_load_network', 'fix_vgg', 'option_of']


def fix_load_network() -> bool:
    """Weights that do not fit, or a file that holds none, end in a traceback or in hundreds of lines.

    BasicSR also loads NaN, cuts fractions, and lets versions of torch before 2.6 run code from the file.
    """
    from basicsr.models.base_model import BaseModel

    if contains(BaseModel.load_network, 'UserError'):
        return False
    BaseModel.load_network = _load_network
    return True


def _load_network(self: Any, net: Any, load_path: str, strict: bool = True, param_key: str | None = 'params') -> None:
    """Loads weights as BasicSR does; raises UserError in one line."""
    from basicsr.utils import get_root_logger

    from basicsr_plugin.checkpoint import read_file, weights_in, weights_key
    from basicsr_plugin.weights import load_weights

    net = self.get_bare_model(net)
    name, where = type(net).__name__, option_of(self.opt, load_path)
    content = read_file(load_path, where)
    key = weights_key(content, load_path, param_key, where)
    state = weights_in(content, load_path, param_key, where)
    get_root_logger().info(f'Loading {name} model from {load_path}, with param key: [{key}].')
    if not strict:
        self._print_different_keys_loading(net, state, strict)  # also renames what has another size
    loaded = load_weights(net, state, load_path, where, strict=strict)
    if not strict:
        get_root_logger().info(f'{loaded} of {len(net.state_dict())} weights of {name} were loaded')


def option_of(opt: Mapping[str, Any], path: str) -> str:
    """Returns the option that names a file of weights, for messages."""
    paths = opt.get('path') or {}
    keys = [key for key, value in paths.items() if key.startswith('pretrain_network') and str(value) == str(path)]
    return f'path.{keys[0] if keys else "pretrain_network_*"}'


def fix_vgg() -> bool:
    """VGG weights that cannot be downloaded, or are damaged, end in a traceback, in every model with the loss.

    BasicSR also loads the file of VGG19 into any other VGG.
    """
    from types import SimpleNamespace
    from unittest import mock

    from basicsr.archs import vgg_arch

    build = vgg_arch.VGGFeatureExtractor.__init__
    if not contains(build, 'torch.load(VGG_PRETRAIN_PATH'):
        return False

    def init(self: Any, layer_name_list: Any, vgg_type: str = 'vgg19', *args: Any, **kwargs: Any) -> None:
        net = _vgg(vgg_type, vgg_arch.VGG_PRETRAIN_PATH)
        loaded = SimpleNamespace(**{vgg_type: lambda **_: net})
        with mock.patch.multiple(vgg_arch, vgg=loaded, VGG_PRETRAIN_PATH=''):
            build(self, layer_name_list, vgg_type, *args, **kwargs)

    vgg_arch.VGGFeatureExtractor.__init__ = init
    return True


def _vgg(vgg_type: str, usual: str) -> Any:
    """Builds a VGG with torchvision's weights: of a file next to that of VGG19, or downloaded.

    Raises:
        UserError: The type is unknown, the weights cannot be downloaded, or their file is damaged; one line.
    """
    from torchvision.models import vgg

    from basicsr_plugin.checkpoint import read_state_dict
    from basicsr_plugin.weights import load_weights

    where = 'train.perceptual_opt'
    weights = getattr(vgg, f'{vgg_type.upper()}_Weights', None)
    if weights is None:
        known = ', '.join(name for name in vgg.__all__ if name.startswith('vgg'))
        raise UserError(f'{where}.vgg_type: expected one of {known}, got {vgg_type!r}')
    name = os.path.basename(weights.DEFAULT.url)
    path = usual if vgg_type == 'vgg19' else os.path.join(os.path.dirname(usual), name)
    build = getattr(vgg, vgg_type)
    if os.path.exists(path):
        net = build(pretrained=False)
        load_weights(net, read_state_dict(path, None, where), path, where)
        return net
    try:
        return build(pretrained=True)
    except Exception as error:  # a download may fail in any way, and a file in torch's cache may be damaged
        reason = getattr(error, 'reason', None) or (first_line(error) if isinstance(error, OSError) else 'damaged file')
        raise UserError(
            f'{where}: the VGG weights could not be downloaded ({reason}); put {name} of torchvision into '
            f'{os.path.dirname(usual)}/'
        ) from error
