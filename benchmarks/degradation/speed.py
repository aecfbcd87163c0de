"""Images per second of five ways to degrade a batch: `python -m benchmarks.degradation.speed --help`.

For each recipe and batch size, alternately so that a busy machine slows all alike, the medians of

- naive: one image at a time, as research code does it: OpenCV's filter2D, resize and JPEG, numpy's noise (torch with
  one thread, which is faster for single images; OpenCV with all);
- worker: `apply`, what `degrade_on: worker` runs, with one thread, as a data loader's worker has;
- batched: `apply_batch` with the whole batch, what feed_data costs with `degrade_on: device`, where the data
  loader's workers deliver the packed records; with a batch of 1 it is the batched operators one image at a time;
- whole: the same with drawing, packing and collating the records in the same process, which all the others do as well;
- basicsr: feed_data of BasicSR's RealESRNetModel on the same device (one type of noise and one size for the whole
  batch), with the kernels that RealESRGANDataset makes; only for the realesrgan recipe.

Each starts from clean images in memory and ends with LR images. On a shared machine, compare several runs, and the
images per CPU second in brackets, which do not show the gain of a second core.

The recipe mixture holds all others as they are by default, without gt_usm. The last line is JSON with the ratios;
`batched_over_single` is batched over naive at the largest batch, for the default recipe, which is semantic.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from basicsr.data import degradations
from basicsr.models.realesrnet_model import RealESRNetModel
from torch.utils.data import default_collate

from benchmarks.degradation.naive import naive as naive_way
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.apply_batch import apply_batch
from deplsr_data.degradation.packing import pack
from deplsr_data.degradation.recipes import (
    BSRGANRecipe,
    CameraRecipe,
    CleanRecipe,
    MixturePart,
    MixtureRecipe,
    RealESRGANRecipe,
    Recipe,
    SemanticRecipe,
    draw,
    rounds_of,
)
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.ops.usm import sharpen, sharpen_batch

SCALE = 4
#: A mixture as a training would have it.
MIXTURE = MixtureRecipe(
    (
        MixturePart(0.25, SemanticRecipe()),
        MixturePart(0.25, RealESRGANRecipe(gt_usm=False)),
        MixturePart(0.2, BSRGANRecipe()),
        MixturePart(0.2, CameraRecipe()),
        MixturePart(0.1, CleanRecipe()),
    )
)
RECIPES: dict[str, Recipe] = {
    **{'semantic': SemanticRecipe(), 'realesrgan': RealESRGANRecipe(), 'mixture': MIXTURE},
    **{'bsrgan': BSRGANRecipe(), 'camera': CameraRecipe(), 'clean': CleanRecipe()},
}


def main() -> None:
    """Measures and prints a table, then one line of JSON."""
    options = parse()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    ratios: dict[str, float] = {}
    alone: dict[str, float] = {}
    print(f'{options.device}, {options.threads} threads, {options.size} px, median of {options.repeats}')
    print('images/s by the clock (and per CPU second)')
    for name in options.recipes:
        for batch in sorted(options.batches):
            wall, cpu = measure(ways(name, batch, options), options.repeats)
            rates = {way: batch / seconds for way, seconds in wall.items()}
            shown = ', '.join(f'{way} {rate:.1f} ({batch / cpu[way]:.1f})' for way, rate in rates.items())
            print(f'{name:>10} batch {batch:>2}: {shown}', flush=True)
            for over, of in (('single', 'naive'), ('worker', 'worker'), ('basicsr', 'basicsr')):
                if of in rates:
                    ratios[f'{name}_batch{batch}_batched_over_{over}'] = rates['batched'] / rates[of]
                    ratios[f'{name}_batch{batch}_batched_over_{over}_per_cpu_second'] = cpu[of] / cpu['batched']
            ratios[f'{name}_batch{batch}_whole_over_single'] = rates['whole'] / rates['naive']
            alone.setdefault(name, rates['batched'])
            ratios[f'{name}_batch{batch}_over_batch{min(options.batches)}'] = rates['batched'] / alone[name]
    largest = max(options.batches)
    summary = {'batched_over_single': ratios[f'{options.recipes[0]}_batch{largest}_batched_over_single'], **ratios}
    print(json.dumps({name: round(ratio, 2) for name, ratio in summary.items()}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='batches of 1 and 12, 3 repeats')
    parser.add_argument('--batches', type=int, nargs='+', default=None, help='batch sizes (1 12 48)')
    parser.add_argument('--recipes', nargs='+', default=['semantic', 'realesrgan', 'mixture'], choices=list(RECIPES))
    parser.add_argument('--size', type=int, default=256, help='side of the clean patches')
    parser.add_argument('--repeats', type=int, default=None, help='rounds of which the median counts (7)')
    parser.add_argument('--threads', type=int, default=2, help='threads of torch and OpenCV')
    parser.add_argument('--device', default='cpu', help='where the batched ways and BasicSR run, such as cuda')
    options = parser.parse_args()
    options.batches = options.batches or ([1, 12] if options.quick else [1, 12, 48])
    options.repeats = options.repeats or (3 if options.quick else 7)
    return options


def measure(runs: dict[str, Callable[[int], object]], repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Runs all ways alternately; returns the median seconds of each, wall clock and CPU. The first round warms up."""
    wall: dict[str, list[float]] = {way: [] for way in runs}
    cpu: dict[str, list[float]] = {way: [] for way in runs}
    for repeat in range(repeats + 1):
        for way, run in runs.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            run(repeat)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            wall[way].append(time.perf_counter() - start)
            cpu[way].append(time.process_time() - start_cpu)
    return tuple({way: statistics.median(taken[1:]) for way, taken in times.items()} for times in (wall, cpu))


