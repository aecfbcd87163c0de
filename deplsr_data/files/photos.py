"""Finds and reads images as users have them: folder, list, LMDB; 8 or 16 bits, gray, alpha, CMYK, EXIF orientation."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import lmdb
import numpy as np
from basicsr.utils import FileClient

from basicsr_plugin.errors import UserError, first_line
from basicsr_plugin.image_decoding import SUFFIXES, PhotoError, decode, decode_with, has_16_bits
from basicsr_plugin.lmdb_files import check_lmdb, lmdb_key
from basicsr_plugin.patience import read_patiently
from basicsr_plugin.text_files import read_lines
from deplsr_data.files.folders import left_out_text, walk_photos
from deplsr_data.files.tables import read_table

__all__ = [
    'SUFFIXES',
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

_HINT = 'repair or remove it'


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
    left_out: Counter[str] | None = None,
) -> list[Photo]:
    """Lists the images of a data set, in the order of its list, or sorted by path.

    Args:
        root: Folder (read with its subfolders), or LMDB made by BasicSR.
        meta_info: Which images of ``root``: a ``.tsv`` with the columns ``filepath`` and ``title`` (others are
            ignored), or a text file whose lines begin with a relative path (Real-ESRGAN). Without one, all.
        in_lmdb: ``root`` is an LMDB.
        where: Beginning of error messages, such as ``datasets.train``.
        names: What error messages call ``root`` and ``meta_info``, if not ``<where>.dataroot_gt`` and so on.
        left_out: Counts what of ``root`` is left out, by reason.

    Raises:
        UserError: Folder, list or column missing, or nothing found; one line.
    """
    root_name, meta_name = names or (f'{where}.dataroot_gt', f'{where}.meta_info')
    _check_root(root, in_lmdb, root_name)
    if meta_info is not None and not os.path.isfile(meta_info):
        raise UserError(f"{meta_name}: expected a file, got '{meta_info}', which does not exist; check the path")
    if meta_info is not None:
        read = _read_titles if meta_info.lower().endswith('.tsv') else _read_lines
        entries = read(meta_info, meta_name)
        photos = [Photo(image_path(root, name, in_lmdb), title) for name, title in entries]
        if photos and not in_lmdb and not os.path.isfile(photos[0].path):
            raise UserError(
                f"{meta_name}: expected paths relative to {root_name.rpartition('.')[2]} '{root}', got one that leads "
                f"to '{photos[0].path}', which does not exist; correct one of them"
            )
    elif in_lmdb:
        photos = [Photo(key) for key in _lmdb_keys(root, root_name)]
    else:
        left_out = Counter() if left_out is None else left_out
        photos = [Photo(path) for path in walk_photos(root, left_out)]
    if not photos:
        source = meta_info or root
        raise UserError(
            f"{where}: expected images ({' '.join(SUFFIXES)}), found none in '{source}'"
            f'{f", {left_out_text(left_out)}" if left_out else ""}; check {root_name.rpartition(".")[2]}'
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
    if in_lmdb:
        check_lmdb(root, name)


def image_path(root: str, name: str, in_lmdb: bool) -> str:
    """Returns what :class:`PhotoReader` calls an image that a list calls ``name``: its full path, or its LMDB key."""
    return _key(name) if in_lmdb else os.path.join(root, name)


def _key(name: str) -> str:
    """Returns the LMDB key of a file name: BasicSR's keys have no suffix."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


def _read_lines(path: str, where: str) -> list[tuple[str, str | None]]:
    """Reads a meta-info file; a line that is one path may contain spaces, else only its first word is used."""
    names = (line.strip() for _, line in read_lines(path, where))
    return [(name if name.lower().endswith(SUFFIXES) else name.split()[0], None) for name in names]


def _read_titles(path: str, where: str) -> list[tuple[str, str | None]]:
    return [(name, title.strip() or None) for name, title in read_table(path, ('filepath', 'title'), where)]


def _lmdb_keys(root: str, where: str) -> list[str]:
    return [lmdb_key(line) for _, line in read_lines(os.path.join(root, 'meta_info.txt'), where)]


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


def to_float(pixels: np.ndarray) -> np.ndarray:
    """Converts uint8 or uint16 pixels to float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
