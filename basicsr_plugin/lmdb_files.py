"""Checks of LMDBs in BasicSR's layout before they are opened: reading beyond the end of a file kills the process."""

from __future__ import annotations

import os
import struct

from basicsr_plugin.errors import UserError
from basicsr_plugin.image_decoding import SUFFIXES

__all__ = ['check_lmdb', 'lmdb_key']

_MAGIC = 0xBEEFC0DE
_HEADER = 16  # bytes of a page before what it holds
_META = struct.Struct('<IIQQ48s48sQQ')  # magic, version, address, map size, two tables, last page, transaction


def check_lmdb(folder: str, where: str = 'LMDB') -> None:
    """Refuses an LMDB whose file is shorter than the pages that it has, as a copy that was interrupted is.

    Args:
        folder: The folder with ``data.mdb``.
        where: Beginning of error messages.

    Raises:
        UserError: It is missing, truncated, or no LMDB; one line.
    """
    path = os.path.join(folder, 'data.mdb')
    try:
        size = os.path.getsize(path)
        with open(path, 'rb') as file:
            first = file.read(_HEADER + _META.size)
            page = _page_size(first)
            file.seek(page)
            metas = [_meta(first), _meta(file.read(_HEADER + _META.size))]
    except OSError as error:
        raise UserError(f"{where}: expected an LMDB, got '{path}': {error.strerror}; check the path") from None
    valid = [meta for meta in metas if meta is not None]
    if not page or len(valid) < 2:
        raise UserError(f"{where}: expected an LMDB, got '{path}', which is damaged or none; copy or make it again")
    _, last = max(valid)
    if size < (last + 1) * page:
        raise UserError(
            f"{where}: expected {(last + 1) * page:,d} bytes in '{path}', got {size:,d}: it is truncated; copy it again"
        )


def _meta(content: bytes) -> tuple[int, int] | None:
    """Returns transaction and last page of one of the two descriptions at the beginning; the later one counts."""
    if len(content) < _HEADER + _META.size:
        return None
    magic, version, _, _, _, _, last, transaction = _META.unpack_from(content, _HEADER)
    return (transaction, last) if (magic, version) == (_MAGIC, 1) else None


def _page_size(content: bytes) -> int:
    """Returns the size of a page, which the first table holds; 0 if there is none."""
    if _meta(content) is None:
        return 0
    size = int.from_bytes(content[_HEADER + 24 : _HEADER + 28], 'little')
    return size if 512 <= size <= 65536 else 0


def lmdb_key(line: str) -> str:
    """Returns the key of a line of ``meta_info.txt``, ``name.png (height,width,channels) compression``.

    BasicSR cuts names at their first dot; keys are names without suffix.
    """
    name = line.rsplit(' (', 1)[0].strip()
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name
