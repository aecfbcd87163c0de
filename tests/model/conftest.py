"""Photos and option files with which both stages train in seconds."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from basicsr_plugin import cli
from deplsr_model.prior import PRIORS

RECIPE = {'type': 'semantic'}
ADAPTOR = {
    'type': 'DegradationAdaptor',
    'view': 'native',
    'clip': {
        'embed_dim': 16,
        'vision_cfg': {'image_size': 16, 'patch_size': 8, 'width': 16, 'layers': 2, 'head_width': 8},
        'text_cfg': {'context_length': 48, 'vocab_size': 49408, 'width': 16, 'heads': 2, 'layers': 1},
    },
}
COMMON = {
    'scale': 2,
    'num_gpu': 0,
    'manual_seed': 0,
    'logger': {'print_freq': 2, 'save_checkpoint_freq': 2},
}
PHOTOS = {'type': 'CaptionedDegradationDataset', 'dataroot_gt': 'photos', 'recipe': RECIPE, 'context_length': 48}
LOADER = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'dataset_enlarge_ratio': 4}
STAGE1: dict[str, Any] = {
    **COMMON,
    'name': 'adaptor',
    'model_type': 'DegradationAdaptorModel',
    'datasets': {
        'train': {'name': 'train', **PHOTOS, **LOADER, 'gt_size': 32},
        'val': {'name': 'val', **PHOTOS, 'gt_size': 32, 'draws_per_image': 3},
    },
    'network_da': ADAPTOR,
    'path': {'pretrain_network_da': None},
    'train': {
        'total_iter': 4,
        'optim_da': {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 0.1},
        'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [4], 'eta_min': 0},
        'contrastive_opt': {'type': 'DegradationSoftmaxLoss'},
    },
    'val': {'val_freq': 2, 'pbar': False},
}
STAGE2: dict[str, Any] = {
    **COMMON,
    'name': 'sr',
    'model_type': 'DePLSRModel',
    'datasets': {
        'train': {'name': 'train', **PHOTOS, **LOADER, 'gt_size': 32},
        'val': {'name': 'val', **PHOTOS, 'draws_per_image': 2},
    },
    'network_g': {
        'type': 'FusedDAT',
        'upscale': 2,
        'img_size': 16,
        'split_size': [4, 8],
        'depth': [2],
        'embed_dim': 16,
        'fusion_num_heads': 4,
        'num_heads': [2],
        'expansion_factor': 1,
        'upsampler': 'pixelshuffledirect',
        'pos_dim': 4,
        'prior_dim': 16,
    },
    'network_da': ADAPTOR,
    'path': {'pretrain_network_da': 'experiments/adaptor/models/net_da_latest.pth'},
    'train': {
        'total_iter': 4,
        'ema_decay': 0.5,
        'optim_g': {'type': 'Adam', 'lr': 1e-3},
        'scheduler': {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5},
        'pixel_opt': {'type': 'L1Loss'},
    },
    'val': {
        'val_freq': 4,
        'pbar': False,
        'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': True}},
    },
}
GAN: dict[str, Any] = {
    'network_g': {'type': 'FusedRRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 2, 'num_feat': 16, 'num_block': 2}
    | {'num_grow_ch': 8, 'prior_dim': 16},
    'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4, 'skip_connection': True},
}
GAN_TRAIN: dict[str, Any] = {
    'ema_decay': 0.5,
    'optim_g': {'type': 'Adam', 'lr': 1e-4, 'weight_decay': 0, 'betas': [0.9, 0.99]},
    'optim_d': {'type': 'Adam', 'lr': 1e-4, 'weight_decay': 0, 'betas': [0.9, 0.99]},
    'scheduler': {'type': 'MultiStepLR', 'milestones': [400000], 'gamma': 0.5},
    'total_iter': 4,
    'warmup_iter': -1,
    'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
    'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'real_label_val': 1.0, 'fake_label_val': 0.0}
    | {'loss_weight': 1e-1},
    'net_d_iters': 1,
    'net_d_init_iters': 0,
}


class Workplace:
    """A working directory with photos; runs the command in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / 'photos').mkdir()
        rng = np.random.default_rng(0)
        for i in range(4):
            small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            photo = cv2.resize(small, (56, 48), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(path / 'photos' / f'{i}.png'), photo)

    def write(self, options: dict[str, Any], **changes: Any) -> str:
        """Writes an option file; a change such as ``train__total_iter=2`` sets a key, None included."""
        options = copy.deepcopy(options)
        for key, value in changes.items():
            *parents, last = key.split('__')
            section = options
            for parent in parents:
                section = section[parent]
            section[last] = value
        (self.path / 'options.yml').write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
        return 'options.yml'

    def run(self, command: str, options: dict[str, Any], *more: str, **changes: Any) -> int:
        """Runs the command in this process."""
        return cli.main([command, '-opt', self.write(options, **changes), *more])

    def run_processes(self, count: int, command: str, options: dict[str, Any], *more: str, **changes: Any) -> list[int]:
        """Runs the command in several processes, as torchrun would, and returns their exit statuses."""
        file = self.write(options, **changes)
        with socket.socket() as free:
            free.bind(('localhost', 0))
            port = free.getsockname()[1]
        line = [command, '-opt', file, '--launcher', 'pytorch', *more]
        places = [
            {'RANK': rank, 'WORLD_SIZE': count, 'MASTER_ADDR': 'localhost', 'MASTER_PORT': port}
            for rank in range(count)
        ]
        # torch refuses backward passes in a fork of a process that has used a GPU
        context: BaseContext = multiprocessing.get_context('spawn' if torch.cuda.is_available() else 'fork')
        processes = [context.Process(target=_run_rank, args=(line, place)) for place in places]
        for process in processes:
            process.start()
        processes[0].join(400)
        for process in processes[1:]:
            process.join(5 if processes[0].exitcode else 60)
            process.kill()  # what torchrun does when one has failed
            process.join()
        return [int(process.exitcode or 0) for process in processes]

    def start(
        self, command: str, options: dict[str, Any], *more: str, start_new_session: bool = False, **changes: Any
    ) -> subprocess.Popen[str]:
        """Starts the command as a process of its own."""
        line = [sys.executable, '-m', 'basicsr_plugin.cli', command, '-opt', self.write(options, **changes), *more]
        return subprocess.Popen(
            line,
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding='utf-8',
            start_new_session=start_new_session,
        )


