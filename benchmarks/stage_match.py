"""Which input of stage 1 makes the better prior for stage 2: `python benchmarks/stage_match.py --help`.

Three adaptors that differ in their input alone learn to read degradations, from the same photos in as many steps:

- whole: the whole photo, degraded at full size and resized without keeping the aspect ratio to the input of the tower, as published;
- patch: a patch made as stage 2 makes it (GT / scale), enlarged to the input of the tower;
- native: the same patch at its own scale.

All towers see a grid of 8 x 8 patches through a convolutional stem and are trained from scratch, with the ordinal loss.
Then they read patches as stage 2 makes them, of held-out photos: `read` is the Spearman correlation of the level read
(expectation over the texts of all levels) with the true one, `probe` that of a ridge regression from the five fine
embeddings, which tells what is in the prior however it is worded. Last, the same small FusedDAT is trained with each
prior and with none, and compared on held-out photos: gain in PSNR-Y with a paired bootstrap 95% interval over photos.

All training goes through `basicsr`; each run goes on where it was cut off, and one that is done is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from figures import bootstrap, ridge
from scipy.stats import spearmanr

from basicsr_plugin.compat import apply_fixes

apply_fixes()

from basicsr.metrics import calculate_metric  # noqa: E402  needs the mends above
from basicsr.utils import tensor2img  # noqa: E402

from deplsr_arch import DegradationAdaptor, FusedDAT  # noqa: E402
from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset  # noqa: E402
from deplsr_model.checkpoint import load_into  # noqa: E402
from deplsr_model.level_words import LevelEmbeddings  # noqa: E402
from deplsr_model.vocabulary import TRAINING_LEVELS, embed_levels  # noqa: E402

SCALE, GT_SIZE = 2, 128
RECIPE = {
    'type': 'semantic', 'gaussian_noise_prob': 1.0, 'noise_range': [0.0, 15.0], 'jpeg_range': [50.0, 95.0],
    'sinc_prob': 0.0,
}  # fmt: skip
DEGRADATION_TYPES = {'blur': 0, 'noise': 1, 'jpeg': 3}
TEXT = {'context_length': 64, 'vocab_size': 49408, 'width': 64, 'heads': 2, 'layers': 2}
#: Side of the tower's input, its patch, and the view of each adaptor.
ADAPTORS = {'whole': (128, 16, 'resize'), 'patch': (128, 16, 'resize'), 'native': (64, 8, 'native')}
ARMS = ('none', *ADAPTORS)


def main() -> None:
    """Trains what is not trained yet, measures, and prints a table and one line of JSON."""
    options = parse()
    os.chdir(prepare(options))
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda name: train(stage1(name, options), options), ADAPTORS))
        list(pool.map(lambda arm: train(stage2(arm, options), options), ARMS))
    result: dict[str, Any] = {'settings': vars(options) | {'recipe': RECIPE}, 'reading': {}, 'gain': {}}
    for name in ADAPTORS:
        result['reading'][name] = reading(name)
    psnr = {arm: np.array(evaluate(arm)) for arm in ARMS}
    result['psnr'] = {arm: round(float(values.mean()), 3) for arm, values in psnr.items()}
    for arm in ADAPTORS:
        result['gain'][arm] = bootstrap(psnr[arm] - psnr['none'])
    show(result)
    if options.output:
        Path(options.output).write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    print(json.dumps({key: result[key] for key in ('reading', 'psnr', 'gain')}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', required=True, help='folder with train/ and heldout/')
    parser.add_argument('--work', default='experiments/stage_match', help='folder for runs (experiments/stage_match)')
    parser.add_argument('--steps1', type=int, default=1000, help='steps of 32 photos in stage 1')
    parser.add_argument('--steps2', type=int, default=1000, help='steps of 4 patches in stage 2')
    parser.add_argument('--jobs', type=int, default=2, help='runs at a time, each with one thread')
    parser.add_argument('--output', help='JSON file for the result')
    options = parser.parse_args()
    options.output = options.output and os.path.abspath(options.output)
    return options


def prepare(options: argparse.Namespace) -> Path:
    """Halves the photos, so that whole ones are read as fast as patches, and gives the folder to work in."""
    work = Path(options.work)
    for part in ('train', 'heldout'):
        (work / part).mkdir(parents=True, exist_ok=True)
        for path in sorted(Path(options.photos, part).iterdir()):
            target = work / part / f'{path.stem}.png'
            image = None if target.exists() else cv2.imread(str(path))
            if image is not None:
                cv2.imwrite(str(target), cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return work


def network_da(name: str) -> dict[str, Any]:
    side, patch, view = ADAPTORS[name]
    vision = {'image_size': side, 'patch_size': patch, 'width': 96, 'layers': 3, 'head_width': 32, 'pool_type': 'avg'}
    clip = {'embed_dim': 64, 'vision_cfg': vision, 'text_cfg': TEXT}
    return {'type': 'DegradationAdaptor', 'view': view, 'stem': 'conv', 'logit_init': 'clip', 'clip': clip}


def train_set(batch: int) -> dict[str, Any]:
    return {
        'name': 'train', 'type': 'CaptionedDegradationDataset', 'dataroot_gt': 'train', 'gt_size': GT_SIZE,
        'recipe': RECIPE, 'context_length': TEXT['context_length'], 'num_worker_per_gpu': 0,
        'batch_size_per_gpu': batch, 'dataset_enlarge_ratio': 100,
    }  # fmt: skip


def stage1(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Options of an adaptor's training."""
    data = train_set(32)
    if name == 'whole':
        recipe = {**RECIPE, 'resize': 'last'}
        data = {**data, 'input': 'whole', 'input_size': ADAPTORS[name][0], 'gt_size': None, 'recipe': recipe}
    return {
        **common(f'adaptor_{name}', options.steps1, 'DegradationAdaptorModel'),
        'scale': 1 if name == 'whole' else SCALE,
        'datasets': {'train': data},
        'network_da': network_da(name),
        'path': {},
        'train': {
            **schedule(options.steps1), 'warmup_iter': 50,
            'optim_da': {'type': 'AdamW', 'lr': 2e-3, 'betas': [0.9, 0.98], 'weight_decay': 0.05},
            'contrastive_opt': {'type': 'DegradationOrdinalLoss', 'weights': [0.0, 0.2, 0.8]},
        },
    }  # fmt: skip


