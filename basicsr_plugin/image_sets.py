"""The images that an option file's data sets of BasicSR have: which belong together, and how large they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.lmdb_files import lmdb_key
from basicsr_plugin.text_files import read_lines

__all__ = ['ImageSet', 'find_images', 'image_size', 'sample', 'without_images']

_SAMPLED = 64  # images whose sizes are read before a run
_ORIENTATION, _TURNED = 0x0112, 5  # EXIF, which OpenCV obeys


@dataclass(frozen=True)
class ImageSet:
    """The images of a data set.

    Attributes:
        count: Number of samples.
        pairs: Paths of LQ and GT images, either None where the data set has none; empty for an LMDB.
    """

    count: int
    pairs: list[tuple[str | None, str | None]]


def sample(pairs: list[tuple[str | None, str | None]]) -> list[tuple[str | None, str | None]]:
    """Returns some of the pairs, from all over the data set."""
    step = max(1, -(-len(pairs) // _SAMPLED))
    return pairs[::step]


def find_images(dataset: Mapping[str, Any], where: str) -> ImageSet:
    """Finds the images of a data set of BasicSR as it does.

    Args:
        dataset: A block of the option file that has all keys it needs.
        where: Its place in the option file.

    Raises:
        OptionError: There are none, or LQ and GT images do not belong together.
    """
    roots = {key: dataset[key] for key in ('dataroot_lq', 'dataroot_gt') if isinstance(dataset.get(key), str)}
    if dataset['io_backend']['type'] == 'lmdb':
        return ImageSet(_lmdb_count(roots, where), [])
    if dataset['io_backend']['type'] != 'disk':
        return ImageSet(1, [])
    for key, root in roots.items():
        if not os.path.isdir(root):
            raise OptionError(f"{where}.{key}: expected a folder, got '{root}', a file; name the folder it is in")
    listed = next((key for key in ('meta_info_file', 'meta_info') if dataset.get(key)), None)
    if listed:
        return _listed(dataset, roots, listed, where)
    names = {key: _files(root, f'{where}.{key}') for key, root in roots.items()}
    if len(names) == 1:
        key, root = next(iter(roots.items()))
        paths = [os.path.join(root, name) for name in names[key]]
        return ImageSet(len(paths), _with_none(paths, key))
    return _paired(dataset, names, where)


def image_size(path: str, where: str) -> tuple[int, int]:
    """Returns width and height of an image from its header.

    Raises:
        OptionError: It is no image that can be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= _TURNED
            return (image.height, image.width) if turned else (image.width, image.height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, UnidentifiedImageError):
        import cv2

        image = cv2.imread(path)  # formats that Pillow does not have
        if image is None:
            raise OptionError(
                f'{where}: expected images only, got {path}, which cannot be read as one; replace or remove it'
            ) from None
        return image.shape[1], image.shape[0]


def _with_none(paths: Iterable[str], key: str) -> list[tuple[str | None, str | None]]:
    return [(path, None) if key == 'dataroot_lq' else (None, path) for path in paths]


def without_images(folder: str, where: str) -> str:
    """Returns one line on a folder without images, and on those in its subfolders, which BasicSR does not search."""
    inside = sum(len(names) for inner, _, names in os.walk(folder) if inner != folder)
    hint = f'; it has {inside} files in subfolders, which BasicSR does not search: name one of these' if inside else ''
    return f"{where}: expected a folder with images, got '{folder}' with none{hint}"


def _files(folder: str, where: str) -> list[str]:
    names = sorted(one.name for one in os.scandir(folder) if not one.name.startswith('.') and one.is_file())
    if not names:
        raise OptionError(without_images(folder, where))
    return names


