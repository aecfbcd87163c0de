"""Finds and reads pictures as users have them: folder, list, LMDB; 8 or 16 bits, gray, alpha, CMYK, turned by EXIF."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import lmdb
import numpy as np
from basicsr.utils import FileClient
from PIL import Image, ImageOps

from basicsr_plugin.errors import UserError

__all__ = ['Photo', 'PhotoError', 'PhotoReader', 'decode', 'list_photos', 'to_float']

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm', '.jp2', '.avif')
_MEND = 'mend or remove it'


class PhotoError(UserError):
    """One picture cannot be read; the others may well be."""


@dataclass(frozen=True)
class Photo:
    """A picture to read: its full path, or its key in an LMDB, and its semantic caption if it has one."""

    path: str
    title: str | None = None


def list_photos(root: str, meta_info: str | None = None, in_lmdb: bool = False, where: str = 'dataset') -> list[Photo]:
    """Lists the pictures of a data set, in the order of its list, or sorted by path.

    Args:
        root: Folder (read with its subfolders), or LMDB made by BasicSR.
        meta_info: Which pictures of ``root``: a ``.tsv`` with the columns ``filepath`` and ``title`` (others are
            ignored), or a text file whose lines begin with a relative path (Real-ESRGAN). Without one, all.
        in_lmdb: ``root`` is an LMDB.
        where: Beginning of error messages, such as ``datasets.train``.

    Raises:
        UserError: Folder, list or column missing, or nothing found; one line.
    """
    if not os.path.isdir(root):
        raise UserError(f"{where}.dataroot_gt: expected a folder, got '{root}', which does not exist; check the path")
    if in_lmdb and not all(os.path.isfile(os.path.join(root, name)) for name in ('data.mdb', 'meta_info.txt')):
        raise UserError(
            f"{where}.dataroot_gt: expected an LMDB with data.mdb and meta_info.txt, got '{root}'; "
            "make it with BasicSR's make_lmdb_from_imgs"
        )
    if meta_info is not None and not os.path.isfile(meta_info):
        raise UserError(f"{where}.meta_info: expected a file, got '{meta_info}', which does not exist; check the path")
    if meta_info is not None:
        entries = _read_tsv(meta_info, where) if meta_info.lower().endswith('.tsv') else _read_lines(meta_info)
        photos = [Photo(_key(name) if in_lmdb else os.path.join(root, name), title) for name, title in entries]
        if photos and not in_lmdb and not os.path.isfile(photos[0].path):
            raise UserError(
                f"{where}.meta_info: expected paths relative to dataroot_gt '{root}', got one that leads to "
                f"'{photos[0].path}', which does not exist; mend either"
            )
    elif in_lmdb:
        photos = [Photo(key) for key in _lmdb_keys(root)]
    else:
        photos = [Photo(path) for path in _walk(root)]
    if not photos:
        source = meta_info or root
        raise UserError(
            f"{where}: expected pictures ({' '.join(SUFFIXES)}), found none in '{source}'; check dataroot_gt"
        )
    return photos


def _walk(root: str) -> list[str]:
    found: list[str] = []
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith('.')]
        found += [
            os.path.join(folder, name)
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith('.')  # macOS leaves ._photo.jpg beside a photo
        ]
    return sorted(found)


def _key(name: str) -> str:
    """Gives the LMDB key of a file name: BasicSR's keys have no suffix."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


def _lines(path: str) -> Iterator[tuple[int, str]]:
    with open(path, encoding='utf-8-sig') as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.rstrip('\r\n')


def _read_lines(path: str) -> list[tuple[str, str | None]]:
    """Reads a meta-info file; a line that is a path as a whole may hold spaces, else its first word counts."""
    names = (line.strip() for _, line in _lines(path))
    return [(name if name.lower().endswith(SUFFIXES) else name.split()[0], None) for name in names]


