"""Fixes of BasicSR's data sets: how they read lists, LMDBs and images, and images that cannot be read."""

from __future__ import annotations

import logging
import os
import sys
from multiprocessing.sharedctypes import RawArray
from typing import Any

from basicsr_plugin.errors import UserError, first_line
from basicsr_plugin.fixes.source import contains, replace_everywhere

__all__ = ['fix_decoding', 'fix_lists', 'fix_lmdb']

_LIMIT = 10  # unreadable images that a training set of BasicSR may have
_SETS = {
    'single_image': 'SingleImageDataset',
    'paired_image': 'PairedImageDataset',
    'realesrgan': 'RealESRGANDataset',
    'realesrgan_paired': 'RealESRGANPairedDataset',
    'ffhq': 'FFHQDataset',
}


def fix_lists() -> bool:
    """Lists in another encoding or with a byte order mark, and blank lines, end in names of files that do not exist.

    Keys of an LMDB are cut at their first dot.
    """
    from basicsr.data import data_util

    if not contains(data_util.paths_from_lmdb, "line.split('.')[0]") or hasattr(data_util, 'open'):
        return False
    for module in (data_util, *_modules()):
        module.open = _Lines
    return True


def _modules() -> dict[Any, str]:
    """Returns the modules of BasicSR's data sets of images, and the name of the class in each."""
    found = {sys.modules.get(f'basicsr.data.{one}_dataset'): name for one, name in _SETS.items()}
    return {module: name for module, name in found.items() if module is not None}


class _Lines(list):
    """What BasicSR's data sets open: a list of images, whose lines they split at blanks, or the keys of an LMDB.

    Args:
        path: The file.
    """

    def __init__(self, path: str, *_: Any, **__: Any) -> None:
        from basicsr_plugin.text_files import read_lines

        of_lmdb = os.path.basename(path) == 'meta_info.txt' and os.path.exists(
            os.path.join(os.path.dirname(path), 'data.mdb')
        )
        line_type = _LMDBLine if of_lmdb else str
        super().__init__(line_type(f'{line}\n') for _, line in read_lines(str(path), 'meta_info'))

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _LMDBLine(str):
    """A line of ``meta_info.txt``, which BasicSR splits at dots to get its key."""

    __slots__ = ()

    def split(self, sep: Any = None, maxsplit: Any = -1) -> list[str]:
        """Splits as a text does; at dots it returns the key alone."""
        from basicsr_plugin.lmdb_files import lmdb_key

        return [lmdb_key(self)] if sep == '.' else super().split(sep, maxsplit)


def fix_lmdb() -> bool:
    """A truncated LMDB ends the process (SIGBUS) when it is read."""
    from basicsr.utils.file_client import LmdbBackend

    if contains(LmdbBackend.__init__, 'check_lmdb'):
        return False
    from basicsr_plugin.lmdb_files import check_lmdb

    build = LmdbBackend.__init__

    def init(self: Any, db_paths: Any, *args: Any, **kwargs: Any) -> None:
        for path in db_paths if isinstance(db_paths, list) else [db_paths]:
            check_lmdb(str(path), 'io_backend')  # check_lmdb reads the header alone
        build(self, db_paths, *args, **kwargs)

    LmdbBackend.__init__ = init
    return True


def fix_decoding() -> bool:
    """Images that cannot be decoded are a traceback without their name, truncated ones are gray, 16 bits are cut to 8.

    With this fix the images of a training set that cannot be read, up to ten, are replaced by the next ones.
    """
    from basicsr.utils import img_util

    if not contains(img_util.imfrombytes, 'imread_flags'):
        return False
    replace_everywhere('imfrombytes', img_util.imfrombytes, _imfrombytes)
    for module, name in _modules().items():
        module.FileClient = _client_class(module.FileClient)
        _name_images(getattr(module, name))
    return True


class _NamedBytes(bytes):
    """The content of a file, with its path or key as attribute ``path``."""

    path: str