def _listed(dataset: Mapping[str, Any], roots: Mapping[str, str], key: str, where: str) -> ImageSet:
    lines = _lines(dataset[key], f'{where}.{key}')
    if not lines:
        raise OptionError(f"{where}.{key}: expected a name in each line, got the empty file '{dataset[key]}'")
    pairs: list[tuple[str | None, str | None]] = []
    two = 'dataroot_gt' in roots and 'dataroot_lq' in roots
    for number, line in lines:
        if two and key == 'meta_info':
            names = line.strip().split(', ')
            if len(names) != 2:
                raise OptionError(
                    f"{where}.{key}: expected 'GT, LQ' in each line, got '{line.strip()}' in line {number}; separate "
                    'two paths by a comma and a space'
                )
            gt, lq = names
        else:
            gt = line.strip().split(' ')[0]
            stem, suffix = os.path.splitext(os.path.basename(gt))
            lq = f'{dataset.get("filename_tmpl", "{}").format(stem)}{suffix}' if two else gt
        pairs.append(
            (
                os.path.join(roots['dataroot_lq'], lq) if 'dataroot_lq' in roots else None,
                os.path.join(roots['dataroot_gt'], gt) if 'dataroot_gt' in roots else None,
            )
        )
    for pair in sample(pairs):
        for path in filter(None, pair):
            if not os.path.isfile(path):
                raise OptionError(
                    f'{where}.{key}: expected names of images in the folder, got one for {path}, which does not exist'
                )
    return ImageSet(len(pairs), pairs)


def _lines(path: str, where: str) -> list[tuple[int, str]]:
    try:
        return list(read_lines(path, where))
    except UserError as error:  # one that is listed with the other mistakes of the file
        raise OptionError(str(error)) from None


def _paired(dataset: Mapping[str, Any], names: Mapping[str, list[str]], where: str) -> ImageSet:
    template = dataset.get('filename_tmpl', '{}')
    lq_root, gt_root = dataset['dataroot_lq'], dataset['dataroot_gt']
    if os.path.realpath(lq_root) == os.path.realpath(gt_root):
        raise OptionError(
            f"{where}.dataroot_lq: expected another folder than dataroot_gt, got '{lq_root}' for both; move the images "
            'to two folders, or list pairs: type: RealESRGANPairedDataset with meta_info, a file of lines '
            "'a_HR.png, a_LR4.png'"
        )
    known, pairs = set(names['dataroot_lq']), []
    for name in names['dataroot_gt']:
        stem, suffix = os.path.splitext(name)
        wanted = f'{template.format(stem)}{suffix}'
        if wanted not in known:
            raise OptionError(
                f"{where}.dataroot_lq: expected '{wanted}' for the GT image '{name}', which '{lq_root}' does not have"
                f'{_template_hint(stem, suffix, names["dataroot_lq"])}'
            )
        pairs.append((os.path.join(lq_root, wanted), os.path.join(gt_root, name)))
    if len(known) != len(pairs):
        extra = sorted(known - {os.path.basename(lq) for lq, _ in pairs})
        raise OptionError(
            f'{where}.dataroot_gt: expected a GT image for each LQ image, got {len(pairs)} for {len(known)} in '
            f"'{lq_root}', none for '{extra[0]}'; add or remove images"
        )
    return ImageSet(len(pairs), pairs)  # type: ignore[arg-type]


def _template_hint(stem: str, suffix: str, names: list[str]) -> str:
    """Returns how the LQ image of a GT image may be called instead."""
    for name in names:
        other, own_suffix = os.path.splitext(name)
        if other == stem:
            return f"; it has '{name}': GT and LQ images need the same suffix, convert one of them"
        if own_suffix == suffix and stem in other:
            found = other.replace(stem, '{}', 1)
            return f"; it has '{name}': set filename_tmpl: '{found}'"
    return f"; it has '{names[0]}': set filename_tmpl, or rename the images"


def _lmdb_count(roots: Mapping[str, str], where: str) -> int:
    keys: dict[str, set[str]] = {}
    for key, root in roots.items():
        if not root.endswith('.lmdb') or not os.path.isdir(root):
            raise OptionError(f"{where}.{key}: expected a folder that ends in .lmdb with type: lmdb, got '{root}'")
        for name in ('meta_info.txt', 'data.mdb'):
            if not os.path.isfile(os.path.join(root, name)):
                raise OptionError(f"{where}.{key}: expected '{name}' in '{root}', which has none; make the LMDB again")
        keys[key] = {lmdb_key(line) for _, line in _lines(os.path.join(root, 'meta_info.txt'), f'{where}.{key}')}
        if not keys[key]:
            raise OptionError(f"{where}.{key}: expected names in '{root}/meta_info.txt', got none; make the LMDB again")
    if len({frozenset(found) for found in keys.values()}) > 1:
        first = sorted(keys['dataroot_gt'] ^ keys['dataroot_lq'])[0]
        raise OptionError(
            f"{where}.dataroot_lq: expected the same keys as in the LMDB of dataroot_gt, got '{first}' in only one"
        )
    return len(next(iter(keys.values())))
