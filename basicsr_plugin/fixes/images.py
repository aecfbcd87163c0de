"""Fixes of BasicSR's image operations, where OpenCV or torch has changed since."""

from __future__ import annotations

from typing import Any

from basicsr_plugin.errors import UserError
from basicsr_plugin.fixes.source import contains, replace_everywhere

__all__ = ['fix_filter2d', 'fix_jpeg', 'fix_tensor2img']


def fix_jpeg() -> bool:
    """Real-ESRGAN's ``random_add_jpg_compression`` draws a quality with a fraction, which OpenCV 5 refuses."""
    import cv2
    import numpy as np
    from basicsr.data import degradations

    try:
        cv2.imencode('.jpg', np.zeros((8, 8), np.uint8), [int(cv2.IMWRITE_JPEG_QUALITY), 90.5])  # type: ignore[list-item]
    except (cv2.error, TypeError):
        pass
    else:
        return False
    if not contains(degradations.add_jpg_compression, 'JPEG_QUALITY), quality]'):
        return False
    compress = degradations.add_jpg_compression

    def add_jpg_compression(img: np.ndarray, quality: float = 90) -> np.ndarray:
        return compress(img, int(quality))  # cut off as earlier versions of OpenCV did

    degradations.add_jpg_compression = add_jpg_compression
    return True


def fix_tensor2img() -> bool:
    """An image that is not finite becomes a black one, which is validated as any other (10.6 dB)."""
    import torch
    from basicsr.utils import img_util

    broken = img_util.tensor2img
    if contains(broken, 'isfinite'):
        return False

    def tensor2img(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        images = [tensor] if torch.is_tensor(tensor) else tensor
        if not all(image.isfinite().all() for image in images if torch.is_tensor(image)):
            raise UserError('an output image has NaN or infinity; the weights are damaged, use an earlier checkpoint')
        return broken(tensor, *args, **kwargs)

    replace_everywhere('tensor2img', broken, tensor2img)
    return True


def fix_filter2d() -> bool:
    """Real-ESRGAN's blur after JPEG fails: padding now keeps a memory order that its ``view`` cannot handle."""
    import torch
    from basicsr.models import realesrgan_model, realesrnet_model
    from basicsr.utils import img_process_util

    filter2d = img_process_util.filter2D
    try:
        filter2d(torch.zeros(2, 4, 4, 3).permute(0, 3, 1, 2), torch.ones(2, 3, 3))
    except RuntimeError:
        pass
    else:
        return False
    for module in (img_process_util, realesrgan_model, realesrnet_model):
        module.filter2D = lambda img, kernel: filter2d(img.contiguous(), kernel)
    return True
