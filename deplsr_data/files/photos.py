"""Finds and reads images as users have them: folder, list, LMDB; 8 or 16 bits, gray, alpha, CMYK, EXIF orientation."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import cv2
import lmdb
import numpy as np
from basicsr.utils import FileClient
from PIL import Image, ImageOps, UnidentifiedImageError

from basicsr_plugin.errors import UserError, first_line
from deplsr_data.files.patience import read_patiently
from deplsr_data.files.tables import lines, read_table

__all__ = [
    'Photo',
    'PhotoError',
    'PhotoReader',
    'decode',
    'decode_with',
    'has_16_bits',
    'image_path',
    'list_photos',
    'to_float',
    'walk_photos',
]

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm', '.jp2', '.avif', '.gif')
# a damaged header of 2 kB made a decoder fill 3 GB with gray; photos hold below 100 pixels in a byte
_PLAUSIBLE_PIXELS = 2**24
_PIXELS_PER_BYTE = 1000
_HINT = 'repair or remove it'

T = TypeVar('T')


class PhotoError(UserError):
    """One image cannot be read; others may be readable."""


@dataclass(frozen=True)
class Photo:
    """An image to read: its full path, or its key in an LMDB, and its semantic caption if it has one."""

    path: str
    title: str | None = None


def list_photos(
    root: str,
    meta_info: str | None = None,
    in_lmdb: bool = False,
    where: str = 'dataset',
    names: tuple[str, str] | None = None,
) -> list[Photo]:
    """Lists the images of a data set, in the order of its list, or sorted by path.

    Args:
        root: Folder (read with its subfolders), or LMDB made by BasicSR.
        meta_info: Which images of ``root``: a ``.tsv`` with the columns ``filepath`` and ``title`` (others are
            ignored), or a text file whose lines begin with a relative path (Real-ESRGAN). Without one, all.
        in_lmdb: ``root`` is an LMDB.
        where: Beginning of error messages, such as ``datasets.train``.
        names: What error messages call ``root`` and ``meta_info``, if not ``<where>.dataroot_gt`` and so on.

    Raises:
        UserError: Folder, list or column missing, or nothing found; one line.
    """
    root_name, meta_name = names or (f'{where}.dataroot_gt', f'{where}.meta_info')
    _check_root(root, in_lmdb, root_name)
    if meta_info is not None and not os.path.isfile(meta_info):
        raise UserError(f"{meta_name}: expected a file, got '{meta_info}', which does not exist; check the path")
    if meta_info is not None:
        entries = _read_titles(meta_info, meta_name) if meta_info.lower().endswith('.tsv') else _read_lines(meta_info)
        photos = [Photo(image_path(root, name, in_lmdb), title) for name, title in entries]
        if photos and not in_lmdb and not os.path.isfile(photos[0].path):
            raise UserError(
                f"{meta_name}: expected paths relative to {root_name.rpartition('.')[2]} '{root}', got one that leads "
                f"to '{photos[0].path}', which does not exist; correct one of them"
            )
    elif in_lmdb:
        photos = [Photo(key) for key in _lmdb_keys(root)]
    else:
        photos = [Photo(path) for path in walk_photos(root)]
    if not photos:
        source = meta_info or root
        raise UserError(
            f"{where}: expected images ({' '.join(SUFFIXES)}), found none in '{source}'; check "
            f'{root_name.rpartition(".")[2]}'
        )
    return photos


def _check_root(root: str, in_lmdb: bool, name: str) -> None:
    if not os.path.isdir(root):
        raise UserError(f"{name}: expected a folder, got '{root}', which does not exist; check the path")
    if in_lmdb and not all(os.path.isfile(os.path.join(root, part)) for part in ('data.mdb', 'meta_info.txt')):
        raise UserError(
            f"{name}: expected an LMDB with data.mdb and meta_info.txt, got '{root}'; "
            "make it with BasicSR's make_lmdb_from_imgs"
        )


def image_path(root: str, name: str, in_lmdb: bool) -> str:
    """Returns what :class:`PhotoReader` calls an image that a list calls ``name``: its full path, or its LMDB key."""
    return _key(name) if in_lmdb else os.path.join(root, name)


def walk_photos(root: str) -> list[str]:
    """Returns the paths of all image files in a folder and its subfolders, sorted; hidden ones are left out."""
    found: list[str] = []
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith('.')]
        found += [
            os.path.join(folder, name)
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith('.')  # macOS writes ._photo.jpg next to a photo
        ]
    return sorted(found)


def _key(name: str) -> str:
    """Returns the LMDB key of a file name: BasicSR's keys have no suffix."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


def _read_lines(path: str) -> list[tuple[str, str | None]]:
    """Reads a meta-info file; a line that is one path may contain spaces, else only its first word is used."""
    names = (line.strip() for _, line in lines(path))
    return [(name if name.lower().endswith(SUFFIXES) else name.split()[0], None) for name in names]


def _read_titles(path: str, where: str) -> list[tuple[str, str | None]]:
    return [(name, title.strip() or None) for name, title in read_table(path, ('filepath', 'title'), where)]


def _lmdb_keys(root: str) -> list[str]:
    # a line reads: name.png (height,width,channels) compression
    return [_key(line.rsplit(' (', 1)[0].strip()) for _, line in lines(os.path.join(root, 'meta_info.txt'))]


@lru_cache(maxsize=16)
def _file_client(backend: str) -> FileClient:
    """Opens a file client once: a process, and those forked from it, may not open the same LMDB again."""
    return FileClient(**json.loads(backend))


class PhotoReader:
    """Reads images through BasicSR's FileClient.

    Args:
        root: Folder or LMDB.
        io_backend: ``{type: disk}`` or ``{type: lmdb}``, with further arguments of the FileClient.
    """

    def __init__(self, root: str, io_backend: Mapping[str, Any]) -> None:
        options = {'backend': io_backend['type'], **{key: io_backend[key] for key in io_backend if key != 'type'}}
        if options['backend'] == 'lmdb':
            options |= {'db_paths': [os.path.abspath(root)], 'client_keys': ['gt']}
        self._root = root
        self._backend = json.dumps(options)

    def __call__(self, path: str) -> np.ndarray:
        """Reads and decodes one image; see :func:`decode`.

        Raises:
            PhotoError: It cannot be read; one line that names it.
            UserError: All of the data are gone, after some minutes.
        """
        try:
            content = read_patiently(lambda: _file_client(self._backend).get(path, 'gt'), path, self._root)
        except (OSError, UnicodeError, lmdb.Error) as error:
            raise PhotoError(
                f"'{path}': expected a readable image, got {first_line(error, with_type=True)}; {_HINT}"
            ) from None
        if content is None:
            raise PhotoError(f"'{path}': expected a key of the LMDB, got one that it does not contain; check meta_info")
        return decode(content, path)


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
    pixels = decode_with(content, path, _pixels)
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


def _pixels(image: Image.Image, content: bytes) -> np.ndarray | None:
    """Decodes; None for a depth that is neither 8 nor 16 bits."""
    if has_16_bits(image):
        image.load()
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        return None if pixels is None else pixels[..., ::-1]
    if image.mode == 'F':
        return None
    return np.asarray(ImageOps.exif_transpose(image).convert('RGB'))


def to_float(pixels: np.ndarray) -> np.ndarray:
    """Converts uint8 or uint16 pixels to float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