def _read_tsv(path: str, where: str) -> list[tuple[str, str | None]]:
    rows = _lines(path)
    columns = next(rows, (0, ''))[1].split('\t')
    if not {'filepath', 'title'} <= set(columns):
        raise UserError(
            f"{where}.meta_info: expected the columns 'filepath' and 'title' in the first line of '{path}', got "
            f'{columns}; name them so, tabs between'
        )
    at, said = columns.index('filepath'), columns.index('title')
    entries: list[tuple[str, str | None]] = []
    for number, line in rows:
        cells = line.split('\t')
        if len(cells) != len(columns):
            raise UserError(
                f"{where}.meta_info: expected {len(columns)} columns in line {number} of '{path}', got {len(cells)}; "
                'put one tab between columns and none inside'
            )
        entries.append((cells[at], cells[said].strip() or None))
    return entries


def _lmdb_keys(root: str) -> list[str]:
    # a line reads: name.png (height,width,channels) compression
    return [_key(line.rsplit(' (', 1)[0].strip()) for _, line in _lines(os.path.join(root, 'meta_info.txt'))]


@lru_cache(maxsize=16)
def _file_client(backend: str) -> FileClient:
    """Opens a file client once: a process, and those forked from it, may not open the same LMDB again."""
    return FileClient(**json.loads(backend))


class PhotoReader:
    """Reads pictures through BasicSR's FileClient.

    Args:
        root: Folder or LMDB.
        io_backend: ``{type: disk}`` or ``{type: lmdb}``, with further arguments of the FileClient.
    """

    def __init__(self, root: str, io_backend: Mapping[str, Any]) -> None:
        options = {'backend': io_backend['type'], **{key: io_backend[key] for key in io_backend if key != 'type'}}
        if options['backend'] == 'lmdb':
            options |= {'db_paths': [os.path.abspath(root)], 'client_keys': ['gt']}
        self._backend = json.dumps(options)

    def __call__(self, path: str) -> np.ndarray:
        """Reads and decodes one picture; see :func:`decode`.

        Raises:
            PhotoError: It cannot be read; one line that names it.
        """
        try:
            content = _file_client(self._backend).get(path, 'gt')
        except (OSError, UnicodeError, lmdb.Error) as error:
            raise PhotoError(f"'{path}': expected a readable picture, got {_first_line(error)}; {_MEND}") from None
        if content is None:
            raise PhotoError(f"'{path}': expected a key of the LMDB, got one that it does not hold; check meta_info")
        return decode(content, path)


def decode(content: bytes, path: str) -> np.ndarray:
    """Decodes a picture file.

    Gray becomes three equal channels, CMYK and palettes RGB, alpha is dropped, EXIF orientation applied. Pillow
    decodes, since it refuses truncated files, which OpenCV fills with gray; 16 bits, which Pillow would cut to 8, are
    left to OpenCV.

    Returns:
        (h, w, 3) RGB, uint8 or uint16.

    Raises:
        PhotoError: It is no picture, is damaged, or has neither 8 nor 16 bits; one line that names ``path``.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            deep = image.mode.startswith('I') or any(';16' in str(tile[3]) for tile in image.tile)
            if deep:
                image.load()
                pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
                pixels = None if pixels is None else pixels[..., ::-1]
            elif image.mode == 'F':
                pixels = None
            else:
                pixels = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    except Image.DecompressionBombError as error:
        raise PhotoError(f"'{path}': expected a picture of common size, got {_first_line(error)}; cut it up") from None
    except Exception as error:  # noqa: BLE001  the decoder of a damaged file may raise anything; all of it is told
        raise PhotoError(f"'{path}': expected a readable picture, got {_first_line(error)}; {_MEND}") from None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise PhotoError(f"'{path}': expected a picture of 8 or 16 bits, got another kind; convert or remove it")
    return pixels


def to_float(pixels: np.ndarray) -> np.ndarray:
    """Brings uint8 or uint16 pixels to float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__} ({lines[0]})' if lines else type(error).__name__
