"""A folder with tiny photos, and option files that train in seconds."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from basicsr_plugin import cli
from basicsr_plugin.compat import apply_fixes

NETWORK = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2}
OPTIONS: dict[str, Any] = {
    'name': 'run',
    'model_type': 'SRModel',
    'scale': 2,
    'num_gpu': 0,
    'manual_seed': 0,
    'datasets': {
        'train': {
            'name': 'tiny',
            'type': 'PairedImageDataset',
            'dataroot_gt': 'gt',
            'dataroot_lq': 'lq',
            'io_backend': {'type': 'disk'},
            'gt_size': 16,
            'use_hflip': True,
            'use_rot': True,
            'num_worker_per_gpu': 0,
            'batch_size_per_gpu': 2,
        },
        'val': {
            'name': 'tiny_val',
            'type': 'PairedImageDataset',
            'dataroot_gt': 'gt',
            'dataroot_lq': 'lq',
            'io_backend': {'type': 'disk'},
        },
    },
    'network_g': NETWORK,
    'path': {'pretrain_network_g': None, 'param_key_g': 'params', 'strict_load_g': True, 'resume_state': None},
    'train': {
        'ema_decay': 0.9,
        'optim_g': {'type': 'Adam', 'lr': 1e-3},
        'scheduler': {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5},
        'total_iter': 4,
        'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
    },
    'val': {
        'val_freq': 4,
        'save_img': False,
        'metrics': {
            'psnr': {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': True},
            'ssim': {'type': 'calculate_ssim', 'crop_border': 2, 'test_y_channel': True},
        },
    },
    'logger': {'print_freq': 2, 'save_checkpoint_freq': 2},
}


class Workplace:
    """A working directory for the command.

    Attributes:
        path: The folder; ``gt`` and ``lq`` in it hold pairs of photos.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        generator = np.random.default_rng(0)
        for folder in ('gt', 'lq'):
            (path / folder).mkdir()
        for index in range(4):
            small = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            gt = cv2.resize(small, (32, 32), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(path / 'gt' / f'{index}.png'), gt)
            cv2.imwrite(str(path / 'lq' / f'{index}.png'), cv2.resize(gt, (16, 16), interpolation=cv2.INTER_AREA))

    def options(self, *without: str, **changes: Any) -> dict[str, Any]:
        """The option file as a mapping; ``changes`` are named by path, with double underscores for dots."""
        opt = copy.deepcopy(OPTIONS)
        for key, value in changes.items():
            *parents, last = key.split('__')
            section = opt
            for parent in parents:
                section = section[parent]
            section[last] = value
        for key in without:
            *parents, last = key.split('__')
            section = opt
            for parent in parents:
                section = section[parent]
            del section[last]
        return opt

    def write(self, opt: dict[str, Any] | str, name: str = 'options.yml') -> str:
        """Writes an option file and returns its name."""
        (self.path / name).write_text(opt if isinstance(opt, str) else yaml.safe_dump(opt, sort_keys=False))
        return name

    def basicsr(self, *arguments: str) -> int:
        """Runs the command in this process; it opens its own log file, as in a process of its own."""
        from basicsr.utils import logger

        _close_logs()
        logger.initialized_logger.clear()
        return cli.main(arguments)

    def log(self, name: str = 'run', command: str = 'train', root: str = 'experiments') -> str:
        """Text of the newest log of a run."""
        return sorted((self.path / root / name).glob(f'{command}_{name}_*.log'))[-1].read_text()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    apply_fixes()
    monkeypatch.chdir(tmp_path)
    yield Workplace(tmp_path)
    _close_logs()


def _close_logs():
    logger = logging.getLogger('basicsr')
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
