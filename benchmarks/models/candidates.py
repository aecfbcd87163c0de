"""Networks of equal CPU time, from which the shipped one was chosen: PSNR-Y on held-out photos after a short training.

    python -m benchmarks.models.candidates --photos data/photos --work experiments/gain --seconds 330

Needs the pairs, the estimator and the held-out degradations of benchmarks.models (step ``pairs``). One thread. Prints
a line for each candidate; benchmarks/results/model_candidates.json keeps them.
"""

from __future__ import annotations

import argparse
import json
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.archs import build_network

from benchmarks.gain.batches import Batches
from benchmarks.gain.estimators import PRIOR_DIM, TYPES, cosine, load_estimator
from benchmarks.gain.measure import load_photos
from benchmarks.gain.networks import make_step
from benchmarks.gain.settings import MIXTURE, parts_of
from benchmarks.models.draw import mixture_psnr
from benchmarks.models.settings import RATE, Model, plain
from benchmarks.models.train import pairs_of, validate, validation_samples

RESULTS = Path(__file__).resolve().parents[1] / 'results' / 'model_candidates.json'
CANDIDATES = {
    '8 blocks of 32 channels': plain(32, 8),
    '16 blocks of 32 channels': plain(32, 16),
    '12 blocks of 48 channels': plain(48, 12),
    '8 blocks of 64 channels at half the LR size': plain(64, 8, unshuffle=2),
}


def main() -> None:
    """Trains and measures each candidate."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.models.candidates',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--photos', type=Path, required=True, help='folder with heldout/')
    parser.add_argument('--work', type=Path, default='experiments/gain', help='folder of the pairs (experiments/gain)')
    parser.add_argument('--seconds', type=float, default=330, help='CPU time of each training (330)')
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for name, network in CANDIDATES.items():
        found.append({'network': name, 'seconds': options.seconds, **_try(network, options)})
        print(json.dumps(found[-1]), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + '\n', encoding='utf-8')


def _try(network: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    model, estimator = Model('candidate', network), load_estimator(options.work / 'estimators' / MIXTURE)
    pairs, batches = pairs_of(model, options.work), Batches(0, parts_of(MIXTURE), model.patches)
    torch.manual_seed(0)
    net = build_network(deepcopy(network)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(net.parameters(), RATE, betas=(0.9, 0.99))
    start, step = time.process_time(), 0
    while (progress := (time.process_time() - start) / options.seconds) < 1:
        make_step(net, optimizer, RATE * cosine(progress), pairs, model.patches, batches[step])
        step += 1
    net.eval()
    photos = load_photos(options.photos / 'heldout')
    scores = validate(net, estimator, validation_samples(options.work / 'graded' / 'heldout', photos))
    means = {name: round(float(np.mean(values)), 3) for name, values in scores.items()}
    return {
        'steps': step,
        'parameters': sum(parameter.numel() for parameter in net.parameters()),
        'seconds_256': round(_seconds(net), 2),
        'psnr': means,
        'mixture': round(mixture_psnr(scores), 3),
    }


@torch.no_grad()
def _seconds(net: torch.nn.Module) -> float:
    lq = torch.rand(1, 3, 256, 256).to(memory_format=torch.channels_last)
    start = time.process_time()
    net(lq, lq.new_zeros(1, 1, PRIOR_DIM), lq.new_zeros(1, len(TYPES), PRIOR_DIM))
    return time.process_time() - start


if __name__ == '__main__':
    main()
