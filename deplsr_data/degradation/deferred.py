"""What a data set with ``degrade_on: device`` leaves to the device, where the whole batch is done at once."""

from __future__ import annotations

from typing import Any

import torch

from deplsr_data.degradation.apply_batch import apply_batch
from deplsr_data.files.crops import cut_windows
from deplsr_data.ops.usm import sharpen_batch

__all__ = ['degrade_deferred']


def degrade_deferred(data: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Makes the LR images of a batch.

    Args:
        data: Collated items; those without ``degradation`` have their LR images and pass unchanged. ``gt``
            (B, 3, H, W) float32, 0..1; ``degradation``: packed records; ``sharpen``: (B,) bool, the same for all;
            ``window``: (B, 3) int64, upper and left border and side of the part to keep, in LR pixels, and
            ``keep_context``: (B,) bool, whether to give the whole as well.
        device: Where to work.

    Returns:
        A new dict in which ``lq`` and, with ``sharpen``, ``gt_usm`` (what was degraded) and, where kept, ``context``
        stand in place of what the data set asked for; they and ``gt`` are on ``device``.
    """
    if 'degradation' not in data:
        return data
    orders = ('degradation', 'sharpen', 'window', 'keep_context')
    rest = {key: value for key, value in data.items() if key not in orders}
    images = {'gt': data['gt'].to(device, non_blocking=True)}
    if bool(data['sharpen'].all()):
        images['gt_usm'] = sharpen_batch(images['gt'])
    images['lq'] = apply_batch(data['degradation'], images.get('gt_usm', images['gt']))
    if 'window' in data:
        side, corners = int(data['window'][0, 2]), data['window'][:, :2]
        scale = images['gt'].shape[-1] // images['lq'].shape[-1]
        for name, image in images.items():
            times = 1 if name == 'lq' else scale
            images[name] = cut_windows(image, corners * times, side * times)
            if name == 'lq' and bool(data['keep_context'].all()):
                rest['context'] = image
    return {**rest, **images}
