"""What benchmarks/prior.py measures: how readers read, what SR networks gain, what the prior costs."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from figures import ridge
from plain_resnet import PlainResNet  # noqa: F401  registers
from prior_runs import ARMS, CONTEXT, READERS, RECIPES, SCALE, Arm, Setup
from scipy.stats import spearmanr
from torch import Tensor

from deplsr_arch.clip_backbone import clip_views
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.captions import levels
from deplsr_data.degradation.recipes import kernel_reach, read_recipe
from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize
from deplsr_data.degradation.sampling import draw, rng_for
from deplsr_data.files.crops import centre_crop
from deplsr_model.checkpoint import load_into
from deplsr_model.level_words import LevelEmbeddings
from deplsr_model.prior import Prior
from deplsr_model.vocabulary import TRAINING_LEVELS, embed_levels, positions_to_levels

GT_SIZE = 256
SIZES = {'32': 32, '48': 48, '64': 64, '96': 96, '128': 128, 'whole': None}
#: What else readers are asked: 128 pixels in crops of 64, test sets and Real-ESRGAN's recipe at 64 pixels.
IN_CROPS, ON_SETS, OTHER = '128 in crops', 'sets', 'realesrgan'
POINTS = ('64', ON_SETS, '128', IN_CROPS)  #: of these every level read is kept
DEGRADATION_TYPES = {'blur': 0, 'noise': 1, 'jpeg': 3}
#: Blur sigma in GT pixels, noise sigma of 255 and JPEG quality at LR size; 0, 0 and 95 are the mildest of the training.
DEGRADATIONS = {
    'mild': (0.8, 5.0, 90.0), 'medium': (1.6, 12.0, 65.0), 'heavy': (2.6, 25.0, 35.0),
    'blur': (2.5, 0.0, 95.0), 'noise': (0.0, 25.0, 95.0), 'jpeg': (0.0, 0.0, 30.0),
}  # fmt: skip
COLUMNS = (*DEGRADATIONS, OTHER)  #: what SR networks are compared on
LAYOUT = 1  #: of what is kept beside the weights; count up when something else is measured
DRAWS = 20  #: degradations of each held-out photo that readers are asked for
SET_DRAWS = 5  #: the same for each photo of the test sets
PROBE_TILES = 1  #: every how many of the training tiles the linear probe learns from


class Photos:
    """Photos of a folder, all or every so many, and LR images made of them; all is drawn from fixed seeds."""

    def __init__(self, folder: Path, every: int = 1) -> None:
        self.paths = sorted(path for path in folder.iterdir() if path.suffix in ('.png', '.jpg', '.bmp'))[::every]

    @cache  # noqa: B019  one per folder lives as long as the program
    def gt(self, index: int, side: int | None) -> np.ndarray:
        """The middle of a photo, (h, w, 3) float32 in 0..1."""
        image = cv2.cvtColor(cv2.imread(str(self.paths[index])), cv2.COLOR_BGR2RGB)
        crop = centre_crop((image.shape[0], image.shape[1]), SCALE, side)
        assert crop is not None
        return np.ascontiguousarray(crop.cut(image), np.float32) / 255

    def mixed(self, side: int | None, recipe: dict[str, Any], draws: int) -> Iterator[tuple[Tensor, Tensor]]:
        """LR images (1, 3, h, w) of mixed degradations and their true levels (1, 5)."""
        drawn = read_recipe(dict(recipe), 'recipe')
        for index in range(len(self.paths)):
            gt = self.gt(index, side and side * SCALE)
            for again in range(draws):
                rng = rng_for(again, 0, index, 0, 'degradation')
                record = draw(drawn, SCALE, rng, (gt.shape[0], gt.shape[1]))
                yield to_tensor(apply(record, gt)), torch.tensor([levels(record)], dtype=torch.float32)


@lru_cache
def photos(folder: str, every: int = 1) -> Photos:
    """The photos of a folder, read once."""
    return Photos(Path(folder), every)


def to_tensor(image: np.ndarray) -> Tensor:
    """(h, w, 3) to (1, 3, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32))[None]


# --- reading


