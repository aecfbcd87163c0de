"""A working directory with photos and small models of random weights, and the command run there."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from basicsr.archs import build_network
from PIL import Image
from skimage import data

from basicsr_plugin import cli
from deplsr_model.calibration import calibrate
from deplsr_model.checkpoint import save_estimator

NAMES = ('upscale', 'describe', 'export', 'replay')
DIM, TYPES = 16, 8
STOCK = {'type': 'SRVGGNetCompact_basicsr', 'num_feat': 8, 'num_conv': 2, 'upscale': 2}
NETWORK_G = {
    'type': 'Fused',
    'backbone': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 2, 'upscale': 2},
    'fuse_at': ['body.0'],
    'prior_dim': DIM,
    'num_degradation_types': TYPES,
}
NETWORK_DA = {
    'type': 'LevelDistribution',
    'prior_dim': DIM,
    'num_feat': 8,
    'num_block': 1,
    'num_degradation_types': TYPES,
}
OPTIONS: dict[str, Any] = {
    'name': 'small',
    'model_type': 'DePLSRModel',
    'scale': 2,
    'num_gpu': 0,
    'network_g': NETWORK_G,
    'network_da': NETWORK_DA,
    'path': {'pretrain_network_g': 'net_g.pth', 'pretrain_network_da': 'net_da.pth'},
    'datasets': {},
}
COMMAND = f"""
import sys
from importlib.metadata import EntryPoint
from basicsr_plugin import cli, commands
commands.entry_points = lambda group: [EntryPoint(n, 'deplsr_model.commands.' + n, group) for n in {NAMES}]
sys.exit(cli.main(sys.argv[1:]))
"""


def randomly(block: dict[str, Any], seed: int = 0) -> torch.nn.Module:
    """Builds a network whose weights are random everywhere, those that start at zero too."""
    torch.manual_seed(seed)
    net = build_network(copy.deepcopy(block))
    for name, value in net.named_parameters():
        if value.ndim > 1 or name.endswith('bias'):
            torch.nn.init.normal_(value, std=0.15 if value.ndim > 1 else 0.05)
    return net.eval()


class Workplace:
    """A working directory; runs the command in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stock(self, name: str = 'stock.pth', seed: int = 0, **changes: Any) -> str:
        """Writes weights of a stock network."""
        torch.save({'params': randomly({**STOCK, **changes}, seed).state_dict()}, self.path / name)
        return name

    def conditioned(self, levels: str = 'effective') -> tuple[str, ...]:
        """Writes a conditioned network with a calibrated estimator; returns the arguments that name it."""
        estimator = randomly(NETWORK_DA)
        photo = data.astronaut()
        crops = [(_crop(photo, 40 * i, 32 * i), torch.full((1, TYPES), 0.1 * i)) for i in range(10)]
        calibrate(estimator, crops)
        estimator.threshold.mul_(10)  # all photos of the tests are within range
        torch.save({'params': randomly(NETWORK_G).state_dict()}, self.path / 'net_g.pth')
        save_estimator(estimator, self.path / 'net_da.pth', levels)
        (self.path / 'options.yml').write_text(yaml.safe_dump({**OPTIONS, 'levels': levels}), encoding='utf-8')
        return '-m', 'net_g.pth', '-opt', 'options.yml'

    def photo(self, name: str = 'photos/photo.png', size: tuple[int, int] = (30, 41), **arguments: Any) -> str:
        """Writes part of a real photo, height and width given."""
        pixels = data.astronaut()[100 : 100 + size[0], 150 : 150 + size[1]]
        (self.path / name).parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(pixels).save(self.path / name, **arguments)
        return name

    def run(self, *arguments: str) -> int:
        """Runs the command in this process."""
        return cli.main(list(arguments))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts the command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, '-c', COMMAND, *arguments],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _crop(photo: np.ndarray, top: int, left: int) -> torch.Tensor:
    crop = photo[top : top + 64, left : left + 64].astype(np.float32) / 255
    return torch.from_numpy(crop.transpose(2, 0, 1))[None]


def failure(capsys, workplace, *arguments, status=2):
    """Runs a command that must fail; returns its one line."""
    assert workplace.run(*arguments) == status
    err = capsys.readouterr().err.strip()
    assert err.count('\n') == 0
    assert 'Traceback' not in err
    return err


def pixels(path):
    """The pixels of an image file."""
    return np.asarray(Image.open(path))
