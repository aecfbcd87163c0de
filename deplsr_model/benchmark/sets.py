"""Finds test sets: by their usual name below a folder, as a folder, or in a YAML file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from basicsr_plugin.errors import OptionError, UserError, warn
from basicsr_plugin.names import nearest
from basicsr_plugin.parse_options import read_yaml
from deplsr_data.files.folders import left_out_text, walk_photos
from deplsr_model.benchmark.pairs import Images, Pair, TestSet, bicubic, cropped_to, read_image

__all__ = ['KNOWN', 'Known', 'clean_images', 'find_sets']

GT_FOLDERS = ('GTmod12', 'GT', 'HR', 'gt', 'hr')
LQ_FOLDERS = ('LRbicx{}', 'LR_bicubic/X{}', 'LQ', 'LR', 'lq', 'lr')


class Known(NamedTuple):
    """What is usual for a set: the border that metrics leave out (None: the scale), and the crop of its images."""

    border: int | None = None
    crop: str = ''
    clean: bool = False


#: Sets by name; others are read in the same way.
KNOWN = {
    'Set5': Known(),
    'Set14': Known(),
    'B100': Known(),
    'Urban100': Known(),
    'Kodak24': Known(clean=True),
    'RealSR100': Known(0, 'centre crops 128 -> 512'),
    'Set14SE': Known(0),
    'RealSRSet': Known(0),
    'RealESRGAN_inputs': Known(0),
}
_ALIASES = {'kodak': 'Kodak24', 'realsr': 'RealSR100', 'set14-se': 'Set14SE', 'bsd100': 'B100'}
_KEYS = ('lq', 'gt', 'scale', 'border', 'crop')


def find_sets(names: Sequence[str], root: Path | None, scale: int, border: int | None = None) -> list[TestSet]:
    """Finds test sets.

    Args:
        names: Each a usual name, a folder, or a YAML file: ``sets:`` with ``lq``, ``gt``, ``scale``, ``border`` and
            ``crop`` for each, or ``datasets:`` of an option file.
        root: Folder of the sets with usual names.
        scale: Of sets whose files exist for several.
        border: Pixels that metrics leave out at each side; by default what is usual for the set.

    Raises:
        UserError: One cannot be found or read; one line.
    """
    found: list[TestSet] = []
    for name in names:
        if name.lower().endswith(('.yml', '.yaml')):
            found += _from_yaml(Path(name), scale, border)
        else:
            found.append(_from_folder(name, root, scale, border))
    return found


def _from_folder(name: str, root: Path | None, scale: int, border: int | None) -> TestSet:
    usual = _ALIASES.get(name.lower(), name)
    folder = next((one for one in _places(name, usual, root) if one.is_dir()), None)
    if folder is None:
        where = f"below '{root}'" if root else 'here; name its folder with --data-root'
        raise UserError(f"--sets: expected a test set, got '{name}', which is not {where}{_hint(name, root)}")
    known = KNOWN.get(usual, Known())
    gt = next((folder / one for one in GT_FOLDERS if (folder / one).is_dir()), None)
    lq = next((folder / one.format(scale) for one in LQ_FOLDERS if (folder / one.format(scale)).is_dir()), None)
    crop = known.crop or (gt.name if gt else '') or 'complete images'
    if gt is None and known.clean:
        return _clean(usual, folder, scale, scale if border is None else border)
    if gt is None:
        return TestSet(folder.name, _unpaired(lq or folder), None, border or 0, crop, folder)
    if lq is None:
        raise UserError(f"--sets: expected low-quality images of x{scale} in '{folder}', found none; check --scale")
    usual_border = scale if known.border is None else known.border
    border = usual_border if border is None else border
    return TestSet(folder.name, _paired(lq, gt, scale), scale, border, crop, folder)


def _places(name: str, usual: str, root: Path | None) -> list[Path]:
    return [Path(name)] if root is None else [root / usual, root / name, Path(name)]


def _hint(name: str, root: Path | None) -> str:
    if root is None or not root.is_dir():
        return ''
    there = sorted(one.name for one in root.iterdir() if one.is_dir())
    return nearest(name, there) or f'; it has {", ".join(there)}'


def _files(folder: Path) -> dict[str, Path]:
    left_out: Counter[str] = Counter()
    paths = walk_photos(str(folder), left_out)
    more = f', {left_out_text(left_out)}' if left_out else ''
    if not paths:
        raise UserError(f"--sets: expected images, found none in '{folder}'{more}; check the path")
    found: dict[str, Path] = {}
    for path in paths:
        first = found.setdefault(Path(path).stem, Path(path))
        if first != Path(path):
            raise UserError(f"--sets: expected images of different names, got '{first}' and '{path}'; rename one")
    if more:
        warn(f"'{folder}': {len(paths)} images found{more}")
    return found


def _natural(text: str) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', text)]


def _paired(lq: Path, gt: Path, scale: int, template: str = '{}') -> list[Pair]:
    """Pairs images by name; subfolders of ``lq`` are degradations of the same images."""
    folders = sorted((one for one in lq.iterdir() if one.is_dir()), key=lambda one: _natural(one.name))
    truths = _files(gt)
    pairs = []
    for folder in folders or [lq]:
        shown = _files(folder)
        for name in truths:
            path = shown.get(template.format(name)) or shown.get(f'{template.format(name)}x{scale}')
            if path is None:
                raise UserError(f"--sets: expected '{template.format(name)}' of '{gt}' in '{folder}' too, found none")
            load = partial(_load, path, truths[name], scale)
            pairs.append(Pair(name, load, folder.name if folders else ''))
    return pairs


def _load(lq: Path, gt: Path | None, scale: int) -> Images:
    shown = read_image(lq)
    return Images(shown, None if gt is None else cropped_to(read_image(gt), shown, scale, str(gt)))


def _unpaired(folder: Path) -> list[Pair]:
    return [Pair(name, partial(_load, path, None, 1)) for name, path in _files(folder).items()]


def _clean(name: str, folder: Path, scale: int, border: int) -> TestSet:
    """Clean images, reduced by MATLAB's bicubic and rounded to 8 bits, as the classic sets were."""

    def load(path: Path) -> Images:
        gt = clean_image(path, scale)
        return Images(bicubic(gt, 1 / scale), gt)

    pairs = [Pair(one, partial(load, path)) for one, path in _files(folder).items()]
    return TestSet(name, pairs, scale, border, f'multiple of {scale}, LR made by bicubic')