def load_reader(setup: Setup, name: str) -> torch.nn.Module:
    """A trained reader."""
    net = build_network(setup.network_da(name)).eval()
    load_into(net, f'experiments/reader_{name}/models/net_da_latest.pth')
    return net


@torch.no_grad()
def reading(setup: Setup, name: str, heldout: str, sets: tuple[str, ...] = ()) -> dict[str, Any]:
    """Spearman and mean error of the levels read, for each size of crop, and what a linear probe finds.

    A reader of the arms is also asked on crops of 64 pixels of the test sets, and of the held-out photos by
    Real-ESRGAN's recipe, which it was not trained on. The regressor is also asked in crops as the small adaptor sees
    them. ``points`` are true and read levels behind the sizes in ``POINTS``, a row a photo; ``constant`` is the mean
    error of the best constant answer.
    """
    net = load_reader(setup, name)
    read, fine = _read_out(net, READERS[name].loss == 'ordinal' and READERS[name].spread)
    recipe = RECIPES[READERS[name].recipe]
    result: dict[str, Any] = {}
    held, every = [photos(heldout)], [photos(folder) for folder in sets]
    asked = {size: (held, side, recipe, DRAWS, read) for size, side in SIZES.items()}
    if READERS[name].long:
        asked[OTHER] = held, 64, RECIPES[OTHER], DRAWS, read
        if every:
            asked[ON_SETS] = every, 64, recipe, SET_DRAWS, read
        if fine is None and not setup.clip:
            asked[IN_CROPS] = held, 128, recipe, DRAWS, lambda lq: in_crops(read, lq)
    elif READERS[name].recipe != 'all_types':
        asked = {size: asked[size] for size in ('64', '128')}
    for size, (folders, side, drawn, draws, by) in asked.items():
        pairs = [(by(lq), true) for folder in folders for lq, true in folder.mixed(side, drawn, draws)]
        got, true = (torch.cat(column) for column in zip(*pairs, strict=True))
        result[size] = {
            degradation_type: _spearman(got[:, k], true[:, k]) for degradation_type, k in DEGRADATION_TYPES.items()
        }
        for key, answer in (('error', got), ('constant', true.median(dim=0).values)):
            mean = (answer - true).abs().mean(dim=0)
            result[size][key] = {
                degradation_type: round(float(mean[k]), 3) for degradation_type, k in DEGRADATION_TYPES.items()
            }
        if READERS[name].recipe == 'all_types':
            result[size]['confusion'] = _confusion(got, true)
        if READERS[name].long and size in POINTS:
            result.setdefault('points', {})[size] = {
                degradation_type: [
                    column[:, k].double().round(decimals=3).view(-1, draws).tolist() for column in (true, got)
                ]
                for degradation_type, k in DEGRADATION_TYPES.items()
            }
    if fine is not None:
        result['probe'] = _probe(fine, photos(heldout), photos(READERS[name].photos, PROBE_TILES), recipe)
    return result


def in_crops(read: Callable[[Tensor], Tensor], lq: Tensor) -> Tensor:
    """The mean of what is read off the crops that the small adaptor sees of a image (1, 3, h, w)."""
    return read(clip_views(lq, CONTEXT, 'native').flatten(0, 1)).mean(dim=0, keepdim=True)


def _read_out(net: Any, spread: bool) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor] | None]:
    """How a reader's levels (1, 5) and fine embeddings are had from a image."""
    if not hasattr(net, 'encode_text'):
        return lambda lq: positions_to_levels(net(lq)), None
    vocabulary = embed_levels(net, TRAINING_LEVELS, 'ViT-B-32', '{}', torch.device('cpu'))
    words = LevelEmbeddings(vocabulary, spread)
    return lambda lq: words.read(net(lq).fine_degradation, net.logit_scale.exp()), lambda lq: net(lq).fine_degradation


def _spearman(read: Tensor, true: Tensor) -> float:
    if read.unique().numel() < 2:
        return 0.0
    return round(float(spearmanr(read, true).statistic), 3)