def ways(name: str, batch: int, options: argparse.Namespace) -> dict[str, Callable[[int], object]]:
    """Returns the ways to degrade a batch, each a function of the repeat, which seeds its draws."""
    recipe, size = RECIPES[name], (options.size, options.size)
    photos = images(batch, options.size)
    gt = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).contiguous().to(options.device)

    def records(repeat: int) -> list:
        return [draw(recipe, SCALE, rng_for(0, repeat, b, 0, 'degradation'), size) for b in range(batch)]

    def worker(repeat: int) -> list[np.ndarray]:
        with one_thread():
            clean = [sharpen(photo) for photo in photos] if recipe.gt_usm else photos
            return [apply(record, photo) for record, photo in zip(records(repeat), clean, strict=True)]

    def naive(repeat: int) -> list[np.ndarray]:
        with one_thread():
            return [naive_way(photo, recipe) for photo in photos]

    def packed(repeat: int) -> dict[str, torch.Tensor]:
        return default_collate(
            [pack(record, size, recipe.largest_kernel, rounds_of(recipe)) for record in records(repeat)]
        )

    delivered = [packed(repeat) for repeat in range(options.repeats + 1)]

    def batched(repeat: int) -> torch.Tensor:
        return apply_batch(delivered[repeat], sharpen_batch(gt) if recipe.gt_usm else gt)

    def whole(repeat: int) -> torch.Tensor:
        return apply_batch(packed(repeat), sharpen_batch(gt) if recipe.gt_usm else gt)

    runs: dict[str, Callable[[int], object]] = {
        'naive': naive,
        'worker': worker,
        'batched': batched,
        'whole': whole,
    }
    if isinstance(recipe, RealESRGANRecipe):
        runs['basicsr'] = basicsr_way(recipe, gt, options)
    return runs


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch with one thread: faster for single images, and what a data loader's worker has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images(count: int, size: int) -> list[np.ndarray]:
    """Makes (size, size, 3) float32 images with edges, ramps and texture, which the codecs treat like photos."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = cv2.resize(rng.random((9, 9, 3), dtype=np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        shapes = cv2.resize(rng.random((24, 24, 1), dtype=np.float32), (size, size), interpolation=cv2.INTER_NEAREST)
        fine = rng.normal(0, 0.02, (size, size, 1)).astype(np.float32)
        made.append(np.clip(0.7 * coarse + 0.3 * shapes[..., None] + fine, 0, 1).astype(np.float32))
    return made


def basicsr_way(recipe: RealESRGANRecipe, gt: torch.Tensor, options: argparse.Namespace) -> Callable[[int], object]:
    """Returns a function that makes kernels as RealESRGANDataset does and runs RealESRNetModel.feed_data."""
    keys = ('resize_prob', 'resize_range', 'gaussian_noise_prob', 'noise_range', 'poisson_scale_range')
    keys += ('gray_noise_prob', 'jpeg_range')
    opt = {key + order: getattr(recipe, key + order) for key in keys for order in ('', '2')}
    opt |= {'second_blur_prob': recipe.second_blur_prob, 'gt_usm': True, 'gt_size': options.size, 'scale': SCALE}
    opt |= {'is_train': True, 'num_gpu': int(options.device != 'cpu'), 'dist': False, 'queue_size': len(gt), 'path': {}}
    opt |= {'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1}}
    opt |= {'train': {'ema_decay': 0, 'optim_g': {'type': 'Adam', 'lr': 1e-4}, 'pixel_opt': {'type': 'L1Loss'}}}
    opt['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [1]}
    with contextlib.redirect_stdout(io.StringIO()):
        model = RealESRNetModel(opt)

    def kernel(order: str) -> np.ndarray:
        size = random.choice(range(7, 22, 2))
        if random.random() < getattr(recipe, f'sinc_prob{order}'):
            made = degradations.circular_lowpass_kernel(np.random.uniform(np.pi / 3, np.pi), size)
        else:
            names, weights = list(recipe.kernel_list), list(recipe.kernel_prob)
            sigmas = getattr(recipe, f'blur_sigma{order}')
            made = degradations.random_mixed_kernels(
                *(names, weights, size, sigmas, sigmas, [-math.pi, math.pi]), recipe.betag_range, recipe.betap_range
            )
        return np.pad(made, (21 - size) // 2)

    def run(repeat: int) -> None:
        def batch_of(make: Callable[[], np.ndarray]) -> torch.Tensor:
            return torch.from_numpy(np.stack([make() for _ in gt]).astype(np.float32))

        sinc = batch_of(lambda: degradations.circular_lowpass_kernel(random.uniform(np.pi / 3, np.pi), 21, pad_to=21))
        kernels = {'kernel1': batch_of(lambda: kernel('')), 'kernel2': batch_of(lambda: kernel('2'))}
        model.feed_data({'gt': gt, 'sinc_kernel': sinc, **kernels})

    return run


if __name__ == '__main__':
    main()
