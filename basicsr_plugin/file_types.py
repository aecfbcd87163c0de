"""Recognises by its first bytes what a file holds that was taken for a checkpoint: a page, a text, an image."""

from __future__ import annotations

__all__ = ['FIRST_BYTES', 'foreign_content']

#: How many bytes :func:`foreign_content` needs.
FIRST_BYTES = 512

_DOWNLOAD = 'download the file itself'
_LFS = b'version https://git-lfs'
_BINARY = (
    (b'\x89PNG', 'a PNG image'),
    (b'\xff\xd8\xff', 'a JPEG image'),
    (b'GIF8', 'a GIF image'),
    (b'\x1f\x8b', 'a gzip archive'),
    (b'7z\xbc\xaf', 'a 7z archive'),
    (b'Rar!', 'a RAR archive'),
    (b'BZh', 'a bzip2 archive'),
    (b'\xfd7zXZ', 'an xz archive'),
    (b'%PDF', 'a PDF'),
    (b'\x7fELF', 'a program'),
    (b'MZ', 'a program'),
    (b'\x89HDF', 'an HDF5 file (Keras)'),
    (b'\x93NUMPY', 'a NumPy array'),
    (b'GGUF', 'a GGUF file'),
    (b'\x00\x00\x00\x00' * 4, 'zeros, as an interrupted download leaves them'),
)


def foreign_content(start: bytes) -> tuple[str, str] | None:
    """Returns what a file is that begins with ``start``, and what to do; None if it may be a checkpoint."""
    if start.startswith(_LFS):
        return 'a Git LFS pointer', f'run git lfs pull, or {_DOWNLOAD}'
    for signature, name in _BINARY:
        if start.startswith(signature):
            return name, 'unpack it first' if 'archive' in name else 'check the path'
    text = None if start.startswith(b'PK') else _as_text(start)  # a zip, as torch.save writes
    if text is None:
        return None
    if text.lstrip().startswith('<'):
        return 'a web page (HTML or XML)', _DOWNLOAD
    return 'a text', f'check the path, or {_DOWNLOAD}'


def _as_text(start: bytes) -> str | None:
    """Decodes the beginning of a text; None for anything else."""
    encoding = 'utf-16' if start[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8-sig'
    try:
        text = start[:-4].decode(encoding) if len(start) >= FIRST_BYTES else start.decode(encoding)
    except UnicodeDecodeError as error:
        if len(start) < FIRST_BYTES or error.start < len(start) - 8:
            return None
        text = start[: error.start].decode(encoding)
    printable = all(character.isprintable() or character in '\r\n\t\f' for character in text)
    return text if printable else None
