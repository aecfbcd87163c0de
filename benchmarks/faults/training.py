"""Tiny trainings of both stages, each in a forked process that can be killed, limited and signalled."""

from __future__ import annotations

import contextlib
import copy
import logging
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from basicsr_plugin import cli
from basicsr_plugin.compat import apply_fixes

__all__ = ['CASES', 'Hook', 'Options', 'Place', 'case', 'same_weights']

Options = dict[str, Any]
Hook = Callable[[], object]

_CLIP = {
    'embed_dim': 16,
    'vision_cfg': {'image_size': 16, 'patch_size': 8, 'width': 16, 'layers': 1, 'head_width': 8},
    'text_cfg': {'context_length': 48, 'vocab_size': 49408, 'width': 16, 'heads': 2, 'layers': 1},
}
_ADAPTOR = {'type': 'DegradationAdaptor', 'view': 'native', 'clip': _CLIP, 'num_degradation_types': 8}
_PHOTOS = {'type': 'CaptionedDegradationDataset', 'dataroot_gt': 'photos', 'recipe': {'type': 'semantic'}}
_COMMON: Options = {
    'scale': 2,
    'num_gpu': 0,
    'manual_seed': 0,
    'logger': {'print_freq': 1, 'save_checkpoint_freq': 3},
    'datasets': {
        'train': {'name': 'train', **_PHOTOS, 'context_length': 48, 'gt_size': 32}
        | {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'dataset_enlarge_ratio': 3},
    },
    'path': {'pretrain_network_da': None},
}
_STAGE1: Options = {
    **_COMMON,
    'model_type': 'DegradationAdaptorModel',
    'network_da': _ADAPTOR,
    'train': {
        'optim_da': {'type': 'AdamW', 'lr': 1e-3},
        'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [100_000]},
        'contrastive_opt': {'type': 'DegradationOrdinalLoss'},
    },
}
_STAGE2: Options = {
    **_COMMON,
    'model_type': 'DePLSRModel',
    'path': {'pretrain_network_da': 'experiments/estimator/models/net_da_latest.pth'},
    'network_g': {'type': 'FusedDAT', 'upscale': 2, 'img_size': 16, 'split_size': [4, 8], 'depth': [2]}
    | {'embed_dim': 16, 'fusion_num_heads': 4, 'num_heads': [2], 'expansion_factor': 1, 'pos_dim': 4}
    | {'upsampler': 'pixelshuffledirect', 'prior_dim': 16, 'drop_path_rate': 0.5, 'num_degradation_types': 8},
    'network_da': _ADAPTOR,
    'train': {
        'ema_decay': 0.5,
        'optim_g': {'type': 'Adam', 'lr': 1e-3},
        'scheduler': {'type': 'MultiStepLR', 'milestones': [10], 'gamma': 0.5},
        'pixel_opt': {'type': 'L1Loss'},
    },
}
_GAN: Options = {
    'model_type': 'DePLSRGANModel',
    'network_g': {'type': 'FusedRRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 2, 'num_feat': 16, 'num_block': 1}
    | {'num_grow_ch': 8, 'prior_dim': 16, 'num_degradation_types': 8},
    'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4, 'skip_connection': True},
    'train': {
        **_STAGE2['train'],
        'optim_d': {'type': 'Adam', 'lr': 1e-4},
        'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 1e-1},
        'prior_dropout': 0.5,
    },
}
#: Options of a run by name: what is changed in stage 1 or 2, in the data set, and the networks that are saved.
CASES: dict[str, tuple[Options, Options, str]] = {
    'stage 1, pool': ({**_STAGE1, 'queue_size': 4}, {}, 'da'),
    'stage 1, workers': (_STAGE1, {'num_worker_per_gpu': 2}, 'da'),
    'stage 2, drop path, pool': ({**_STAGE2, 'queue_size': 4}, {}, 'g'),
    'stage 2, prefetch': (_STAGE2, {'num_worker_per_gpu': 1, 'prefetch_mode': 'cpu'}, 'g'),
    'GAN, device, pool': ({**_STAGE2, **_GAN, 'queue_size': 4}, {'degrade_on': 'device'}, 'g d'),
}


def case(name: str, iterations: int = 16, **top: Any) -> tuple[Options, list[str]]:
    """Returns the option file of a case, and the labels of the networks that it saves."""
    base, loader, labels = CASES[name]
    options = copy.deepcopy({**base, **top})
    options['train']['total_iter'] = iterations
    options['datasets']['train'].update(loader)
    return options, labels.split()


class Place:
    """A working directory with photos, in which trainings run as processes of their own.

    Args:
        path: The directory, which must not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / 'photos').mkdir(parents=True)
        torch.set_num_threads(1)
        apply_fixes()
        rng = np.random.default_rng(0)
        for number in range(4):
            small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            photo = cv2.resize(small, (56, 48), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(path / 'photos' / f'{number}.png'), photo)
        self._estimator()

    def start(self, name: str, options: Options, *more: str, hook: Hook | None = None, rank: Any = None) -> BaseProcess:
        """Starts a training; its output goes to ``<name>.txt``.

        Args:
            name: Of the run.
            options: The option file, without a name.
            more: Arguments of the command.
            hook: Is called in the process before the training.
            rank: Number of the process, number of all, and port; None for a single process.
        """
        file = self.path / f'{name}.yml'
        file.write_text(yaml.safe_dump({'name': name, **options}, sort_keys=False))
        process = multiprocessing.get_context('fork').Process(
            target=self._train, args=(name, ['train', '-opt', file.name, *more], hook, rank)
        )
        process.start()
        return process

    def train(self, name: str, options: Options, *more: str, hook: Hook | None = None, limit: float = 900) -> int:
        """Runs a training to its end; returns the exit status, -9 after a kill."""
        process = self.start(name, options, *more, hook=hook)
        process.join(limit)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f'{name} did not end within {limit} s')
        return process.exitcode

    def start_ranks(self, name: str, options: Options, *more: str, hook: Hook | None = None) -> list[BaseProcess]:
        """Starts a training in two processes, as torchrun would; the hook is called in the second."""
        with socket.socket() as free:
            free.bind(('localhost', 0))
            port = free.getsockname()[1]
        more = ('--launcher', 'pytorch', *more)
        hooks = (None, hook)
        return [self.start(name, options, *more, hook=hooks[rank], rank=(rank, 2, port)) for rank in range(2)]

    def output(self, name: str) -> str:
        """Returns what the processes of a run have printed."""
        return (self.path / f'{name}.txt').read_text(encoding='utf-8', errors='replace')

    def states(self, name: str) -> list[int]:
        """Returns the iterations of the checkpoints of a run."""
        folder = self.path / 'experiments' / name / 'training_states'
        return sorted(int(path.stem) for path in folder.glob('*.state') if path.stem.isdigit())

    def wait_for(self, name: str, text: str, process: BaseProcess, limit: float = 300) -> None:
        """Waits until a run has printed a text or has ended."""
        end = time.monotonic() + limit
        while process.is_alive() and time.monotonic() < end:
            if os.path.exists(self.path / f'{name}.txt') and text in self.output(name):
                return
            time.sleep(0.02)

    def _train(self, name: str, arguments: list[str], hook: Hook | None, rank: Any) -> None:
        os.chdir(self.path)
        with open(f'{name}.txt', 'ab') as file:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(file.fileno(), stream.fileno())
        if rank is not None:
            names = ('RANK', 'WORLD_SIZE', 'MASTER_PORT')
            os.environ.update({key: str(value) for key, value in zip(names, rank, strict=True)})
            os.environ['MASTER_ADDR'] = 'localhost'
        _forget_logs()
        if hook is not None:
            hook()
        sys.exit(cli.main(arguments))

    def _estimator(self) -> None:
        """Makes the frozen estimator of stage 2, untrained."""
        options, _ = case('stage 1, pool', 1)
        if self.train('estimator', options):
            raise RuntimeError(self.output('estimator'))


def same_weights(place: Place, first: str, second: str, labels: list[str]) -> bool:
    """Whether two runs have ended with the same weights, bit by bit."""
    for label in labels:
        paths = [place.path / 'experiments' / run / 'models' / f'net_{label}_latest.pth' for run in (first, second)]
        if not all(path.is_file() for path in paths):
            return False
        one, two = (dict(_tensors(torch.load(path, weights_only=True))) for path in paths)
        if one.keys() != two.keys() or not all(torch.equal(one[key], two[key]) for key in one):
            return False
    return True


def _tensors(value: Any, place: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield place, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _tensors(part, f'{place}.{key}')


def _forget_logs() -> None:
    from basicsr.utils import logger

    log = logging.getLogger('basicsr')
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()
    logger.initialized_logger.clear()
