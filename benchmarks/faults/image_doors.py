"""The doors by which images come in; each opens a folder of two readable photos and a damaged or odd one."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from basicsr_plugin.errors import UserError
from benchmarks.faults.bad_images import BadImage

__all__ = ['image_doors', 'prepare']

_CLOSE = 8.0  # mean grey levels that JPEG, CMYK and halving 16 bits may change
_PAIRS = {'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}, 'use_hflip': False, 'use_rot': False}

Door = Callable[[], str | None]
_upscaler: Any = None


def prepare(folder: Path) -> None:
    """Loads what all doors need, before processes are forked."""
    global _upscaler
    from basicsr.archs import build_network

    from deplsr_data.commands import caption_photos, synthesize  # noqa: F401  the processes shall not import it
    from deplsr_data.tokens import tokenize
    from deplsr_model.upscaling.inference import Upscaler

    codecs.lookup('utf-8-sig')  # a process without rights may not be able to import it
    net = build_network({'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 2})
    torch.save({'params': net.state_dict()}, folder / 'net.pth')
    _upscaler = Upscaler(folder / 'net.pth', device='cpu')
    tokenize(['a photo'], 'ViT-B-32', 40)
    caption_photos.make_captioner = lambda _: _Captioner()  # type: ignore[assignment]
    (folder / 'recipe.yml').write_text(yaml.safe_dump({'type': 'semantic'}), encoding='utf-8')


class _Captioner:
    """Writes the mean colour in place of a caption."""

    @staticmethod
    def transform(image: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(image.resize((8, 8))).copy()).permute(2, 0, 1).float()

    def __call__(self, batch: torch.Tensor) -> list[str]:
        return [f'mean {one.mean():.0f}' for one in batch]


def image_doors(image: BadImage, path: Path) -> list[tuple[str, Door]]:
    """Returns the doors for an image."""
    return [
        ('train, our set', lambda: _judged(image, lambda: _our_set(path))),
        ('train, BasicSR', lambda: _judged(image, lambda: _stock_set(path, 'train'))),
        ('test, BasicSR', lambda: _judged(image, lambda: _stock_set(path, 'test'))),
        ('synthesize', lambda: _judged(image, lambda: _synthesize(path))),
        ('caption', lambda: _judged(image, lambda: _caption(path))),
        ('upscale', lambda: _judged(image, lambda: _upscale(path))),
    ]


def _judged(image: BadImage, read: Callable[[], np.ndarray | None]) -> str | None:
    """Compares what was read with what may be read."""
    pixels = read()
    if image.pixels is None:
        return image.allowed or None
    if pixels is None:
        return ''
    wanted = image.pixels
    if pixels.shape[:2] == tuple(side // 2 * 2 for side in wanted.shape[:2]):  # our set cuts to a multiple of the scale
        wanted = wanted[: pixels.shape[0], : pixels.shape[1]]
    if pixels.shape != wanted.shape:
        return image.allowed or None
    difference = np.abs(pixels.astype(np.float32) - wanted).mean()
    return '' if difference < _CLOSE else image.allowed or None


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def _refusal(path: Path) -> Any:
    """Raises the warning that an image is skipped as the error that it is."""
    log, err = _Log(), io.StringIO()
    logging.getLogger('basicsr').addHandler(log)
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        failed: AssertionError | None = None
        try:
            yield
        except AssertionError as error:  # a command has made less than it should; the lines have the reason
            failed = error
    for line in (*log.lines, *err.getvalue().splitlines()):
        if path.name in line and re.search(r'skipped (photo|image)|failed: ', line):
            raise UserError(line)
    if failed:
        raise failed


def _our_set(path: Path) -> np.ndarray:
    from basicsr.data import build_dataset

    opt = {'name': 'x', 'type': 'CaptionedDegradationDataset', 'phase': 'val', 'scale': 2, 'context_length': 40}
    dataset = build_dataset({**opt, 'dataroot_gt': str(path.parent), 'recipe': {'type': 'semantic'}})
    training = build_dataset({**opt, 'dataroot_gt': str(path.parent), 'phase': 'train', 'gt_size': 32})
    with _refusal(path):
        item = dataset[1]
    with _refusal(path):
        training[1]
    cut = item['gt']
    return _shown(cut)


def _shown(pixels: torch.Tensor) -> np.ndarray:
    return (pixels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def _stock_set(path: Path, phase: str) -> np.ndarray | None:
    from basicsr.data import build_dataset

    folder = str(path.parent)
    if phase == 'test':
        opt: dict[str, Any] = {'type': 'SingleImageDataset', 'dataroot_lq': folder, 'io_backend': {'type': 'disk'}}
        return _shown(build_dataset({'name': 'x', 'phase': 'test', 'scale': 1, **opt})[1]['lq'])
    dataset = build_dataset(
        {
            'name': 'x',
            **_PAIRS,
            'dataroot_gt': folder,
            'dataroot_lq': folder,
            'phase': 'train',
            'scale': 1,
            'gt_size': 8,
        }
    )
    place = next(i for i, pair in enumerate(dataset.paths) if pair['gt_path'] == str(path))
    with _refusal(path):
        dataset[place]
    return None


def _synthesize(path: Path) -> None:
    from deplsr_data.commands import synthesize

    parser = argparse.ArgumentParser()
    synthesize.add_arguments(parser)
    output = f'set_{os.getpid()}'
    arguments = ['--input', str(path.parent), '--output', output, '--scale', '2', '--recipe', 'recipe.yml']
    with _refusal(path):
        assert synthesize.run(parser.parse_args(arguments)) == 0
    made = {line.split('\t')[0] for line in Path(output, 'captions.tsv').read_text(encoding='utf-8').splitlines()[1:]}
    assert made == {'a.png', 'odd.png', 'z.png'}


def _caption(path: Path) -> None:
    from deplsr_data.commands import caption_photos

    parser = argparse.ArgumentParser()
    caption_photos.add_arguments(parser)
    output = f'titles_{os.getpid()}.tsv'
    with _refusal(path):
        assert caption_photos.run(parser.parse_args(['--input', str(path.parent), '--output', output])) == 0
    assert path.name in Path(output).read_text(encoding='utf-8')


def _upscale(path: Path) -> np.ndarray | None:
    from deplsr_model.upscaling.image_files import decode_image
    from deplsr_model.upscaling.photo_jobs import find_photos, plan_jobs, read_bytes, run_jobs, write_photo
    from deplsr_model.upscaling.provenance import OutputOptions, upscale_content

    photos = [one for one in find_photos([str(path.parent)]) if one[0] == str(path)]
    jobs = plan_jobs(photos, f'large_{os.getpid()}', '', 'png')
    steering = _upscaler.steering()

    def work(job: Any, progress: Any) -> None:
        content = read_bytes(job.source)
        made = upscale_content(_upscaler, content, job.source, job.target, 'png', steering, OutputOptions(), progress)
        write_photo(*made)

    with _refusal(path):
        assert run_jobs(jobs, f'large_{os.getpid()}', work).made == 1
    pixels = decode_image(read_bytes(str(path)), str(path)).pixels
    large = decode_image(read_bytes(f'{jobs[0].target}.png'), 'large').pixels
    assert large.shape[:2] == (2 * pixels.shape[0], 2 * pixels.shape[1])
    pixels = pixels if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)
