"""Trains both stages of DePLSR on a few real photos, tests on others, and compares: `make demo-train`.

The photos come with scikit-image, so nothing is downloaded. Training and testing run through the `basicsr` command with
the files in options/demo/; this script prepares the photos and shows the results. A stage that is trained is not
trained again, and an interrupted one resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
import torch
import yaml
from PIL import Image, ImageDraw, ImageFont

from deplsr_arch import DegradationAdaptor
from deplsr_arch.grid import starts
from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset
from deplsr_data.degradation.level_tables import level_table
from deplsr_model.checkpoint import load_into
from deplsr_model.level_text import LevelEstimator

# isort: split
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img

TABLE = level_table('effective')  # the default of option files
OPTIONS = Path('options/demo')
PHOTOS = Path('demo_data')
TRAIN_PHOTOS = (
    'brick.png', 'camera.png', 'chelsea.png', 'coins.png', 'gravel.png', 'ihc.png', 'motorcycle_left.png',
    'motorcycle_right.png',
)  # fmt: skip
HELDOUT_PHOTOS = ('astronaut.png', 'coffee.png', 'rocket.jpg')


def main() -> None:
    """Runs what has not run yet and shows the results."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--fresh', action='store_true', help='train again what is trained already')
    parser.add_argument('--seed', type=int, default=0, help='seed of stage 1; each seed has its own folder')
    parser.add_argument('--only', choices=['adaptor'], help='stop after stage 1')
    args = parser.parse_args()
    if args.seed and not args.only:
        parser.error('--seed: expected together with --only adaptor, since stage 2 uses the adaptor of seed 0')
    start = time.time()
    copy_photos()
    adaptor = f'demo_adaptor_seed{args.seed}' if args.seed else 'demo_adaptor'
    train(
        'train_adaptor.yml',
        adaptor,
        args.fresh,
        f'manual_seed={args.seed}',
        f'datasets:train:seed={args.seed}',
        f'name={adaptor}',
    )
    print_accuracy(adaptor)
    if args.only:
        return
    for name in ('plain', 'deplsr'):
        train(f'train_{name}.yml', f'demo_{name}', args.fresh)
        shutil.rmtree(f'results/demo_{name}', ignore_errors=True)
        basicsr('test', f'test_{name}.yml')
    pairs = list(heldout_pairs())
    print_table(pairs)
    draw_image(pairs)
    print(f'\nThis took {(time.time() - start) / 60:.1f} minutes.')


