"""Trains both stages of DePLSR on a few real photos, tests on others, and compares: `make demo`.

The photos are those that come with scikit-image, so nothing is fetched. All training and testing goes through the
`basicsr` command and the files in options/demo/; here is only what stands around it. A stage whose last checkpoint is
there is not trained again, and one that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
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
from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset
from deplsr_data.degradation.captions import DEGRADATION_TYPES
from deplsr_model.checkpoint import load_into
from deplsr_model.reading import LevelEstimator
from deplsr_model.tiling import tile_starts

# isort: split
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img

OPTIONS = Path('options/demo')
PHOTOS = Path('demo_data')
TRAIN_PHOTOS = (
    'brick.png', 'camera.png', 'chelsea.png', 'coins.png', 'gravel.png', 'ihc.png', 'motorcycle_left.png',
    'motorcycle_right.png',
)  # fmt: skip
HELDOUT_PHOTOS = ('astronaut.png', 'coffee.png', 'rocket.jpg')


def main() -> None:
    """Runs what has not run yet and shows the result."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--fresh', action='store_true', help='train again, also what is trained already')
    parser.add_argument('--seed', type=int, default=0, help='seed of stage 1; another one goes to a folder of its own')
    parser.add_argument('--only', choices=['adaptor'], help='stop after stage 1')
    args = parser.parse_args()
    if args.seed and not args.only:
        parser.error('--seed goes with --only adaptor: stage 2 takes the adaptor of seed 0')
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
    print_readings(adaptor)
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
    """Lays out scikit-image's photos as two folders; those for training in tiles, which are read faster."""
    source = Path(skimage.__file__).parent / 'data'
    for folder, names in (('train', TRAIN_PHOTOS), ('heldout', HELDOUT_PHOTOS)):
        (PHOTOS / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            photo = cv2.imread(str(source / name))
            for part, tile in tiles(photo) if folder == 'train' else [('', photo)]:
                cv2.imwrite(str(PHOTOS / folder / f'{Path(name).stem}{part}.png'), tile)


def tiles(photo: np.ndarray, side: int = 256) -> Iterator[tuple[str, np.ndarray]]:
    """Cuts a photo into tiles of one size that cover it."""
    for top in tile_starts(photo.shape[0], side, 0):
        for left in tile_starts(photo.shape[1], side, 0):
            yield f'_{top}_{left}', photo[top : top + side, left : left + side]


def basicsr(command: str, options: str, *more: str) -> None:
    """Runs the command line, its output shown as it comes."""
    line = ['basicsr', command, '-opt', str(OPTIONS / options), *more]
    print(f'\n$ {" ".join(line)}', flush=True)
    # a data loader's worker shares the cores: threads that wait must not hold one (several times slower on 2 cores)
    environment = {'OMP_WAIT_POLICY': 'PASSIVE', **os.environ}
    done = subprocess.run([Path(sys.executable).with_name('basicsr'), *line[1:]], check=False, env=environment)
    if done.returncode:
        sys.exit(done.returncode)


def train(options: str, name: str, fresh: bool, *force: str) -> None:
    """Trains unless the last checkpoint is there; goes on from where it was interrupted."""
    if fresh:
        shutil.rmtree(f'experiments/{name}', ignore_errors=True)
    if list(Path(f'experiments/{name}/models').glob('net_*_latest.pth')):
        print(f'\n{name} is trained already (--fresh trains again).')
        return
    basicsr('train', options, '--auto_resume', *(('--force_yml', *force) if force else ()))


def last_metrics(folder: str) -> dict[str, Any]:
    """Reads the last line of a run's metrics.jsonl."""
    return json.loads(Path(folder, 'metrics.jsonl').read_text(encoding='utf-8').splitlines()[-1])


def print_readings(adaptor: str) -> None:
    """Shows how well stage 1 reads photos it has not seen."""
    metrics = last_metrics(f'experiments/{adaptor}')
    print('\nStage 1, levels read off held-out photos: share that is right (share of the best constant answer)')
    for degradation_type in DEGRADATION_TYPES:
        print(
            f'  {degradation_type.name:<9} {metrics[degradation_type.name]:.2f}  ({metrics[f"{degradation_type.name}_constant"]:.2f})'
        )


def heldout_pairs() -> Iterator[dict[str, Any]]:
    """Returns the degraded held-out photos of the test, with the images of each method as uint8 BGR."""
    options = yaml.safe_load((OPTIONS / 'test_deplsr.yml').read_text(encoding='utf-8'))
    dataset = CaptionedDegradationDataset({**options['datasets']['test'], 'phase': 'test', 'scale': options['scale']})
    net_da = DegradationAdaptor(**{k: v for k, v in options['network_da'].items() if k != 'type'})
    load_into(net_da, options['path']['pretrain_network_da'])
    reader = LevelEstimator(net_da.eval())
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
            'read': said(read(reader, net_da, lq)),
        }


@torch.no_grad()
def read(reader: LevelEstimator, net_da: DegradationAdaptor, lq: torch.Tensor) -> torch.Tensor:
    """Returns the five levels read off a photo."""
    return reader.read(net_da(lq).fine_degradation)[0]


def said(levels: torch.Tensor) -> str:
    """Words for levels; a degradation type nearer to its zero level than the tolerance is left out."""
    pairs = zip(DEGRADATION_TYPES, levels.tolist(), strict=True)
    said_kinds = [
        degradation_type.say(level)
        for degradation_type, level in pairs
        if abs(level - degradation_type.zero) >= degradation_type.tolerance
    ]
    return ', '.join(said_kinds) or 'no degradation'


def print_table(pairs: list[dict[str, Any]]) -> None:
    """Shows the mean PSNR and SSIM on Y over all degraded held-out photos."""
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
    Path('results/demo.md').write_text(text + '\n', encoding='utf-8')
    print(f'\n{text}\n(table: results/demo.md)')


def draw_image(pairs: list[dict[str, Any]], side: int = 240, per_photo: int = 8) -> None:
    """Writes LR, bicubic, DePLSR and GT side by side, one row a photo, with what was applied and what was read."""
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    shown = pairs[::per_photo]
    line, head = 44, 24
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
        draw.text((4, top + side + 2), f'applied: {pair["applied"]}', 'black', small)
        draw.text((4, top + side + 20), f'read: {pair["read"]}', 'black', small)
    sheet.save('results/demo.png')
    print('(image: results/demo.png)')


if __name__ == '__main__':
    main()
