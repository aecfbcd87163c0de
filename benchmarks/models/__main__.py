"""Trains, measures and packs the models that are shipped.

    make models                                                                # the same as the next line
    python -m benchmarks.models --photos data/photos --sets data/sets          # some hours on two cores; resumable
    python -m benchmarks.models --photos data/photos --sets data/sets --only pack measure   # from what is trained
    python -m benchmarks.models --report                                       # docs/models.md from the kept results

`--photos` holds train/, heldout/ and manifest.tsv; only train/ is trained on. `--sets` holds RealSR100 and Set14SE.
Pairs, the estimator and the held-out degradations are those of benchmarks.gain, in the same folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.gain.measure import load_photos
from benchmarks.gain.pairs import Source, make_pool
from benchmarks.gain.settings import MIXTURE, RECIPES, Sizes
from benchmarks.models.settings import MODELS
from benchmarks.models.train import train_model, validation_samples

ROOT = Path(__file__).resolve().parents[2]
STEPS = ('pairs', 'train', 'pack', 'measure', 'report')


def main() -> None:
    """Runs the steps."""
    options = parse()
    if options.train:
        torch.set_num_threads(1)
        _train(options.train, options)
        return
    for step in options.only or STEPS if options.photos else ('report',):
        print(f'== {step}', flush=True)
        globals()[f'_{step}'](options)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.models', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photos', type=os.path.abspath, help='folder with train/, heldout/ and manifest.tsv')
    parser.add_argument('--sets', type=os.path.abspath, help='folder of the test sets')
    parser.add_argument(
        '--work', type=os.path.abspath, default='experiments/gain', help='pairs and weights (experiments/gain)'
    )
    parser.add_argument('--only', nargs='+', choices=STEPS, help='these steps')
    parser.add_argument('--jobs', type=int, default=2, help='trainings at a time, each with one thread (2)')
    parser.add_argument('--train', choices=list(MODELS), help=argparse.SUPPRESS)
    return parser.parse_args()