def clean_image(path: Path, multiple: int) -> np.ndarray:
    """Reads an image and crops it at the right and bottom to a multiple of pixels."""
    pixels = read_image(path)
    height, width = (side // multiple * multiple for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[:height, :width])


def clean_images(folder: Path, multiple: int) -> dict[str, Callable[[], np.ndarray]]:
    """Returns the images of a folder by name."""
    return {name: partial(clean_image, path, multiple) for name, path in _files(folder).items()}


def _from_yaml(path: Path, scale: int, border: int | None) -> list[TestSet]:
    opt = read_yaml(str(path))
    if 'datasets' in opt:
        from deplsr_model.benchmark.data_sets import from_option_file

        return from_option_file(opt, str(path), border)
    blocks = opt.get('sets')
    if not isinstance(blocks, Mapping) or not blocks:
        raise UserError(f'{path}: expected sets: with a block for each test set, or datasets: of an option file')
    return [_from_block(name, block, f'{path}: sets.{name}', scale, border) for name, block in blocks.items()]


def _from_block(name: str, block: Any, where: str, scale: int, border: int | None) -> TestSet:
    if not isinstance(block, Mapping):
        raise OptionError(f'{where}: expected {", ".join(_KEYS)}, got {block!r}')
    for key in block:
        if key not in _KEYS:
            raise OptionError(f"{where}: unknown key '{key}'{nearest(str(key), _KEYS)}")
    folders = {key: Path(str(block[key])) for key in ('lq', 'gt') if block.get(key)}
    for key, folder in folders.items():
        if not folder.is_dir():
            raise OptionError(f"{where}.{key}: expected a folder, got '{folder}', which does not exist")
    scale = int(block.get('scale') or scale)
    if border is None:
        border = int(block.get('border', scale if 'gt' in folders else 0))
    crop = str(block.get('crop') or 'complete images')
    if 'lq' not in folders and 'gt' not in folders:
        raise OptionError(f'{where}: expected lq, gt or both, got neither')
    if 'lq' not in folders:
        return _clean(name, folders['gt'], scale, border)
    if 'gt' not in folders:
        return TestSet(name, _unpaired(folders['lq']), None, border, crop)
    return TestSet(name, _paired(folders['lq'], folders['gt'], scale), scale, border, crop)
