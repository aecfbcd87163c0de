"""What a data set with ``degrade_on: device`` leaves to the device, where the whole batch is degraded at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deplsr_data.degradation.apply_batch import apply_batch
from deplsr_data.ops.crop_batch import cut_windows
from deplsr_data.ops.usm import sharpen_batch

__all__ = ['degrade_deferred']

_INSTRUCTIONS = ('degradation', 'sharpen', 'window', 'keep_context')


def degrade_deferred(data: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Makes the LR images of a batch.

    Args:
        data: Collated items; those without ``degradation`` have their LR images and are returned unchanged. ``gt``
            (B, 3, H, W) float32, 0..1; ``degradation``: packed records; ``sharpen``: (B,) bool, the same for all;
            ``window``: (B, 3) int64, upper and left border and side of the part to keep, in LR pixels, and
            ``keep_context``: (B,) bool, whether to return the image before it was cut as ``context``.
        device: Where to work.

    Returns:
        A new dict with ``lq`` and, with ``sharpen``, ``gt_usm`` (what was degraded) and, if kept, ``context`` in place
        of the instructions of the data set; they and ``gt`` are on ``device``.
    """
    if 'degradation' not in data:
        return data
    rest = {key: value for key, value in data.items() if key not in _INSTRUCTIONS}
    images: dict[str, Tensor] = {'gt': data['gt'].to(device, non_blocking=True)}
    if bool(data['sharpen'].all()):
        images['gt_usm'] = sharpen_batch(images['gt'])
    images['lq'] = apply_batch(data['degradation'], images.get('gt_usm', images['gt']))
    if 'window' in data:
        if bool(data['keep_context'].all()):
            rest['context'] = images['lq']
        images = _cut(images, data['window'])
    return {**rest, **images}


def _cut(images: dict[str, Tensor], window: Tensor) -> dict[str, Tensor]:
    side, corners = int(window[0, 2]), window[:, :2]
    scale = images['gt'].shape[-1] // images['lq'].shape[-1]
    times = {name: 1 if name == 'lq' else scale for name in images}
    return {name: cut_windows(image, corners * times[name], side * times[name]) for name, image in images.items()}
