"""Checks that networks can be built with their arguments, before a run makes a folder.

A network is built on torch's meta device, which has shapes and no values: in a tenth of a second or less, for most.
What fails there is built once more as the run will build it, since some networks need values.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from basicsr_plugin.errors import Faults, OptionError, UserError, cause
from basicsr_plugin.image_sets import find_images, image_size
from basicsr_plugin.signatures import takes_none
from basicsr_plugin.stock_checks import is_stock, registered_as
from basicsr_plugin.stock_sections import STOCK_MODELS

__all__ = ['check_networks']

_DRAWS = frozenset(
    getattr(Tensor, name)
    for name in ('normal_', 'uniform_', 'erfinv_', 'mul_', 'add_', 'clamp_', 'fill_', 'zero_')  # of initialisations
)
_WEIGHTS = 'pretrained'  # an argument that names a file or a download, which takes longer and is read by the run
_BYTES = 4  # of a float32
_WINDOW = 64  # pixels; windows and factors of most networks divide it


@dataclass(frozen=True)
class _Shapes:
    """A batch for a network; ``scale`` is that of its outputs, None if they are no images."""

    batch: int
    channels: int
    height: int
    width: int
    scale: int | None
    training: bool

    def small(self) -> _Shapes:
        """Returns a batch of less work, with sides of the same remainders by a window; a training's crops are kept."""
        if self.training:
            return self
        height, width = (
            side if side <= 2 * _WINDOW else _WINDOW + side % _WINDOW for side in (self.height, self.width)
        )
        return dataclasses.replace(self, height=height, width=width)


def check_networks(opt: Mapping[str, Any], registries: Any) -> None:
    """Builds each network of an option file without weights; those of BasicSR's models also process a batch.

    Args:
        opt: The option file, with names and arguments that are checked already.
        registries: Module with BasicSR's registries.

    Raises:
        OptionError: One cannot be built, does not fit into memory, or cannot process the images: one line for each.
    """
    faults = Faults()
    shapes = _shapes(opt, registries)
    for key, block in opt.items():
        if key.startswith('network_') and isinstance(block, Mapping):
            known = _without_weights(block, registries.ARCH_REGISTRY)
            if known is not None:
                with faults.caught():
                    _check(key, known, shapes.get(key, {}))
    faults.raise_all()


def _check(key: str, block: dict[str, Any], shapes: Mapping[str, _Shapes]) -> None:
    name = f'{key}: {block["type"]}'
    with _silence():
        left = _not_in_shapes(key, block, shapes)
        if left is None or left:
            net = _build_for_real(key, block)
            for where, shape in (shapes if left is None else left).items():
                _process_for_real(net, shape, name, where)


def _not_in_shapes(key: str, block: dict[str, Any], shapes: Mapping[str, _Shapes]) -> dict[str, _Shapes] | None:
    """Builds a network on torch's meta device and checks its memory before anything takes any.

    Returns:
        The batches that it does not process there, since they are wrong or it needs values; None if it is not built.
    """
    left: dict[str, _Shapes] = {}
    with torch.device('meta'), _ShapesOnly():
        try:
            net = _build(block)
        except Exception:  # noqa: BLE001  it may need values; what is wrong with it shows again
            return None
        _check_memory(key, net)
        for where, shape in shapes.items():
            try:
                _process(net, shape, key, where)
            except OptionError:
                left[where] = shape
    return left


def _check_memory(key: str, net: nn.Module) -> None:
    if not hasattr(os, 'sysconf'):  # Windows
        return
    needed = sum(value.numel() for value in (*net.parameters(), *net.buffers())) * _BYTES
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    if needed > memory:
        raise OptionError(
            f'{key}: expected a network that fits into the memory of {memory / 1e9:.0f} GB, got one of '
            f'{needed / 1e9:.0f} GB with these arguments; lower them'
        )


def _process_for_real(net: nn.Module, shape: _Shapes, name: str, where: str) -> None:
    """Checks a batch as :func:`_process`; an image of validation is first tried in less than its size."""
    small = shape.small()
    if small != shape:
        with contextlib.suppress(OptionError):  # the network may have a fixed size, or a window that does not divide it
            _process(net, small, name, where)
            return
    _process(net, shape, name, where)