def _confusion(read: Tensor, true: Tensor) -> dict[str, Any]:
    """Shares of photos: rows the true degradation type of noise, columns the one that is read stronger; ringing likewise."""
    strength = torch.tensor([30.0, 3.0])
    said, is_so = (part[:, 1:3].div(strength).argmax(1) for part in (read, true))
    noisy = true[:, 1:3].div(strength).amax(1) > 0.1
    table = [[round(float((said[noisy & (is_so == a)] == b).double().mean()), 3) for b in (0, 1)] for a in (0, 1)]
    rings, ringing = read[:, 4] > 0.5, true[:, 4] > 0.5
    ring = [[round(float((rings[ringing == a] == b).double().mean()), 3) for b in (0, 1)] for a in (0, 1)]
    return {'noise (gaussian, poisson)': table, 'ringing (no, yes)': ring}


def _probe(fine: Any, held: Photos, train: Photos, recipe: dict[str, Any]) -> dict[str, float]:
    """Spearman at 64 pixels of ridge regressions, each from the fine embedding of its degradation type: a read-out in numbers."""
    sides = []
    for part, draws in ((train, 1), (held, DRAWS)):
        pairs = [(fine(lq), true) for lq, true in part.mixed(64, recipe, draws)]
        sides.append([torch.cat(column) for column in zip(*pairs, strict=True)])
    (x, y), (at, true) = sides
    return {
        degradation_type: _spearman(ridge(x[:, k], y[:, k], at[:, k]), true[:, k])
        for degradation_type, k in DEGRADATION_TYPES.items()
    }


# --- restoring


