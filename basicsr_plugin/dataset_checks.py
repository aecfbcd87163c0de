"""Checks data sets, and metrics and networks against the images that the data sets have, before a run begins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from basicsr_plugin.errors import Faults, OptionError
from basicsr_plugin.image_sets import ImageSet, find_images, image_size, sample
from basicsr_plugin.signatures import named_parameters
from basicsr_plugin.stock_checks import check_block, is_stock, registered_as, stock_options
from basicsr_plugin.stock_datasets import IOBackendOptions, LoaderOptions
from basicsr_plugin.stock_parts import smallest_side, too_small

__all__ = ['check_dataset', 'check_images']

_PADDED = 400  # side to which RealESRGANDataset crops and pads its images
_STOCK_POOL = 180  # RealESRGANModel's queue_size
_MOST_MISMATCH = 16  # GT pixels that may be left over where LQ was made of a slightly cropped GT
_CHANNELS = ('num_in_ch', 'in_chans', 'num_out_ch')
_TRAIN_KEYS = ('gt_size', 'use_hflip', 'use_rot')


def check_dataset(dataset: dict[str, Any], where: str, registered: Any, opt: Mapping[str, Any]) -> None:
    """Checks the keys of a data set: all of one of BasicSR, those of the loader of any other.

    Args:
        dataset: The block.
        where: Its place in the option file.
        registered: The class.
        opt: The option file.

    Raises:
        OptionError: One line for each fault.
    """
    faults = Faults()
    cls = stock_options('dataset', registered)
    with faults.caught():
        if cls is not None:
            if dataset.get('meta_info_file', '') is None:
                del dataset['meta_info_file']  # SingleImageDataset would open it
            check_block(cls, dataset, where)
        else:
            known = [*LoaderOptions.__dataclass_fields__]
            check_block(LoaderOptions, dataset, where, ignore=[key for key in dataset if key not in known])
    if cls is None and isinstance(dataset.get('io_backend'), dict):
        with faults.caught():  # BasicSR's client takes these arguments alone
            check_block(IOBackendOptions, dataset['io_backend'], f'{where}.io_backend', exact=True)
    for check in (_check_loader, *([_check_training] if cls is not None else [])):
        with faults.caught():
            check(dataset, where, opt)
    faults.raise_all()


def _check_loader(dataset: Mapping[str, Any], where: str, opt: Mapping[str, Any]) -> None:
    train, workers = dataset['phase'] == 'train', dataset.get('num_worker_per_gpu')
    if dataset.get('persistent_workers') is True:
        if not train or not workers:
            place = f'num_worker_per_gpu: {workers}' if train else 'validation, which has no workers'
            raise OptionError(f'{where}.persistent_workers: expected false with {place}, got true; remove it')
        if dataset.get('prefetch_mode') == 'cpu':
            raise OptionError(
                f'{where}.persistent_workers: expected false with prefetch_mode: cpu, got true; remove one of them'
            )
    if train and dataset.get('prefetch_mode') == 'cuda' and not dataset.get('pin_memory') and _uses_gpu(opt):
        raise OptionError(f'{where}.pin_memory: expected true with prefetch_mode: cuda, got false; set it')


def _uses_gpu(opt: Mapping[str, Any]) -> bool:
    import torch

    return opt['num_gpu'] != 0 and torch.cuda.device_count() > 0


def _check_training(dataset: Mapping[str, Any], where: str, opt: Mapping[str, Any]) -> None:
    name, scale = dataset['type'], opt.get('scale')
    if name == 'SingleImageDataset':
        if dataset['phase'] == 'train':
            raise OptionError(f'{where}.type: expected a data set with GT for training, got {name}; name another')
        return
    if scale is None:
        raise OptionError(f"missing key 'scale', which {name} needs")
    if dataset['phase'] != 'train':
        return
    if name == 'RealESRGANDataset':
        _check_pool(dataset, where, opt)
        return
    missing = [key for key in _TRAIN_KEYS if dataset.get(key) is None]
    if missing:
        raise OptionError('\n'.join(f"{where}: missing key '{key}', which {name} needs in training" for key in missing))
    _check_multiple(dataset['gt_size'], scale, f'{where}.gt_size')


def _check_multiple(size: Any, scale: Any, where: str) -> None:
    if isinstance(size, int) and isinstance(scale, int) and scale > 0 and size % scale:
        nearest = max(1, round(size / scale)) * scale
        raise OptionError(f'{where}: expected a multiple of scale {scale}, got {size}; take {nearest}')


def _check_pool(dataset: Mapping[str, Any], where: str, opt: Mapping[str, Any]) -> None:
    """Checks what RealESRGANModel does with the batches of RealESRGANDataset."""
    size, scale, batch = opt.get('gt_size'), opt['scale'], dataset.get('batch_size_per_gpu')
    _check_multiple(size, scale, 'gt_size')
    if isinstance(size, int) and size > _PADDED:
        raise OptionError(f'gt_size: expected at most {_PADDED}, the crop of RealESRGANDataset, got {size}; lower it')
    if isinstance(scale, int) and scale > 0 and _PADDED % scale:
        raise OptionError(f'scale: expected a divisor of {_PADDED}, the crop of RealESRGANDataset, got {scale}')
    pool = opt.get('queue_size', _STOCK_POOL)
    if not isinstance(pool, int) or not isinstance(batch, int) or batch < 1:
        return
    processes = opt['num_gpu'] if isinstance(opt['num_gpu'], int) and opt['num_gpu'] > 1 else 1
    if pool < batch * processes or pool % (batch * processes):
        raise OptionError(
            f'queue_size: expected a multiple of the batch of {batch * processes}, got {pool}; change it or '
            f'{where}.batch_size_per_gpu'
        )


def check_images(opt: Mapping[str, Any], registries: Any) -> None:
    """Checks the images of data sets of BasicSR; call it when all options are right.

    Args:
        opt: The option file.
        registries: Module with BasicSR's registries.

    Raises:
        OptionError: Folders are empty, images do not belong together or are too small for the crop or a metric, a
            metric needs GT that a data set does not have, or a network has another number of channels.
    """
    faults = Faults()
    for label, dataset in opt['datasets'].items():
        where = f'datasets.{label}'
        if stock_options('dataset', registered_as(registries.DATASET_REGISTRY, dataset['type'])) is None:
            continue
        with faults.caught():
            _check_channels(opt, dataset, where)
        with faults.caught():
            _check_scale(opt, registries, where)
        metrics = _metrics(opt, registries) if dataset['phase'] != 'train' else {}
        with faults.caught():
            _check_reference(dataset, where, metrics)
        with faults.caught():
            images = find_images(dataset, where)
            if dataset['phase'] == 'train':
                _check_epoch(dataset, where, images)
            _check_sizes(dataset, where, images, opt, metrics)
    faults.raise_all()


def _metrics(opt: Mapping[str, Any], registries: Any) -> dict[str, tuple[Mapping[str, Any], Any]]:
    """Blocks of the metrics, each with its function."""
    blocks = (opt.get('val') or {}).get('metrics') or {}
    return {name: (block, registered_as(registries.METRIC_REGISTRY, block['type'])) for name, block in blocks.items()}


def _check_reference(dataset: Mapping[str, Any], where: str, metrics: Mapping[str, Any]) -> None:
    if dataset['type'] != 'SingleImageDataset':
        return
    lines = [
        f'val.metrics.{name}: expected a metric without GT, which {where} (SingleImageDataset) does not have, got '
        f'{block["type"]}; remove it or take PairedImageDataset'
        for name, (block, function) in metrics.items()
        if 'img2' in [one.name for one in named_parameters(function)]
    ]
    if lines:
        raise OptionError('\n'.join(lines))


def _check_epoch(dataset: Mapping[str, Any], where: str, images: ImageSet) -> None:
    samples = math.ceil(images.count * dataset.get('dataset_enlarge_ratio', 1))
    batch = dataset['batch_size_per_gpu']
    if dataset['io_backend']['type'] != 'memcached' and samples < batch:
        raise OptionError(
            f'{where}.batch_size_per_gpu: expected at most {samples}, the samples of an epoch, got {batch}; raise '
            'dataset_enlarge_ratio or lower it'
        )


def _check_sizes(
    dataset: Mapping[str, Any], where: str, images: ImageSet, opt: Mapping[str, Any], metrics: Mapping[str, Any]
) -> None:
    scale = opt.get('scale') or 1
    for lq, gt in sample(images.pairs):
        lq_size = image_size(lq, where) if lq else None
        gt_size = image_size(gt, where) if gt else None
        if lq_size and gt_size:
            _check_pair(dataset, where, scale, (str(lq), lq_size), (str(gt), gt_size))
        if lq_size and metrics:
            _check_metrics(metrics, str(lq), min(lq_size) * scale)


def _check_pair(
    dataset: Mapping[str, Any],
    where: str,
    scale: int,
    lq: tuple[str, tuple[int, int]],
    gt: tuple[str, tuple[int, int]],
) -> None:
    (lq_path, lq_size), (gt_path, gt_size) = lq, gt
    left = [large - small * scale for small, large in zip(lq_size, gt_size, strict=True)]
    train = dataset['phase'] == 'train'
    if any(left) if train else min(left) < 0 or max(left) >= _MOST_MISMATCH:
        expected = 'x'.join(str(side * scale) for side in lq_size)
        raise OptionError(
            f'{where}.dataroot_gt: expected {expected}, {scale} times the size of {lq_path} (scale: {scale}), got '
            f'{gt_size[0]}x{gt_size[1]} in {gt_path}; set scale, or make LQ of GT again'
        )
    if train and min(gt_size) < dataset['gt_size']:
        raise OptionError(
            f'{where}.gt_size: expected at most {min(gt_size)}, the shorter side of {gt_path}, got '
            f'{dataset["gt_size"]}; lower it or remove small images'
        )


def _check_metrics(metrics: Mapping[str, Any], path: str, side: int) -> None:
    for name, (block, function) in metrics.items():
        if not is_stock(function):
            continue
        border = block.get('crop_border', 0)
        if side < smallest_side(function.__name__, border):
            raise OptionError(f"val.metrics.{name}: '{path}': {too_small(function.__name__, border, side)}")


def _check_channels(opt: Mapping[str, Any], dataset: Mapping[str, Any], where: str) -> None:
    network = opt.get('network_g')
    if not isinstance(network, Mapping):
        return
    channels = 1 if dataset.get('color') == 'y' else 3
    block = network.get('backbone') if isinstance(network.get('backbone'), Mapping) else network
    for key in _CHANNELS:
        given = block.get(key)  # type: ignore[union-attr]
        if isinstance(given, int) and given != channels:
            hint = 'set it' if channels == 1 else f'set it, or {where}.color: y for images of one channel'
            raise OptionError(f'network_g.{key}: expected {channels}, the channels of {where}, got {given}; {hint}')


def _check_scale(opt: Mapping[str, Any], registries: Any, where: str) -> None:
    """Compares the scale of a network, given or its default, with that of the data sets."""
    network, scale = opt.get('network_g'), opt.get('scale')
    if not isinstance(network, Mapping) or scale is None or 'backbone' in network or network.get('upsampler') == '':
        return
    found = registered_as(registries.ARCH_REGISTRY, network.get('type'))
    for one in named_parameters(found):
        given = network.get(one.name, one.default)
        if one.name in ('scale', 'upscale') and isinstance(given, int) and given != scale:
            default = '' if one.name in network else ', its default'
            raise OptionError(
                f'network_g.{one.name}: expected {scale}, the scale of the run and of {where}, got {given}{default}; '
                'change one'
            )
