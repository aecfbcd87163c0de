"""Mixed precision against float32: images per second and PSNR of one SR network, trained in each form.

    python -m benchmarks.precision --photos data/photos                # 5 to 6 minutes on two idle cores
    python -m benchmarks.precision --photos data/photos --speed-only   # half a minute: which form is fastest here

The network of benchmarks.prior with a learned constant as its prior is trained in each form from the same start, on
the same batches, one step of each form after the other, so that all share the state of the machine. PSNR-Y is that of
30 held-out photos under each fixed degradation of benchmarks.prior, in the precision of the training. ``float32 +
channels_last`` differs from ``float32`` by rounding alone, so their difference shows what rounding does to a training.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataset
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from torch.utils.data import default_collate

import benchmarks.prior.controls  # noqa: F401  registers the network
from basicsr_plugin.sampling_index import SampleIndex
from benchmarks.prior.photos import DEGRADATIONS, cases, to_tensor
from benchmarks.prior.runs import SCALE, Setup
from benchmarks.prior.train import machine, prepare
from deplsr_data.degradation.deferred import degrade_deferred
from deplsr_model import DePLSRModel
from deplsr_model.statistics import bootstrap

FORMS: dict[str, dict[str, Any]] = {
    'float32': {'channels_last': False},
    'float32 + channels_last': {'channels_last': True},
    'bf16': {'amp': 'bf16', 'channels_last': False},
    'bf16 + channels_last': {'amp': 'bf16', 'channels_last': True},
}
WARM_UP = 3  #: steps that are not timed

Batch = dict[str, Any]


def main() -> None:
    """Trains all forms and prints the comparison."""
    options = parse()
    torch.set_num_threads(options.threads)
    Path(options.work).mkdir(parents=True, exist_ok=True)
    prepare(Path(options.photos), Path(options.work))
    os.chdir(options.work)
    steps = 40 if options.speed_only else options.steps
    opt = Setup().stage2('constant', steps)
    models = {name: build(opt, form, options.seed) for name, form in FORMS.items()}
    seconds = train(models, batches(opt['datasets']['train'], steps))
    size = opt['datasets']['train']['batch_size_per_gpu']
    rates = {name: size / statistics.median(times[WARM_UP:]) for name, times in seconds.items()}
    heldout = str(Path(options.photos, 'heldout'))
    scores = {} if options.speed_only else {name: measure(model, heldout) for name, model in models.items()}
    report(rates, scores, steps)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.precision', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photos', type=os.path.abspath, required=True, help='folder with train/ and heldout/')
    parser.add_argument(
        '--work', type=os.path.abspath, default='experiments/prior', help='folder for tiles (experiments/prior)'
    )
    parser.add_argument('--steps', type=int, default=400, help='steps of 16 patches in each form (400)')
    parser.add_argument('--seed', type=int, default=0, help='of weights and degradations (0)')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='threads of torch (all cores)')
    parser.add_argument('--speed-only', action='store_true', help='40 steps, no PSNR')
    return parser.parse_args()


def build(opt: dict[str, Any], form: dict[str, Any], seed: int) -> DePLSRModel:
    """Returns a model that starts to train; the weights follow from the seed."""
    torch.manual_seed(seed)
    run = {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'manual_seed': seed}
    return DePLSRModel(copy.deepcopy({**opt, **run, **form}))


def batches(opt: dict[str, Any], count: int) -> Iterator[Batch]:
    """Degrades batches once for all forms."""
    dataset = build_dataset({**opt, 'phase': 'train', 'scale': SCALE})
    size = opt['batch_size_per_gpu']
    order = np.random.default_rng(0).integers(len(dataset), size=(count, size))
    for index, row in enumerate(order):
        samples = [dataset[SampleIndex(int(photo), epoch=index, round=place)] for place, photo in enumerate(row)]
        yield degrade_deferred(default_collate(samples), torch.device('cpu'))


def train(models: dict[str, DePLSRModel], data: Iterator[Batch]) -> dict[str, list[float]]:
    """Trains the models alternately; returns the seconds of each step, without data and degradation."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for iteration, batch in enumerate(data, 1):
        for name, model in models.items():
            start = time.perf_counter()
            model.update_learning_rate(iteration)
            model.feed_data(batch)
            model.optimize_parameters(iteration)
            seconds[name].append(time.perf_counter() - start)
        if iteration % 50 == 0:
            losses = ', '.join(f'{name} {model.log_dict["l_pix"]:.4f}' for name, model in models.items())
            print(f'step {iteration}: {losses}', flush=True)
    return seconds


def measure(model: DePLSRModel, heldout: str) -> dict[str, list[float]]:
    """Returns PSNR-Y of each photo under each degradation."""
    metric = {'type': 'calculate_psnr', 'crop_border': SCALE, 'test_y_channel': True}
    scores: dict[str, list[float]] = {}
    for name in DEGRADATIONS:
        scores[name] = []
        for case in cases(heldout, name, whole=False):
            model.feed_data({'lq': case.lq})
            model.test()
            images = {'img': tensor2img([model.output]), 'img2': tensor2img([to_tensor(case.gt)])}
            scores[name].append(calculate_metric(images, dict(metric)))
    return scores


def report(rates: dict[str, float], scores: dict[str, dict[str, list[float]]], steps: int) -> None:
    """Prints the table, and as the last line JSON."""
    first = next(iter(FORMS))
    result: dict[str, Any] = {'machine': machine(), 'threads': torch.get_num_threads(), 'steps': steps, 'forms': {}}
    print(f'{result["machine"]}, {result["threads"]} threads, {steps} steps')
    columns = ['form', 'images/s', 'speed', *(['PSNR-Y', 'difference, dB', 'per degradation'] if scores else [])]
    print(f'| {" | ".join(columns)} |\n|{" --- |" * len(columns)}')
    for name, rate in rates.items():
        entry: dict[str, Any] = {'images_per_s': round(rate, 1), 'speed': round(rate / rates[first], 2)}
        shown = [name, f'{rate:.1f}', f'{rate / rates[first]:.2f}x']
        if scores:
            table = np.array(list(scores[name].values()))  # (degradations, photos)
            change = table - np.array(list(scores[first].values()))
            entry['psnr'] = round(float(table.mean()), 3)
            entry['difference'] = [round(value, 4) for value in bootstrap(change.mean(axis=0))]
            entry['by_degradation'] = dict(zip(scores[name], change.mean(axis=1).round(3).tolist(), strict=True))
            mean, low, high = entry['difference']
            parts = ', '.join(f'{key} {value:+.3f}' for key, value in entry['by_degradation'].items())
            shown += [f'{entry["psnr"]:.3f}', f'{mean:+.4f} ({low:+.4f} to {high:+.4f})', parts]
        print(f'| {" | ".join(shown)} |')
        result['forms'][name] = entry
    print(json.dumps(result))


if __name__ == '__main__':
    main()
