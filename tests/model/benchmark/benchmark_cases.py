"""A working directory with small test sets and networks, and the command run there."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from PIL import Image
from skimage import data

from basicsr_plugin import cli

SHARED = Path(__file__).parents[4] / 'shared/data/sets'
SCALE, SIDE = 2, 48
STOCK = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': SCALE}
IMAGES = {'cat': 'chelsea', 'cup': 'coffee', 'woman': 'astronaut'}


def needs(name: str) -> pytest.MarkDecorator:
    """Skips a test where the test set is not next to the repository."""
    return pytest.mark.skipif(not (SHARED / name).is_dir(), reason=f'the test set {name} is not in ../shared/data/sets')


def write(path: Path, pixels: np.ndarray) -> None:
    """Writes an image with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def network(seed: int = 0) -> torch.nn.Module:
    """Builds a stock network near to an interpolation, with weights that depend on the seed."""
    torch.manual_seed(seed)
    net = build_network(dict(STOCK))
    with torch.no_grad():
        net.conv_last.weight.mul_(0.1)
    return net.eval()


class Workplace:
    """A working directory; runs the command in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, source in IMAGES.items():
            gt = np.ascontiguousarray(getattr(data, source)()[40 : 40 + SIDE, 60 : 60 + SIDE, :3])
            write(path / f'sets/small/GT/{name}.png', gt)
            write(path / f'sets/small/LQ/{name}.png', np.asarray(Image.fromarray(gt).resize((SIDE // SCALE,) * 2)))
        torch.save({'params': network().state_dict()}, path / 'stock.pth')

    def benchmark(self, *arguments: str, sets: str = 'small', output: str = 'table') -> int:
        """Runs ``basicsr benchmark`` in this process, at x2 and on the CPU."""
        where = ['--sets', sets, '--data-root', 'sets', '-o', output] if sets else ['--data-root', 'sets', '-o', output]
        return cli.main(['benchmark', *arguments, *where, '--scale', str(SCALE), '--device', 'cpu'])

    def rows(self, output: str = 'table') -> list[dict[str, str]]:
        """Returns ``results.csv``."""
        with (self.path / output / 'results.csv').open(newline='') as file:
            return list(csv.DictReader(file))

    def summary(self, output: str = 'table') -> dict[str, Any]:
        """Returns ``summary.json``."""
        return json.loads((self.path / output / 'summary.json').read_text())

    def options(self, name: str, **more: Any) -> str:
        """Writes a test option file of the stock network on the small set."""
        options = {
            'name': name,
            'model_type': 'SRModel',
            'scale': SCALE,
            'num_gpu': 0,
            'manual_seed': 0,
            'datasets': {
                'test': {
                    'name': 'small',
                    'type': 'PairedImageDataset',
                    'dataroot_gt': 'sets/small/GT',
                    'dataroot_lq': 'sets/small/LQ',
                    'io_backend': {'type': 'disk'},
                }
            },
            'network_g': STOCK,
            'path': {'pretrain_network_g': 'stock.pth', 'strict_load_g': True},
            'val': {
                'save_img': False,
                'suffix': None,
                'metrics': {
                    'psnr': {'type': 'calculate_psnr', 'crop_border': SCALE, 'test_y_channel': True},
                    'ssim_rgb': {'type': 'calculate_ssim', 'crop_border': 0, 'test_y_channel': False},
                },
            },
            **more,
        }
        (self.path / f'{name}.yml').write_text(yaml.safe_dump(options), encoding='utf-8')
        return f'{name}.yml'


def environment() -> dict[str, str]:
    """Returns the environment of a process of its own."""
    return {**os.environ, 'OMP_NUM_THREADS': '1'}