def stage2(arm: str, options: argparse.Namespace) -> dict[str, Any]:
    """Options of an SR network's training."""
    prior = {} if arm == 'none' else {'network_da': network_da(arm)}
    return {
        **common(f'sr_{arm}', options.steps2, 'DePLSRModel'),
        **prior,
        'scale': SCALE,
        'prior': 'none' if arm == 'none' else 'adaptor',
        'datasets': {'train': train_set(4)},
        'network_g': {'type': 'FusedDAT', **network_g()},
        'path': {'pretrain_network_da': f'experiments/adaptor_{arm}/models/net_da_latest.pth'} if prior else {},
        'train': {
            **schedule(options.steps2), 'ema_decay': 0.99,
            'optim_g': {'type': 'Adam', 'lr': 2e-3, 'betas': [0.9, 0.99]},
            'pixel_opt': {'type': 'L1Loss'},
        },
    }  # fmt: skip


def common(name: str, steps: int, model: str) -> dict[str, Any]:
    logger = {'print_freq': 50, 'save_checkpoint_freq': 200}
    return {'name': name, 'model_type': model, 'num_gpu': 0, 'manual_seed': 0, 'logger': logger}


def schedule(steps: int) -> dict[str, Any]:
    return {
        'total_iter': steps,
        'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [steps], 'eta_min': 1e-6},
    }


def network_g() -> dict[str, Any]:
    return {
        'upscale': SCALE, 'img_size': 64, 'split_size': [8, 8], 'depth': [2, 2], 'embed_dim': 24, 'num_heads': [2, 2],
        'expansion_factor': 2, 'upsampler': 'pixelshuffledirect', 'pos_dim': 8, 'prior_dim': 64,
    }  # fmt: skip