def copy_photos() -> None:
    """Copies scikit-image's photos into two folders; those for training as tiles, which load faster."""
    source = Path(skimage.__file__).parent / 'data'
    for folder, names in (('train', TRAIN_PHOTOS), ('heldout', HELDOUT_PHOTOS)):
        (PHOTOS / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            photo = cv2.imread(str(source / name))
            for part, tile in tiles(photo) if folder == 'train' else [('', photo)]:
                cv2.imwrite(str(PHOTOS / folder / f'{Path(name).stem}{part}.png'), tile)


def tiles(photo: np.ndarray, side: int = 256) -> Iterator[tuple[str, np.ndarray]]:
    """Cuts a photo into tiles of one size that cover it."""
    for top in starts(photo.shape[0], side):
        for left in starts(photo.shape[1], side):
            yield f'_{top}_{left}', photo[top : top + side, left : left + side]


def basicsr(command: str, options: str, *more: str) -> None:
    """Runs a command and shows its output."""
    line = ['basicsr', command, '-opt', str(OPTIONS / options), *more]
    print(f'\n$ {" ".join(line)}', flush=True)
    # waiting threads must not occupy the cores that a data loader's worker needs (several times slower on 2 cores)
    environment = {'OMP_WAIT_POLICY': 'PASSIVE', **os.environ}
    done = subprocess.run([Path(sys.executable).with_name('basicsr'), *line[1:]], check=False, env=environment)
    if done.returncode:
        sys.exit(done.returncode)


def train(options: str, name: str, fresh: bool, *force: str) -> None:
    """Trains unless the final checkpoint exists; resumes an interrupted run."""
    if fresh:
        shutil.rmtree(f'experiments/{name}', ignore_errors=True)
    if list(Path(f'experiments/{name}/models').glob('net_*_latest.pth')):
        print(f'\n{name} is trained already (--fresh trains again).')
        return
    basicsr('train', options, '--auto_resume', *(('--force_yml', *force) if force else ()))


def last_metrics(folder: str) -> dict[str, Any]:
    """Reads the last line of a run's metrics.jsonl."""
    return json.loads(Path(folder, 'metrics.jsonl').read_text(encoding='utf-8').splitlines()[-1])


def print_accuracy(adaptor: str) -> None:
    """Prints how often stage 1 estimates the levels of held-out photos correctly."""
    metrics = last_metrics(f'experiments/{adaptor}')
    print('\nStage 1, held-out photos: share of correct estimates (share of the best constant answer)')
    for name in TABLE.names:
        print(f'  {name:<11} {metrics[name]:.2f}  ({metrics[f"{name}_constant"]:.2f})')


def heldout_pairs() -> Iterator[dict[str, Any]]:
    """Yields the degraded held-out photos of the test, with the images of each method as uint8 BGR."""
    options = yaml.safe_load((OPTIONS / 'test_deplsr.yml').read_text(encoding='utf-8'))
    dataset = CaptionedDegradationDataset({**options['datasets']['test'], 'phase': 'test', 'scale': options['scale']})
    net_da = DegradationAdaptor(**{k: v for k, v in options['network_da'].items() if k != 'type'})
    load_into(net_da, options['path']['pretrain_network_da'])
    estimator = LevelEstimator(net_da.eval(), TABLE)
    for sample in (dataset[i] for i in range(len(dataset))):
        lq = sample['lq'][None]
        height, width = sample['gt'].shape[1:]
        image = Path(sample['lq_path']).stem
        lr = tensor2img([lq])
        yield {
            'name': image,
            'lr': cv2.resize(lr, (width, height), interpolation=cv2.INTER_NEAREST),
            'bicubic': cv2.resize(lr, (width, height), interpolation=cv2.INTER_CUBIC),
            'plain': cv2.imread(f'results/demo_plain/visualization/demo_heldout/{image}_demo_plain.png'),
            'deplsr': cv2.imread(f'results/demo_deplsr/visualization/demo_heldout/{image}_demo_deplsr.png'),
            'gt': tensor2img([sample['gt'][None]]),
            'applied': sample['captions'][1],
            'estimated': caption(estimate(estimator, net_da, lq)),
        }


@torch.no_grad()
def estimate(estimator: LevelEstimator, net_da: DegradationAdaptor, lq: torch.Tensor) -> torch.Tensor:
    """Estimates the levels of a photo."""
    return estimator.estimate(net_da(lq).fine_degradation)[0]


def caption(levels: torch.Tensor) -> str:
    """Returns the captions of levels; a degradation type within its tolerance of the zero level is left out."""
    pairs = zip(TABLE.types, levels.tolist(), strict=True)
    present = [one.caption(level) for one, level in pairs if abs(level - one.zero_level) >= one.tolerance]
    return ', '.join(present) or 'no degradation'


def print_table(pairs: list[dict[str, Any]]) -> None:
    """Prints and writes the mean PSNR and SSIM on Y over all degraded held-out photos."""
    rows = [f'| {len(pairs)} degraded held-out photos, x2 | PSNR-Y | SSIM-Y |', '| --- | --- | --- |']
    for title, key in (('bicubic', 'bicubic'), ('SR without prior', 'plain'), ('DePLSR', 'deplsr')):
        values = [
            np.mean(
                [
                    calculate_metric(
                        {'img': pair[key], 'img2': pair['gt']},
                        {'type': f'calculate_{metric}', 'crop_border': 2, 'test_y_channel': True},
                    )
                    for pair in pairs
                ]
            )
            for metric in ('psnr', 'ssim')
        ]
        rows.append(f'| {title} | {values[0]:.2f} | {values[1]:.4f} |')
    text = '\n'.join(rows)
    Path('results/demo_train.md').write_text(text + '\n', encoding='utf-8')
    print(f'\n{text}\n(table: results/demo_train.md)')


def draw_image(pairs: list[dict[str, Any]], side: int = 240, per_photo: int = 8) -> None:
    """Writes LR, bicubic, DePLSR and GT in columns, one photo a row, with the applied and the estimated degradation."""
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    shown = pairs[::per_photo]
    line, head = 84, 24
    sheet = Image.new('RGB', (4 * (side + 4), head + len(shown) * (side + line)), 'white')
    draw = ImageDraw.Draw(sheet)
    columns = (('LR', 'lr'), ('bicubic', 'bicubic'), ('DePLSR', 'deplsr'), ('GT', 'gt'))
    for i, (title, _) in enumerate(columns):
        draw.text((i * (side + 4) + 4, 2), title, 'black', font)
    for row, pair in enumerate(shown):
        top = head + row * (side + line)
        for i, (_, key) in enumerate(columns):
            height, width = pair[key].shape[:2]
            y, x = (height - side) // 3, (width - side) // 2
            crop = pair[key][y : y + side, x : x + side, ::-1]
            sheet.paste(Image.fromarray(np.ascontiguousarray(crop)), (i * (side + 4), top))
        for place, key in enumerate(('applied', 'estimated')):
            text = textwrap.fill(f'{key}: {pair[key]}', 140)
            draw.text((4, top + side + 2 + 40 * place), text, 'black', small)
    sheet.save('results/demo_train.png')
    print('(image: results/demo_train.png)')


if __name__ == '__main__':
    main()
