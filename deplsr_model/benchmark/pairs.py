"""Pairs of a low-quality image and its ground truth, and the sets that they form."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from basicsr_plugin.errors import UserError
from deplsr_data.files.photos import decode
from deplsr_model.upscaling.photo_jobs import read_bytes

__all__ = ['Images', 'Pair', 'TestSet', 'bicubic', 'cropped_to', 'hash_of', 'read_image']


@dataclass(frozen=True)
class Images:
    """The images of a pair.

    Attributes:
        lq: (h, w, 3) RGB, uint8 or float32 in 0..1.
        gt: (h * scale, w * scale, 3) RGB, uint8; None where there is no ground truth.
    """

    lq: np.ndarray
    gt: np.ndarray | None

    @property
    def key(self) -> str:
        """Hash of both."""
        return hash_of(self.lq, *(() if self.gt is None else (self.gt,)))


@dataclass(frozen=True)
class Pair:
    """One image of a test set under one degradation.

    Attributes:
        name: Of the image, without suffix.
        load: Reads the images.
        degradation: Its name, where a set has several.
    """

    name: str
    load: Callable[[], Images]
    degradation: str = ''

    @property
    def label(self) -> str:
        """Degradation and name."""
        return f'{self.degradation}/{self.name}' if self.degradation else self.name


@dataclass(frozen=True)
class TestSet:
    """A test set.

    Attributes:
        name: Of the set.
        pairs: Its images.
        scale: Size of the ground truth over that of the low-quality images; None without ground truth.
        border: Pixels that metrics leave out at each side.
        crop: Which part of the original images the files hold, such as ``GTmod12``.
        folder: Where its files are, if they are in one folder.
    """

    __test__ = False  # not a class of tests

    name: str
    pairs: Sequence[Pair]
    scale: int | None
    border: int = 0
    crop: str = 'complete images'
    folder: Path | None = None


def read_image(path: Path) -> np.ndarray:
    """Reads an image as (h, w, 3) RGB, uint8.

    Raises:
        UserError: It cannot be read; one line.
    """
    pixels = decode(read_bytes(str(path)), str(path))
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def cropped_to(gt: np.ndarray, lq: np.ndarray, scale: int, name: str) -> np.ndarray:
    """Returns the part of the ground truth that the low-quality image shows, as BasicSR's PairedImageDataset does.

    Raises:
        UserError: The sizes do not fit; one line.
    """
    height, width = (side * scale for side in lq.shape[:2])
    if gt.shape[0] < height or gt.shape[1] < width or max(gt.shape[0] - height, gt.shape[1] - width) >= scale:
        raise UserError(
            f'{name}: expected a ground truth of {width} x {height} pixels at x{scale}, got {gt.shape[1]} x '
            f'{gt.shape[0]}; check that both folders hold the same images, and --scale'
        )
    return np.ascontiguousarray(gt[:height, :width])


def hash_of(*arrays: np.ndarray) -> str:
    """Returns a hash of arrays: values, types and shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f'{array.dtype}{array.shape}'.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def bicubic(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Resizes as MATLAB's imresize does (BasicSR's port, antialiased), rounded to 8 bits.

    Args:
        pixels: (h, w, 3), uint8 or float32 in 0..1.
        factor: Above 1 to enlarge.
    """
    from basicsr.utils.matlab_functions import imresize

    values = pixels if pixels.dtype == np.float32 else pixels.astype(np.float32) / 255
    chw = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    out = imresize(chw, factor).numpy().transpose(1, 2, 0)
    return (out.clip(0, 1) * 255).round().astype(np.uint8)
