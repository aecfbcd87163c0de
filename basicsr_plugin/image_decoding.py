"""Decodes images as users have them: 8 or 16 bits, gray, alpha, CMYK, palettes, EXIF orientation; or refuses them.

The data sets of BasicSR and ours, and every command, read images here, so that a damaged file is the same line in all.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from multiprocessing.sharedctypes import RawArray
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from basicsr_plugin.errors import UserError, first_line

__all__ = ['SUFFIXES', 'PhotoError', 'decode', 'decode_with', 'has_16_bits']

SUFFIXES = (
    *('.png', '.jpg', '.jpeg', '.jfif', '.jpe', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm', '.jp2', '.avif'),
    '.gif',
)
# a damaged header of 2 kB made a decoder fill 3 GB with gray; photos hold below 100 pixels in a byte
_PLAUSIBLE_PIXELS = 2**24
_PIXELS_PER_BYTE = 1000
_HINT = 'repair or remove it'


T = TypeVar('T')
_reported = RawArray('b', 1)  # shared with the workers of data loaders, which are started again in each epoch


class PhotoError(UserError):
    """One image cannot be read; others may be readable."""


def decode(content: bytes, path: str) -> np.ndarray:
    """Decodes an image file.

    Gray becomes three equal channels, CMYK and palettes RGB, alpha is dropped, EXIF orientation applied. Pillow
    decodes, since it refuses truncated files, which OpenCV fills with gray; 16 bits, which Pillow would cut to 8, are
    left to OpenCV. Of an animation or of pages the first is taken; the suffix of the file does not matter.

    Returns:
        (h, w, 3) RGB, uint8 or uint16.

    Raises:
        PhotoError: It is no image, is damaged, or has neither 8 nor 16 bits; one line that names ``path``.
    """
    pixels, has_alpha = decode_with(content, path, _pixels)
    if has_alpha and not _reported[0]:
        _reported[0] = 1
        logging.getLogger('basicsr').warning(
            "'%s': its alpha channel is dropped, and that of other images; basicsr upscale keeps it", path
        )
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise PhotoError(f"'{path}': expected an image of 8 or 16 bits, got another type; convert or remove it")
    return pixels


def decode_with(content: bytes, path: str, convert: Callable[[Image.Image, bytes], T]) -> T:
    """Opens an image file and converts it with a function, which may decode the pixels or only read the header.

    Args:
        content: The file.
        path: Its name in error messages.
        convert: Is called with the opened image and the content.

    Raises:
        PhotoError: It is no image, is damaged, is of implausible size, or ``convert`` raised an error.
    """
    if not content:
        raise PhotoError(f"'{path}': expected a readable image, got an empty file; {_HINT}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of odd metadata, and of large images that are still allowed
            return _checked(content, convert)
    except UnidentifiedImageError:
        raise PhotoError(f"'{path}': expected a readable image, got no known format; {_HINT}") from None
    except Image.DecompressionBombError as error:
        raise PhotoError(
            f"'{path}': expected an image of common size, got {first_line(error, with_type=True)}; cut it up"
        ) from None
    except Exception as error:  # noqa: BLE001  the decoder of a damaged file may raise anything; all of it is reported
        raise PhotoError(
            f"'{path}': expected a readable image, got {first_line(error, with_type=True)}; {_HINT}"
        ) from None


def _checked(content: bytes, convert: Callable[[Image.Image, bytes], T]) -> T:
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        if width * height > max(_PLAUSIBLE_PIXELS, _PIXELS_PER_BYTE * len(content)):
            raise ValueError(f'{width} x {height} pixels in {len(content)} bytes')
        if image.format == 'PNG':  # has checksums, which decoding the pixels skips
            with Image.open(io.BytesIO(content)) as checked:
                checked.verify()
        return convert(image, content)


def has_16_bits(image: Image.Image) -> bool:
    """Whether an image file has 16 bits, which Pillow would cut to 8 where it has colours."""
    return image.mode.startswith('I') or any(';16' in str(tile[3]) for tile in getattr(image, 'tile', ()))


def _pixels(image: Image.Image, content: bytes) -> tuple[np.ndarray | None, bool]:
    """Decodes, None for a depth that is neither 8 nor 16 bits; also returns whether the image is transparent."""
    if has_16_bits(image):
        image.load()
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        return None if pixels is None else pixels[..., ::-1], image.mode in ('LA', 'RGBA')
    if image.mode == 'F':
        return None, False
    has_alpha = image.mode in ('LA', 'La', 'RGBA', 'RGBa', 'PA') or 'transparency' in image.info
    return np.asarray(ImageOps.exif_transpose(image).convert('RGB')), has_alpha
