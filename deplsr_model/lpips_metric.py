"""LPIPS, registered with BasicSR as ``calculate_lpips``."""

from __future__ import annotations

import numpy as np
import torch
from basicsr.metrics.metric_util import reorder_image
from basicsr.utils.registry import METRIC_REGISTRY

from deplsr_model.lpips_network import Backbone, lpips_network

__all__ = ['calculate_lpips']


@METRIC_REGISTRY.register()
def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: str = 'HWC',
    net: Backbone = 'alex',
    backbone: str | None = None,
    **_: object,
) -> float:
    """Perceptual distance of two images (LPIPS version 0.1); 0 for equal ones.

    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018.

    Args:
        img: BGR image in 0..255, as all metrics of BasicSR take it.
        img2: The ground truth, of the same size.
        crop_border: Pixels that are left out at each side.
        input_order: ``HWC`` or ``CHW``.
        net: Backbone.
        backbone: File of its weights (torchvision's); by default the one in torch's cache.

    Raises:
        UserError: The package lpips or the weights are missing; one line.
        ValueError: The images are of different sizes.
    """
    if img.shape != img2.shape:
        raise ValueError(f'calculate_lpips: expected images of one size, got {img.shape} and {img2.shape}')
    network = lpips_network(net, backbone)
    first, second = (_to_tensor(reorder_image(one, input_order), crop_border) for one in (img, img2))
    with torch.no_grad():
        return float(network(first, second).item())


def _to_tensor(image: np.ndarray, border: int) -> torch.Tensor:
    """Converts BGR in 0..255 to (1, 3, h, w) RGB in -1..1."""
    if border:
        image = image[border:-border, border:-border]
    rgb = image[..., ::-1] if image.shape[2] == 3 else np.repeat(image, 3, axis=2)
    return torch.from_numpy(rgb.transpose(2, 0, 1).astype(np.float32))[None] / 127.5 - 1
