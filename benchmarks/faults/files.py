"""Opens mutated checkpoints and damaged or odd images at every door, each in a process of its own.

    python -m benchmarks.faults files                      # 300 checkpoints, 200 images, some minutes
    python -m benchmarks.faults files --checkpoints 40 --images 0

Doors of checkpoints: how train, test, upscale and describe load one. Doors of images: the training sets of this project
and of BasicSR, the test set of BasicSR, `basicsr synthesize`, `caption` (with a captioner that is replaced) and
`upscale`. The goals: nothing accepted wrongly, no traceback, no hang, no code run. The exit status is 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn

from basicsr_plugin.atomic import append_line
from benchmarks.faults.bad_checkpoints import Mutated, mutated_checkpoints
from benchmarks.faults.bad_images import BadImage, bad_images
from benchmarks.faults.forked import COLUMNS, Result, table, try_all

_SECONDS = 10.0
_NOBODY = 65534
_PLAIN: dict[str, Any] = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1}
_NET_G: dict[str, Any] = {
    'type': 'Fused',
    'backbone': {**_PLAIN, 'upscale': 2},
    'fuse_at': ['body.0'],
    'prior_dim': 16,
    'num_degradation_types': 5,
}
_NET_DA = {'type': 'LevelDistribution', 'prior_dim': 16, 'num_feat': 8, 'num_block': 1, 'num_degradation_types': 5}

#: Returns why a file may be accepted, '' if nothing is wrong, None if it should have been refused.
Door = Callable[[], str | None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument('--checkpoints', type=int, default=300, help='mutated checkpoints (default %(default)s)')
    parser.add_argument('--images', type=int, default=200, help='damaged or odd images (default %(default)s)')
    parser.add_argument('--seed', type=int, default=20)
    parser.add_argument('--lines', type=Path, help='file to which a line about each is added')


def run(args: argparse.Namespace) -> int:
    """Prints two tables; returns 1 if a goal is missed."""
    from basicsr_plugin.start_up import load_basicsr

    os.environ['OMP_NUM_THREADS'] = '1'
    torch.set_num_threads(1)
    load_basicsr()
    folder = Path(tempfile.mkdtemp(prefix='faults_'))
    folder.chmod(0o777)
    wrong = 0
    try:
        for title, tried in (('checkpoint', _checkpoints(args, folder)), ('image', _images(args, folder))):
            results: list[Result] = []
            for name, found in tried:
                results += found
                if args.lines:  # at once, so that a run that is stopped has them
                    append_line(
                        args.lines,
                        '\n'.join(f'{title}\t{name}\t{door}\t{outcome}\t{text!r}' for door, outcome, text in found),
                    )
                for door, outcome, text in found:
                    refused = name.startswith('undamaged') and outcome != 'accepted'
                    if outcome in COLUMNS[3:] or refused:
                        wrong += 1
                        print(f'{title} {name!r}, {door}: {outcome}: {text}', flush=True)
            if results:
                print(table(title, results), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return int(wrong > 0)


def _checkpoints(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, list[Result]]]:
    if not args.checkpoints:
        return
    doors = _loaders(folder)
    for number, mutated in enumerate(mutated_checkpoints(args.checkpoints, args.seed)):
        opened: list[tuple[str, Door]] = []
        for name, (net, load) in doors.items():
            try:
                suffix, content = mutated.write(net.state_dict())
            except (RuntimeError, ValueError, TypeError, IndexError) as error:  # no such file can be written
                raise AssertionError(f'{mutated.name}: {error}') from error
            path = folder / f'{number}_{name}{suffix}'
            path.write_bytes(content)
            opened.append((name, _same_weights(net, load, path.name, mutated)))
        yield mutated.name, try_all(opened, folder, _SECONDS)
        for path in folder.glob(f'{number}_*'):
            path.unlink()


def _same_weights(net: nn.Module, load: Callable[[str], nn.Module], path: str, mutated: Mutated) -> Door:
    def door() -> str | None:
        loaded, wanted = load(path).state_dict(), net.state_dict()
        same = loaded.keys() == wanted.keys() and all(torch.equal(loaded[key], wanted[key]) for key in wanted)
        return '' if same else mutated.allowed or None

    return door


def _loaders(folder: Path) -> dict[str, tuple[nn.Module, Callable[[str], nn.Module]]]:
    """Returns for each command the network and how it loads a checkpoint of it."""
    from basicsr.archs import build_network
    from basicsr.models.sr_model import SRModel

    from deplsr_model.base import DePLSRBaseModel
    from deplsr_model.upscaling.description import Describer
    from deplsr_model.upscaling.model_files import find_model, load_model

    torch.manual_seed(0)
    nets = {name: build_network(dict(block)) for name, block in (('g', _NET_G), ('p', _PLAIN), ('da', _NET_DA))}
    (folder / 'da.yml').write_text(yaml.safe_dump({'scale': 2, 'network_da': _NET_DA}), encoding='utf-8')

    def by_model(model_class: Any, net: nn.Module, block: dict[str, Any]) -> Callable[[str], nn.Module]:
        model = model_class.__new__(model_class)
        model.device, model.opt = torch.device('cpu'), {'path': {}, 'dist': False, 'rank': 0}

        def load(path: str) -> nn.Module:
            target = build_network(dict(block))
            model.net_g, model.opt['path'] = target, {'pretrain_network_g': path}
            model.load_network(target, path, True, 'params')
            return target

        return load

    def by_describe(path: str) -> nn.Module:
        estimator: Any = Describer(path, 'da.yml', 'cpu').estimator
        return next(value for value in vars(estimator).values() if isinstance(value, nn.Module))

    return {
        'train': (nets['g'], by_model(DePLSRBaseModel, nets['g'], _NET_G)),
        'test': (nets['p'], by_model(SRModel, nets['p'], _PLAIN)),
        'upscale': (nets['p'], lambda path: load_model(find_model(path)).net),
        'describe': (nets['da'], by_describe),
    }


def _images(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, list[Result]]]:
    if not args.images:
        return
    from benchmarks.faults.image_doors import image_doors, prepare

    prepare(folder)
    for image in bad_images(args.images, args.seed):
        photos = folder / 'photos'
        photos.mkdir()
        photos.chmod(0o777)
        rng = np.random.default_rng(1)
        for name in ('a.png', 'z.png'):
            Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(photos / name)
        path = photos / f'odd{image.suffix}'
        path.write_bytes(image.content)
        path.chmod(image.mode)
        doors = [(name, _as_nobody(door, image)) for name, door in image_doors(image, path)]
        yield f'{image.name} {image.suffix}', try_all(doors, folder, _SECONDS)
        shutil.rmtree(photos)


def _as_nobody(door: Door, image: BadImage) -> Door:
    """Drops the rights of root, which reads everything."""

    def dropped() -> str | None:
        if not image.mode and os.getuid() == 0:
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        return door()

    return dropped
