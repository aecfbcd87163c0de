"""WebP and AVIF, the codecs of the web besides JPEG, by way of Pillow; they run on the CPU, also for a device."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

__all__ = ['CODECS', 'batched_recode', 'is_available', 'jpeg_quality_of', 'recode']

#: Names of the codecs; a batch carries the index.
CODECS: tuple[str, ...] = ('webp', 'avif')
# AVIF at speed 6, the usual one, takes 20 ms for 64 x 64 pixels, at speed 8 a quarter of that
_SETTINGS: dict[str, dict[str, int]] = {'webp': {'method': 4}, 'avif': {'speed': 8, 'max_threads': 1}}
#: For each codec: qualities, and the JPEG quality factors that change photos as much (mean squared error); measured by
#: `python -m benchmarks.degradation.codec_quality`.
EQUIVALENT: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    'webp': ((5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100), (15, 20, 29, 42, 58, 68, 75, 79, 87, 94, 96, 98)),
    'avif': ((5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100), (7, 9, 14, 21, 37, 67, 81, 89, 93, 96, 97, 99)),
}


@lru_cache(maxsize=8)
def is_available(codec: str) -> bool:
    """Whether Pillow can write and read a codec; AVIF needs Pillow 11.3 or later."""
    return codec in features.get_supported()


def recode(image: np.ndarray, codec: str, quality: int) -> np.ndarray:
    """Encodes and decodes an image, lossy, with 4:2:0 chroma.

    The result depends on the version of the codec's library.

    Args:
        image: (h, w, 3) float32 RGB; rounded to 8 bits after clipping to 0..1.
        codec: One of :data:`CODECS`.
        quality: 0 to 100, as the codec defines it.

    Returns:
        (h, w, 3) float32, 0..1.

    Raises:
        ValueError: Pillow was built without the codec.
    """
    return _recode_pixels(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), codec, quality)


def _recode_pixels(pixels: np.ndarray, codec: str, quality: int) -> np.ndarray:
    if not is_available(codec):
        raise ValueError(f'expected a Pillow with {codec.upper()}, got one without; install Pillow 11.3 or later')
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, codec.upper(), quality=quality, **_SETTINGS[codec])
    with Image.open(buffer) as decoded:
        return np.asarray(decoded.convert('RGB'), np.float32) / 255


def batched_recode(x: Tensor, codec: Tensor, quality: Tensor, size: Tensor) -> Tensor:
    """Encodes and decodes each image of a batch; equal to :func:`recode` to the bit.

    There is no batch form of these codecs: images go to the CPU and through Pillow one by one, from another device in
    threads of their own. On the CPU the caller's threads each have a part of the batch.

    Args:
        x: (B, H, 3, W) float32, rows of three channels, each image in the upper left corner.
        codec: (B,) int64, indices into :data:`CODECS`.
        quality: (B,) int64, 0 to 100.
        size: (B, 2) int64, rows and columns of each image.

    Returns:
        (B, H, 3, W) float32, 0..1; beyond an image's own size as it was.
    """
    pixels = x.clamp(0, 1).mul(255).round_().to(torch.uint8).permute(0, 1, 3, 2).cpu().numpy()
    settings = list(zip(codec.tolist(), quality.tolist(), size.tolist(), strict=True))

    def one(place: int) -> Tensor:
        index, factor, (height, width) = settings[place]
        image = np.ascontiguousarray(pixels[place, :height, :width])
        return torch.from_numpy(_recode_pixels(image, CODECS[index], factor)).permute(0, 2, 1)

    out = x.clone()
    for place, image in enumerate(_all(one, len(x), x.device.type != 'cpu')):
        out[place, : image.shape[0], :, : image.shape[2]] = image.to(x.device, non_blocking=True)
    return out


def _all(work: Callable[[int], Tensor], count: int, in_threads: bool) -> Sequence[Tensor]:
    if not in_threads or count < 2:
        return [work(place) for place in range(count)]
    with ThreadPoolExecutor(min(count, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, range(count)))


def jpeg_quality_of(codec: str, quality: float) -> float:
    """Returns the JPEG quality factor that changes photos as much as a codec does at a quality."""
    return float(np.interp(quality, *EQUIVALENT[codec]))
