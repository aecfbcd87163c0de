"""Finds the images in a folder and its subfolders, each once, and counts what is left out, by reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping

from basicsr_plugin.errors import UserError
from basicsr_plugin.image_decoding import SUFFIXES

__all__ = ['left_out_text', 'walk_photos']

#: Images that nothing here decodes.
_OTHER_IMAGES = ('.heic', '.heif', '.jxl', '.psd', '.svg', '.exr', '.hdr', '.tga', '.dds', '.ico')
_RAW = ('.raw', '.dng', '.cr2', '.cr3', '.nef', '.arw', '.orf', '.rw2', '.raf')
_SHOWN = 6  # reasons in a message


def walk_photos(root: str, left_out: Counter[str] | None = None) -> list[str]:
    """Returns the paths of all image files in a folder and its subfolders, sorted; hidden ones are left out.

    Links to folders are followed, except those that lead back to a folder that is read anyway.

    Args:
        root: The folder.
        left_out: Counts what is left out, by reason: the suffix of a file, or why a folder was not read.

    Raises:
        UserError: The folder itself cannot be read; one line.
    """
    walk = _Walk(root, Counter() if left_out is None else left_out)
    walk.folder(root, os.path.realpath(root))
    while walk.links:
        walk.link(walk.links.pop(0))
    return sorted(walk.found)


class _Walk:
    def __init__(self, root: str, left_out: Counter[str]) -> None:
        self._root = root
        self._above = os.path.join(os.path.realpath(root), '')
        self._left_out = left_out
        self._seen: set[str] = set()
        self.found: list[str] = []
        self.links: list[str] = []

    def folder(self, path: str, real: str) -> None:
        """Takes the images of a folder and of those in it; puts links to folders off until the others are known."""
        waiting = [(path, real)]
        while waiting:
            path, real = waiting.pop()
            self._seen.add(real)
            for entry in self._entries(path):
                if entry.name.startswith('.'):  # macOS writes ._photo.jpg next to a photo
                    continue
                if _is(entry.is_dir):
                    if entry.is_symlink():
                        self.links.append(entry.path)
                    elif os.path.join(real, entry.name) not in self._seen:
                        waiting.append((entry.path, os.path.join(real, entry.name)))
                else:
                    self._file(entry)

    def link(self, path: str) -> None:
        """Follows a link to a folder unless it leads back."""
        real = os.path.realpath(path)
        if real in self._seen or self._above.startswith(os.path.join(real, '')):
            self._left_out[f"link '{path}' to a folder that is read already or holds this one"] += 1
        else:
            self.folder(path, real)

    def _entries(self, path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(path) as entries:
                return list(entries)
        except OSError as error:
            if path == self._root:
                raise UserError(
                    f"'{path}': expected a readable folder, got {error.strerror}; check its rights"
                ) from None
            self._left_out[f"folder '{path}': {error.strerror}"] += 1
            return []

    def _file(self, entry: os.DirEntry[str]) -> None:
        suffix = os.path.splitext(entry.name)[1].lower()
        if not _is(entry.is_file):
            self._left_out['broken link' if entry.is_symlink() else 'no file'] += 1
        elif suffix in SUFFIXES:
            self.found.append(entry.path)
        else:
            self._left_out[suffix or 'without suffix'] += 1


def _is(check: object) -> bool:
    try:
        return bool(check())  # type: ignore[operator]
    except OSError:  # a link to itself
        return False


def left_out_text(left_out: Mapping[str, int]) -> str:
    """Returns one line on what was left out, such as ``3 left out: 2 .heic, 1 .txt``; empty if nothing was."""
    if not left_out:
        return ''
    names = sorted(left_out, key=lambda name: (-left_out[name], name))
    shown = ', '.join(f'{left_out[name]} {name}' for name in names[:_SHOWN])
    more = f' and {len(names) - _SHOWN} more reasons' if len(names) > _SHOWN else ''
    images = [name for name in names if name in (*_OTHER_IMAGES, *_RAW)]
    hint = f'; convert {", ".join(images)} to PNG or JPEG to use them' if images else ''
    return f'{sum(left_out.values())} left out: {shown}{more}{hint}'
