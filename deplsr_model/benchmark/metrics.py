"""Metrics with their protocol: everything that a value depends on, as a text that stays with it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from basicsr_plugin.checks import check_keys
from basicsr_plugin.errors import OptionError, UserError, first_line
from basicsr_plugin.names import nearest
from basicsr_plugin.parse_options import read_yaml
from deplsr_model.benchmark.pairs import TestSet
from deplsr_model.benchmark.weights_hash import hash_of_weights
from deplsr_model.upscaling.model_files import file_hash

__all__ = ['Metric', 'find_metrics']

PYIQA = 'pyiqa:'
_LOWER = ('niqe', 'lpips', 'dists', 'brisque', 'fid', 'mae', 'rmse', 'ilniqe', 'piqe')
_VARIANTS = {
    'calculate_ssim': "BasicSR's SSIM (Gaussian 11 x 11, sigma 1.5, no padding)",
    'calculate_niqe': "BasicSR's NIQE",
    'calculate_lpips': 'LPIPS 0.1',
}


@dataclass(frozen=True)
class Metric:
    """A metric and its options.

    Attributes:
        name: Of the column.
        compute: Takes output and ground truth (h, w, 3) RGB uint8 (None without), and the border.
        description: What it computes, without the border.
        border: Pixels that it leaves out at each side; None for what is usual for the test set.
        lower_is_better: Whether it is a distance.
        needs_gt: Whether it compares with the ground truth.
    """

    name: str
    compute: Callable[[np.ndarray, np.ndarray | None, int], float] = field(compare=False)
    description: str
    border: int | None = None
    lower_is_better: bool = False
    needs_gt: bool = True

    def border_in(self, test_set: TestSet) -> int:
        """Returns the border in a test set."""
        return test_set.border if self.border is None else self.border

    def protocol(self, test_set: TestSet) -> str:
        """Returns all that a value in a test set depends on, except for the images."""
        return f'{self.description}; border {self.border_in(test_set)}; {test_set.crop}; 8 bits'

    def __call__(self, output: np.ndarray, gt: np.ndarray | None, test_set: TestSet, label: str) -> float:
        """Computes the metric.

        Raises:
            UserError: It cannot be computed for this image; one line.
        """
        try:
            value = float(self.compute(output, gt, self.border_in(test_set)))
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f'{test_set.name}/{label}: {self.name} fails ({first_line(error, with_type=True)})'
            ) from error
        if math.isnan(value):
            raise UserError(f'{test_set.name}/{label}: {self.name} is not a number for this image; leave it out')
        return value


def find_metrics(names: Sequence[str], colour: str | None = None) -> list[Metric]:
    """Returns metrics, which can be computed: packages and weight files are there.

    Args:
        names: Each ``psnr``, ``ssim``, ``niqe``, ``lpips``, another metric that is registered as ``calculate_NAME``,
            ``pyiqa:NAME``, or an option file whose ``val.metrics`` are taken.
        colour: ``y`` or ``rgb``: what PSNR and SSIM compare; by default Y.

    Raises:
        UserError: One is unknown or cannot be computed; one line.
    """
    found: dict[str, Metric] = {}
    for name in names:
        for metric in _metrics(name, colour or 'y'):
            if metric.name in found:
                raise UserError(f"--metrics: expected each metric once, got '{metric.name}' repeatedly")
            found[metric.name] = metric
    return list(found.values())


def _metrics(name: str, colour: str) -> list[Metric]:
    if name.lower().endswith(('.yml', '.yaml')):
        blocks = (read_yaml(name).get('val') or {}).get('metrics')
        if not isinstance(blocks, Mapping) or not blocks:
            raise UserError(f'--metrics: expected val.metrics in {name}, got none')
        return [_registered(key, dict(block), f'{name}: val.metrics.{key}') for key, block in blocks.items()]
    if name.startswith(PYIQA):
        return [_pyiqa(name.removeprefix(PYIQA))]
    options = {'type': f'calculate_{name}'}
    if name in ('psnr', 'ssim'):
        options['test_y_channel'] = colour == 'y'  # type: ignore[assignment]
    return [_registered(name, options, '--metrics')]


def _registered(name: str, options: dict[str, Any], where: str) -> Metric:
    from basicsr.utils.registry import METRIC_REGISTRY

    metric_type = str(options.pop('type', ''))
    if metric_type not in METRIC_REGISTRY:
        known = [key.removeprefix('calculate_') for key in METRIC_REGISTRY.keys()]  # noqa: SIM118  it is no mapping
        short = metric_type.removeprefix('calculate_')
        raise UserError(
            f"{where}: expected {', '.join(sorted(known))} or pyiqa:NAME, got '{short}'{nearest(short, known)}"
        )
    function = METRIC_REGISTRY.get(metric_type)
    border = options.pop('crop_border', None)
    better = options.pop('better', None)
    if better not in (None, 'higher', 'lower'):
        raise OptionError(f"{where}.better: expected higher or lower, got '{better}'")
    check_keys(function, options, where, '')
    short = metric_type.removeprefix('calculate_')
    second = inspect.signature(function).parameters.get('img2')
    needs_gt = second is not None and second.default is second.empty

    def compute(output: np.ndarray, gt: np.ndarray | None, crop_border: int) -> float:
        images = {'img': output[..., ::-1]} | ({} if gt is None else {'img2': gt[..., ::-1]})
        return function(**images, crop_border=crop_border, **options)

    lower = better == 'lower' if better else short in _LOWER
    return Metric(name, compute, _description(metric_type, options), border, lower, needs_gt)


def _description(metric_type: str, options: Mapping[str, Any]) -> str:
    shown = dict(options)
    parts = [_VARIANTS.get(metric_type, metric_type.removeprefix('calculate_').upper())]
    if metric_type in ('calculate_psnr', 'calculate_ssim'):
        parts.append('Y of BT.601, not rounded' if shown.pop('test_y_channel', False) else 'RGB')
    if metric_type == 'calculate_niqe':
        parts += [shown.pop('convert_to', 'y').upper(), f'statistics {_niqe_statistics()}']
    if metric_type == 'calculate_lpips':
        from deplsr_model.lpips_network import lpips_network

        net = shown.pop('net', 'alex')
        weights = hash_of_weights(lpips_network(net, shown.pop('backbone', None)))
        parts += [net, 'RGB', f'weights {weights[:12]}']
    return ', '.join([*parts, *(f'{key} {value}' for key, value in sorted(shown.items()))])


def _niqe_statistics() -> str:
    import basicsr.metrics

    return file_hash(Path(basicsr.metrics.__file__).with_name('niqe_pris_params.npz'))[:12]


def _pyiqa(name: str) -> Metric:
    try:
        import pyiqa
    except ImportError:
        raise UserError(f"--metrics {PYIQA}{name}: expected the package pyiqa; pip install 'deplsr[iqa]'") from None
    import torch

    if name not in pyiqa.list_models():
        raise UserError(f"--metrics: expected a metric of pyiqa, got '{name}'{nearest(name, pyiqa.list_models())}")
    try:
        network = pyiqa.create_metric(name, device='cpu')
    except Exception as error:
        raise UserError(f'--metrics {PYIQA}{name}: weights cannot be loaded ({first_line(error)})') from error

    def tensor(image: np.ndarray, border: int) -> torch.Tensor:
        inside = image[border : image.shape[0] - border, border : image.shape[1] - border]
        return torch.from_numpy(np.ascontiguousarray(inside.transpose(2, 0, 1))).float()[None] / 255

    needs_gt = getattr(network, 'metric_mode', 'FR') == 'FR'

    def compute(output: np.ndarray, gt: np.ndarray | None, border: int) -> float:
        images = (output, gt) if needs_gt else (output,)
        with torch.no_grad():
            return network(*(tensor(one, border) for one in images if one is not None)).item()

    version = getattr(pyiqa, '__version__', 'of unknown version')
    text = f'{name} of pyiqa {version}, RGB, weights {hash_of_weights(network)[:12]}'
    return Metric(name, compute, text, None, bool(network.lower_better), needs_gt)
