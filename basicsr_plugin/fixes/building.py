"""Fixes of how BasicSR builds networks and calls metrics: what they cannot do with their arguments is one line."""

from __future__ import annotations

from typing import Any

from basicsr_plugin.errors import OptionError, UserError, cause
from basicsr_plugin.fixes.source import contains, replace_everywhere

__all__ = ['fix_building', 'fix_metrics']

_SMALLEST = {'calculate_niqe': 96, 'calculate_ssim': 11}


def fix_building() -> bool:
    """Arguments that a network cannot be built with end in an error of torch that does not name the network."""
    from basicsr import archs

    build = archs.build_network
    if not contains(build, 'ARCH_REGISTRY.get(network_type)(**opt)'):
        return False

    def build_network(opt: dict[str, Any]) -> Any:
        try:
            return build(opt)
        except UserError:
            raise
        except Exception as error:  # a constructor may fail in any way
            raise OptionError(
                f'network_*: {opt["type"]} cannot be built with these arguments: {cause(error)}; correct them'
            ) from error

    replace_everywhere('build_network', build, build_network)
    return True


def fix_metrics() -> bool:
    """A metric without GT, or of an image that ``crop_border`` leaves nothing of, ends in a traceback or in NaN."""
    from basicsr import metrics

    calculate = metrics.calculate_metric
    if not contains(calculate, 'METRIC_REGISTRY.get(metric_type)(**data, **opt)'):
        return False

    def calculate_metric(data: dict[str, Any], opt: dict[str, Any]) -> Any:
        border, name = opt.get('crop_border') or 0, opt['type']
        sizes = {key: image.shape[:2] for key, image in data.items() if hasattr(image, 'shape')}
        needed = _SMALLEST.get(name, 1) + 2 * border
        for side in (min(size) for size in sizes.values()):
            if side < needed:
                raise UserError(
                    f'val.metrics: expected images of {needed} pixels or more for {name} with crop_border: {border}, '
                    f'got {side}; lower crop_border, leave the metric or the image out'
                )
        if len(set(sizes.values())) > 1:
            (height, width), (gt_height, gt_width) = sizes['img'], sizes['img2']
            raise UserError(
                f'val.metrics: expected an output of {gt_width} x {gt_height} pixels, the size of GT, got {width} x '
                f'{height} for {name}; check scale and the pairs of the data set'
            )
        return calculate(data, opt)

    replace_everywhere('calculate_metric', calculate, calculate_metric)
    return True