def _client_class(client_class: Any) -> Any:
    class FileClient(client_class):
        """BasicSR's client, which names what it has read, and what it cannot read."""

        def get(self, filepath: Any, client_key: str = 'default') -> bytes:
            from basicsr_plugin.image_decoding import PhotoError
            from basicsr_plugin.patience import read_patiently

            read, path = super().get, str(filepath)
            root = os.path.dirname(path) or '.'  # of a key: the working directory
            try:
                content = read_patiently(lambda: read(filepath, client_key), path, root)
            except FileNotFoundError:  # a wrong list or folder, not a damaged image
                raise UserError(f'{path}: no such file or folder') from None
            except OSError as error:
                reason = error.strerror or first_line(error)
                raise PhotoError(f"'{path}': expected a readable image, got {reason}; check the path") from None
            except UnicodeError:
                raise PhotoError(f"'{path}': expected an ASCII key of the LMDB; rename the image") from None
            if content is None:
                raise PhotoError(f"'{path}': expected a key of the LMDB, got one that it does not contain")
            named = _NamedBytes(content)
            named.path = path
            return named

    return FileClient


def _imfrombytes(content: bytes, flag: str = 'color', float32: bool = False) -> Any:
    """Decodes an image as BasicSR does; 16 bits stay 16 bits where floats are wanted.

    Raises:
        PhotoError: It cannot be decoded.
    """
    import cv2
    import numpy as np

    from basicsr_plugin.image_decoding import decode

    pixels: Any = decode(content, getattr(content, 'path', 'image'))[..., ::-1]
    if flag == 'unchanged':
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    elif flag == 'grayscale':
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    if float32:
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    if flag == 'color' and pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def _name_images(dataset: Any) -> None:
    """Wraps a data set of BasicSR: what is wrong with an image is one line that names it."""
    from basicsr_plugin.image_decoding import PhotoError
    from basicsr_plugin.image_sets import without_images

    build, get = dataset.__init__, dataset.__getitem__

    def init(self: Any, opt: dict[str, Any]) -> None:
        build(self, opt)
        if not self.paths:
            key = 'dataroot_lq' if 'dataroot_lq' in self.opt else 'dataroot_gt'
            raise UserError(without_images(self.opt[key], f'{_place(self)}.{key}'))
        self.unreadable = RawArray('b', max(1, len(self.paths)))  # shared with the workers of a loader

    def getitem(self: Any, index: Any) -> Any:
        if self.opt.get('phase') != 'train':
            return _checked_item(self, index, get)
        for step in range(len(self.paths)):
            place = (int(index) + step) % len(self.paths)
            if not self.unreadable[place]:
                try:
                    return _checked_item(self, place if step else index, get)
                except PhotoError as error:
                    _count_unreadable(self, place, error)
        raise UserError(f'{_place(self)}: expected images that can be read, got none; check the data set')

    dataset.__init__, dataset.__getitem__ = init, getitem


def _checked_item(self: Any, index: Any, get: Any) -> Any:
    try:
        item = get(self, index)
    except ValueError as error:  # of paired_random_crop: sizes that do not fit
        if not any(text in str(error) for text in ('mismatches', 'smaller than patch size')):
            raise
        raise UserError(f"'{_path_of(self, index)}': {' '.join(str(error).split())}") from error
    if 'gt' in item and 'lq' in item and self.opt.get('phase') != 'train':
        wanted, found = ([side * self.opt['scale'] for side in item['lq'].shape[1:]], list(item['gt'].shape[1:]))
        if wanted != found:
            raise UserError(
                f"'{item['gt_path']}': expected {wanted[0]} x {wanted[1]} pixels, {self.opt['scale']} times those of "
                f"'{item['lq_path']}', got {found[0]} x {found[1]}; check scale"
            )
    return item


def _count_unreadable(self: Any, place: int, error: UserError) -> None:
    known = self.unreadable[place]
    self.unreadable[place] = 1
    count, limit = sum(self.unreadable), min(_LIMIT, len(self.paths) - 1)
    if count > limit:
        raise UserError(
            f'{_place(self)}: expected at most {limit} unreadable images of {len(self.paths)}, got more, the last: '
            f'{error}'
        )
    if not known:
        logging.getLogger('basicsr').warning('skipped image %d of at most %d: %s', count, limit, error)


def _place(self: Any) -> str:
    return f'datasets.{self.opt.get("phase", "train")}'


def _path_of(self: Any, index: Any) -> str:
    path = self.paths[int(index)]
    return str(path.get('gt_path', path) if isinstance(path, dict) else path)
