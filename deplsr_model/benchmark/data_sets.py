"""Test sets that an option file describes: any data set that BasicSR or a plug-in registers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from basicsr_plugin.discovery import load_plugins
from basicsr_plugin.errors import OptionError
from deplsr_model.benchmark.pairs import Images, Pair, TestSet

__all__ = ['from_option_file']


def from_option_file(opt: Mapping[str, Any], path: str, border: int | None) -> list[TestSet]:
    """Builds the test sets of an option file, all blocks of ``datasets`` except that of the training.

    Args:
        opt: Its content.
        path: Its path.
        border: Pixels that metrics leave out at each side; by default the scale.

    Raises:
        OptionError: There is none; one line.
    """
    load_plugins(opt.get('plugins') or [], where='plugins')
    blocks = {key: block for key, block in (opt.get('datasets') or {}).items() if key.split('_')[0] != 'train'}
    if not blocks:
        raise OptionError(f'{path}: expected a test set in datasets, got none')
    scale = int(opt.get('scale', 1))
    return [_build(block, f'{path}: datasets.{key}', scale, border) for key, block in blocks.items()]


def _build(block: Mapping[str, Any], where: str, scale: int, border: int | None) -> TestSet:
    from basicsr.data import build_dataset

    for key in ('name', 'type'):
        if key not in block:
            raise OptionError(f"{where}: missing key '{key}'")
    options = {'io_backend': {'type': 'disk'}, **copy.deepcopy(dict(block)), 'phase': 'test', 'scale': scale}
    data_set = build_dataset(options)
    paired = 'gt' in data_set[0]
    pairs = [Pair(_name(data_set, index), partial(_load, data_set, index)) for index in range(len(data_set))]
    usual = scale if paired else 0
    return TestSet(str(block['name']), pairs, scale if paired else None, usual if border is None else border)


def _name(data_set: Any, index: int) -> str:
    item = data_set[index]
    return Path(str(item.get('lq_path') or item.get('gt_path') or index)).stem


def _load(data_set: Any, index: int) -> Images:
    item = data_set[index]
    gt = item.get('gt')
    return Images(_array(item['lq']), None if gt is None else (_array(gt).clip(0, 1) * 255).round().astype(np.uint8))


def _array(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.numpy().transpose(1, 2, 0))