def train(opt: dict[str, Any], options: argparse.Namespace) -> None:
    """Runs `basicsr train` unless its last checkpoint is there."""
    name = opt['name']
    if list(Path(f'experiments/{name}/models').glob('net_*_latest.pth')):
        return
    Path(f'{name}.yml').write_text(yaml.safe_dump(opt, sort_keys=False), encoding='utf-8')
    command = [sys.executable, '-m', 'basicsr_plugin.cli', 'train', '-opt', f'{name}.yml', '--auto_resume']
    start = time.time()
    with open(f'{name}.log', 'a', encoding='utf-8') as log:
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE'}
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode:
        sys.exit(f'{name} failed; see {Path(f"{name}.log").resolve()}')
    print(f'{name}: {(time.time() - start) / 60:.1f} minutes', flush=True)


def adaptor(name: str) -> DegradationAdaptor:
    net = DegradationAdaptor(**{key: value for key, value in network_da(name).items() if key != 'type'})
    load_into(net, f'experiments/adaptor_{name}/models/net_da_latest.pth')
    return net.eval()


@lru_cache
def samples(part: str, draws: int) -> list[dict[str, Any]]:
    """Patches as stage 2 makes them, from the middle of each photo."""
    opt = {**train_set(1), 'dataroot_gt': part, 'phase': 'val', 'scale': SCALE, 'draws_per_image': draws}
    dataset = CaptionedDegradationDataset(opt)
    return [dataset[i] for i in range(len(dataset))]


@torch.no_grad()
def reading(name: str) -> dict[str, dict[str, float]]:
    """Spearman of each degradation type, as read and as a ridge regression finds it in the prior."""
    net = adaptor(name)
    parts = {part: samples(part, draws) for part, draws in (('train', 8), ('heldout', 20))}
    images = {part: torch.stack([s['lq'] for s in items]) for part, items in parts.items()}
    fine = {part: torch.cat([net(lq).fine_degradation for lq in stack.split(60)]) for part, stack in images.items()}
    words = LevelEmbeddings(embed_levels(net, TRAINING_LEVELS, 'ViT-B-32', '{}', torch.device('cpu')))
    read = words.read(fine['heldout'], net.logit_scale.exp())
    true = {part: torch.stack([s['levels'] for s in items]) for part, items in parts.items()}
    result: dict[str, dict[str, float]] = {'read': {}, 'probe': {}}
    for degradation_type, place in DEGRADATION_TYPES.items():
        probe = ridge(fine['train'].flatten(1), true['train'][:, place], fine['heldout'].flatten(1))
        for way, levels in (('read', read[:, place]), ('probe', probe)):
            result[way][degradation_type] = round(float(spearmanr(levels, true['heldout'][:, place]).statistic), 3)
    return result


@torch.no_grad()
def evaluate(arm: str) -> list[float]:
    """Mean PSNR-Y of each held-out photo over its draws."""
    net = FusedDAT(**network_g()).eval()
    load_into(net, f'experiments/sr_{arm}/models/net_g_latest.pth', param_key='params_ema')
    net_da = None if arm == 'none' else adaptor(arm)
    photos: dict[str, list[float]] = {}
    for sample in samples('heldout', 6):
        lq = sample['lq'][None]
        prior = net_da.prior(lq) if net_da else (lq.new_zeros(1, 1, 64), lq.new_zeros(1, 5, 64))
        images = {'img': tensor2img([net(lq, *prior)]), 'img2': tensor2img([sample['gt'][None]])}
        value = calculate_metric(images, {'type': 'calculate_psnr', 'crop_border': SCALE, 'test_y_channel': True})
        photos.setdefault(sample['gt_path'], []).append(value)
    return [float(np.mean(values)) for values in photos.values()]


def show(result: dict[str, Any]) -> None:
    """Prints the table of the documentation."""
    print('| stage 1 sees | read: blur, noise, JPEG | in the prior (ridge) | PSNR-Y | gain over no prior, dB |')
    print('| --- | --- | --- | --- | --- |')
    print(f'| (no prior) | | | {result["psnr"]["none"]:.2f} | |')
    for name in ADAPTORS:
        read, probe = (
            ', '.join(f'{v:.2f}' for v in result['reading'][name][way].values()) for way in ('read', 'probe')
        )
        mean, low, high = result['gain'][name]
        print(f'| {name} | {read} | {probe} | {result["psnr"][name]:.2f} | {mean:+.3f} ({low:+.3f} to {high:+.3f}) |')


if __name__ == '__main__':
    main()