def _run_rank(line: list[str], place: dict[str, object]) -> None:
    """Runs a command as one of several processes."""
    os.environ.update({name: str(value) for name, value in place.items()})
    _forget_logs()
    sys.exit(cli.main(line))


def _forget_logs() -> None:
    """Lets a forked process open its own log, at the level of its rank."""
    from basicsr.utils import logger

    log = logging.getLogger('basicsr')
    for handler in log.handlers[:]:
        log.removeHandler(handler)
    logger.initialized_logger.clear()


@pytest.fixture
def stage1() -> dict[str, Any]:
    return STAGE1


@pytest.fixture
def stage2() -> dict[str, Any]:
    return STAGE2


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Workplace:
    monkeypatch.chdir(tmp_path)
    return Workplace(tmp_path)


@pytest.fixture(scope='session')
def trained_adaptor(tmp_path_factory) -> Path:
    """The last checkpoint of a short stage 1."""
    path = tmp_path_factory.mktemp('stage1')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert Workplace(path).run('train', STAGE1) == 0
    return path / 'experiments/adaptor/models/net_da_latest.pth'


@pytest.fixture
def gan(stage2, trained_adaptor) -> dict[str, Any]:
    """Stage 2 with a discriminator."""
    return {
        **stage2,
        **GAN,
        'name': 'gan',
        'model_type': 'DePLSRGANModel',
        'l1_gt_usm': True,
        'percep_gt_usm': True,
        'gan_gt_usm': False,
        'train': GAN_TRAIN,
        'path': {'pretrain_network_da': str(trained_adaptor)},
    }


@pytest.fixture
def real_esrgan(workplace, gan, stage2, real_esrgan_degradation) -> dict[str, Any]:
    """A Real-ESRGAN option file, key by key, in which three things were changed: see the last lines."""
    (workplace.path / 'names.txt').write_text('0.png\n1.png\n2.png\n3.png\n')
    options = {
        **{key: stage2[key] for key in ('scale', 'num_gpu', 'manual_seed')},
        'name': 'train_RealESRGANx2plus_400k_B12G4',
        'model_type': 'RealESRGANModel',
        'l1_gt_usm': True,
        'percep_gt_usm': True,
        'gan_gt_usm': False,
        **real_esrgan_degradation['top'],
        'queue_size': 4,
        'datasets': {
            'train': {
                **real_esrgan_degradation['train'],
                'name': 'DF2K+OST',
                'dataroot_gt': 'photos',
                'meta_info': 'names.txt',
                'use_shuffle': True,
                'dataset_enlarge_ratio': 4,
                'prefetch_mode': None,
            }
        },
        'network_g': {**GAN['network_g'], 'type': 'RRDBNet'},
        'network_d': GAN['network_d'],
        'path': {'pretrain_network_g': None, 'param_key_g': 'params_ema', 'strict_load_g': True, 'resume_state': None},
        'train': GAN_TRAIN,
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False, 'wandb': None},
        'dist_params': {'backend': 'nccl', 'port': 29500},
    }
    options['model_type'] = 'DePLSRGANModel'
    options['network_g'] = {**options['network_g'], 'type': 'FusedRRDBNet'}
    options['network_da'] = stage2['network_da']
    options['path'] = {**options['path'], **gan['path']}
    return options


@pytest.fixture(autouse=True)
def product_priors(monkeypatch):
    """Only the product's sources of a prior, also where the tests of the benchmarks have registered theirs."""
    rows = {name: PRIORS[name] for name in ('estimated', 'none', 'captions')}
    monkeypatch.setattr('deplsr_model.prior.PRIORS', rows)
    monkeypatch.setattr('deplsr_model.deplsr_model.PRIORS', rows)
