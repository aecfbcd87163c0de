"""Trains the SR networks of benchmarks.gain on a GPU, several at a time.

    python -m benchmarks.gain --photos data/photos --work W --workers 12 --only pairs_semantic pairs_realesrgan ...
    python -m benchmarks.gain --photos data/photos --work W --device cuda --jobs 4 --only estimator_mixture ... &
    python -m benchmarks.gain.gpu --work W

Begins when all pairs are made, with the networks whose estimator is trained, and waits for the others. Everything is
resumed by the same command. `python -m benchmarks.gain` then measures what is trained.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.gain.batches import Batches, Patches
from benchmarks.gain.estimators import PRIOR_DIM, TYPES, cosine
from benchmarks.gain.graphs import Crops, GraphTraining, load_crops, train_together
from benchmarks.gain.networks import RATE, build, prior_of
from benchmarks.gain.pairs import load_pool
from benchmarks.gain.settings import RECIPES, RUNS, Run, Sizes, parts_of
from benchmarks.jobs import deadline_after


def main() -> None:
    """Trains the networks that are left."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.gain.gpu', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--work', type=Path, default='experiments/gain', help='pairs and weights (experiments/gain)')
    parser.add_argument('--at-once', type=int, default=8, help='trainings at a time (8)')
    parser.add_argument('--minutes', type=float, help='stop after so many; the same command resumes')
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit('expected a GPU with CUDA, found none; python -m benchmarks.gain trains on a CPU')
    torch.backends.cudnn.benchmark = True
    queue = _Queue(options.work, Sizes())
    queue.draw()
    runs = [name for name, run in queue.runs.items() if not queue.weights(run).exists()]
    left = train_together(runs, queue.start, options.at_once, deadline_after(options.minutes))
    print(f'{len(left)} left: {" ".join(left)}' if left else 'all are trained')


class _Queue:
    """Starts trainings as soon as what they need is there."""

    def __init__(self, work: Path, sizes: Sizes) -> None:
        self.runs = {run.name: run for run in RUNS}
        self._work, self._sizes = work, sizes
        self._crops: Crops | None = None
        self._batches: dict[tuple[str, int], Batches] = {}

    def draw(self) -> None:
        """Draws the batches of all runs, half a minute of work that would keep the GPU waiting later."""
        for run in self.runs.values():
            self._batches_of(run).first(self._steps(run))

    def _steps(self, run: Run) -> int:
        return int(self._sizes.steps * run.share)

    def _batches_of(self, run: Run) -> Batches:
        key = (run.recipe, run.seed)
        if key not in self._batches:
            self._batches[key] = Batches(run.seed, parts_of(run.recipe), Patches(crops=self._sizes.pairs))
        return self._batches[key]

    def weights(self, run: Run) -> Path:
        """File of the weights of a run."""
        return self._work / 'networks' / run.name / 'weights.pth'

    def start(self, name: str) -> GraphTraining | None:
        """Returns the training of a run, or None if its pairs or its estimator are missing."""
        run, pools, estimators = self.runs[name], self._work / 'pools', self._work / 'estimators'
        estimated = run.prior == 'estimated'
        if not all((pools / recipe / 'done').exists() for recipe in RECIPES):
            return None
        if estimated and not (estimators / run.estimator / 'weights.pth').exists():
            return None
        crops = self._crops = self._crops or load_crops(pools, [*RECIPES], self._sizes.pairs)
        parts, count = parts_of(run.recipe), self._sizes.pairs
        tokens = torch.zeros(len(crops.lq), len(TYPES), PRIOR_DIM)
        for part in parts:
            first = crops.first[part]
            folder = pools / part
            tokens[first : first + count] = prior_of(run, folder, load_pool(folder), count, estimators, 'cuda')
        torch.manual_seed(run.seed)
        net = build(run).to('cuda', memory_format=torch.channels_last).train()
        total = self._steps(run)
        rates = [RATE * cosine(step / total) for step in range(total)]
        batches = self._batches_of(run)
        return GraphTraining(self.weights(run).parent, net, crops, [*parts], tokens.cuda(), batches, rates)


if __name__ == '__main__':
    main()