def fixed_record(degradation_type: str, size: tuple[int, int], seed: int) -> Record:
    """The degradation of that name for a GT of ``size``."""
    blur, noise, quality = DEGRADATIONS[degradation_type]
    first = (Blur(kernel_reach(blur), blur, blur),) if blur else ()
    shrunk = Resize(size[0] // SCALE, size[1] // SCALE, 'area')
    return Record(SCALE, (*first, shrunk, Noise('gaussian', noise, False, seed), Jpeg(quality)))


def cases(folder: str, degradation_type: str, whole: bool) -> Iterator[tuple[np.ndarray, Tensor, Tensor, Record]]:
    """GT, LR, what readers see, and the degradation, of each photo; ``realesrgan`` draws one by Real-ESRGAN's recipe.

    The middle of the photo is degraded, restored and read; with ``whole`` the whole photo is degraded and read, and of
    it the middle restored.
    """
    held = photos(folder)
    other = read_recipe(dict(RECIPES[OTHER]), 'recipe')
    for index in range(len(held.paths)):
        gt = held.gt(index, None if whole else GT_SIZE)
        size = (gt.shape[0], gt.shape[1])
        if degradation_type == OTHER:
            record = draw(other, SCALE, rng_for(0, 0, index, 0, 'degradation'), size)
        else:
            record = fixed_record(degradation_type, size, index)
        seen = to_tensor(apply(record, gt))
        top, left = ((side - GT_SIZE) // (2 * SCALE) // 16 * 16 if side > GT_SIZE else 0 for side in size)
        lq = seen[..., top : top + GT_SIZE // SCALE, left : left + GT_SIZE // SCALE]
        yield gt[SCALE * top :, SCALE * left :][:GT_SIZE, :GT_SIZE], lq, seen, record


@torch.no_grad()
def restoring(setup: Setup, name: str, part: str, folder: str) -> dict[str, Any]:
    """PSNR-Y and SSIM-Y of an arm for each photo of a set, by degradation; the name ``bicubic`` is no arm."""
    upscale = _bicubic if name == 'bicubic' else load_arm(setup, name)
    result: dict[str, Any] = {}
    for degradation_type in COLUMNS:
        scores = []
        for gt, lq, seen, record in cases(folder, degradation_type, part == 'whole'):
            images = {'img': tensor2img([upscale(lq, seen, record)]), 'img2': tensor2img([to_tensor(gt)])}
            scores.append([
                round(calculate_metric(dict(images), {'type': f'calculate_{m}', 'crop_border': SCALE,
                                                        'test_y_channel': True}), 4)
                for m in ('psnr', 'ssim')
            ])  # fmt: skip
        result[f'{part}/{degradation_type}'] = {m: [one[i] for one in scores] for i, m in enumerate(('psnr', 'ssim'))}
    return result


def _bicubic(lq: Tensor, seen: Tensor, record: Record) -> Tensor:
    return torch.nn.functional.interpolate(lq, scale_factor=SCALE, mode='bicubic', align_corners=False).clamp(0, 1)


def load_arm(setup: Setup, name: str) -> Callable[[Tensor, Tensor, Record], Tensor]:
    """A trained SR network with its prior, as a function of LR image, what its reader sees, and what was done."""
    arm = ARMS[name]
    net = build_network(setup.network_g(arm)).eval()
    load_into(net, f'experiments/{setup.run_of(name)}/models/net_g_latest.pth')
    reader = None if arm.prior in ('none', 'levels') else load_reader(setup, arm.reader)
    prior = Prior(arm.prior, reader, setup.prior_dim, 'ViT-B-32', arm.form)

    def upscale(lq: Tensor, seen: Tensor, record: Record) -> Tensor:
        true = torch.tensor([levels(record)], dtype=torch.float32)
        return net(lq, *prior(seen, levels=true)).clamp(0, 1)

    return upscale


# --- cost


def cost(setup: Setup) -> dict[str, dict[str, float]]:
    """Parameters, milliseconds and peak memory for 128 x 128 LR pixels on one thread, each in its own process."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for threshold in (None, '65536'):  # with it, what is freed is given back at once: memory is right, and time is not
        if threshold:
            os.environ['MALLOC_MMAP_THRESHOLD_'] = threshold
        for name, block in cost_blocks(setup).items():
            with multiprocessing.get_context('spawn').Pool(1) as pool:
                found.setdefault(name, {})['MiB' if threshold else 'ms'] = pool.apply(
                    _cost_of, (block, setup.prior_dim)
                )
    os.environ.pop('MALLOC_MMAP_THRESHOLD_')
    return {name: {**one['ms'], 'MiB': one['MiB']['MiB']} for name, one in found.items()}


def cost_blocks(setup: Setup) -> dict[str, dict[str, Any]]:
    """The networks whose costs are compared: backbone, the same with each fusion, and what reads."""
    fused = {name: setup.network_g(Arm('', fusion=name)) for name in ('film', 'residual', 'paper')}
    adaptor = {key: value for key, value in setup.network_da('adaptor').items() if key != 'pretrained'}
    return {'backbone': setup.backbone(), **fused, 'adaptor': adaptor, 'levels': setup.network_da('levels')}


@torch.no_grad()
def _cost_of(block: dict[str, Any], dim: int, side: int = 128, repeats: int = 10) -> dict[str, float]:
    torch.set_num_threads(1)
    lq = torch.rand(1, 3, side, side)
    net: Any = build_network(block).eval()
    prior = (torch.zeros(1, 1, dim), torch.zeros(1, 5, dim)) if block['type'] in ('Fused', 'FusedDAT') else ()
    run = partial(getattr(net, 'prior', net), lq, *prior)
    used = sum(p.numel() for name, p in net.named_parameters() if not re.match(r'clip\.(?!visual)', name))
    run()  # what libraries set up at first does not count
    Path('/proc/self/clear_refs').write_text('5')  # the peak so far is forgotten
    before = _status('VmRSS')
    run()
    memory = _status('VmHWM') - before
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return {'parameters': used, 'ms': round(1000 * float(np.median(times)), 1), 'MiB': round(memory, 1)}


def _status(key: str) -> float:
    """Memory that this process holds (VmRSS), or the most that it has held (VmHWM), in MiB."""
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(status.split(f'{key}:')[1].split()[0]) / 1024


# --- keeping


def kept(path: Path, weights: Path | None, measure: Callable[[], Any]) -> Any:
    """Returns what was measured before, unless the weights are newer or something else was measured then."""
    if path.exists() and (weights is None or path.stat().st_mtime > weights.stat().st_mtime):
        found = json.loads(path.read_text(encoding='utf-8'))
        if found.get('layout') == LAYOUT:
            return found['result']
    path.parent.mkdir(exist_ok=True)
    result = measure()
    path.write_text(json.dumps({'layout': LAYOUT, 'result': result}), encoding='utf-8')
    return result