def _process(net: nn.Module, shape: _Shapes, name: str, where: str) -> None:
    """Checks that a network processes a batch, and that the outputs have the size of the GT images."""
    sides = f'{shape.width}x{shape.height}'
    try:
        with torch.no_grad():
            output = net.train(shape.training)(torch.zeros(shape.batch, shape.channels, shape.height, shape.width))
    except Exception as error:  # a forward pass may fail in any way
        raise OptionError(
            f'{name} cannot process images of {sides} ({where}): {cause(error)}; correct its arguments or their size'
        ) from error
    if shape.scale is None or not isinstance(output, Tensor):
        return
    expected, got = (shape.height * shape.scale, shape.width * shape.scale), tuple(output.shape[-2:])
    if expected != got:
        raise OptionError(
            f'{name}: expected outputs of {expected[1]}x{expected[0]}, {shape.scale} times {sides} ({where}), got '
            f'{got[1]}x{got[0]}; correct its arguments or scale'
        )


def _shapes(opt: Mapping[str, Any], registries: Any) -> dict[str, dict[str, _Shapes]]:
    """Returns what the networks of a model of BasicSR process, by network and by where the size comes from."""
    model = registered_as(registries.MODEL_REGISTRY, opt['model_type'])
    scale = opt.get('scale')
    if not is_stock(model) or model.__name__ not in STOCK_MODELS or not isinstance(scale, int):
        return {}
    found: dict[str, dict[str, _Shapes]] = {'network_g': {}, 'network_d': {}}
    for label, dataset in opt['datasets'].items():
        where = f'datasets.{label}'
        if not is_stock(registered_as(registries.DATASET_REGISTRY, dataset['type'])):
            continue
        channels = 1 if dataset.get('color') == 'y' else 3
        if dataset['phase'] == 'train':
            size = dataset.get('gt_size') or opt.get('gt_size')
            batch = min(2, dataset['batch_size_per_gpu'])
            if isinstance(size, int):
                place, side = f'{where}.gt_size: {size}', size // scale
                found['network_g'][place] = _Shapes(batch, channels, side, side, scale, training=True)
                found['network_d'][place] = _Shapes(batch, channels, size, size, None, training=True)
        elif model.test is _plain_test():
            with contextlib.suppress(OptionError):  # on its images there is a line of its own
                for path, _ in find_images(dataset, where).pairs[:1]:
                    if path is not None:
                        width, height = image_size(path, where)
                        found['network_g'][f"'{path}'"] = _Shapes(1, channels, height, width, scale, training=False)
    return found


def _plain_test() -> Any:
    from basicsr.models.sr_model import SRModel

    return SRModel.test


def _build_for_real(key: str, block: dict[str, Any]) -> nn.Module:
    try:
        return _build(block)
    except UserError as error:
        line = str(error).replace('network_*: ', f'{key}: ', 1)
        named = re.match(r'\w+', line)
        raise OptionError(f'{key}.{line}' if named and named[0] in block else line) from error


def _build(block: dict[str, Any]) -> nn.Module:
    from basicsr import archs

    net: nn.Module = archs.build_network(copy.deepcopy(block))
    return net


def _without_weights(block: Mapping[str, Any], registered: Any) -> dict[str, Any] | None:
    """Returns the block of a network, or one in it, that names no weights; None if it must name some."""
    function = registered_as(registered, block.get('type'))
    kept: dict[str, Any] = {}
    for key, value in block.items():
        if key == _WEIGHTS and value:
            if value is not True and (function is None or not takes_none(function, key)):
                return None
            kept[key] = False if value is True else None
        elif isinstance(value, Mapping):
            kept[key] = _without_weights(value, registered)
            if kept[key] is None:
                return None
        else:
            kept[key] = value
    return kept


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Leaves the lines about a network to the time when it is built for the run, and BasicSR's log unopened."""
    from basicsr.utils.logger import initialized_logger

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    opened = mock.patch.dict(initialized_logger, basicsr=True)  # it would be opened without a file
    try:
        with opened, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


class _ShapesOnly(TorchFunctionMode):
    """Skips initialisations, and lets a number be taken out of a tensor without values."""

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _DRAWS and args[0].is_meta:
            return args[0]
        if func is Tensor.item and args[0].is_meta:
            return 0.0
        return func(*args, **(kwargs or {}))
