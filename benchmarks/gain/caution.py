"""How sure may an estimate be? The networks of benchmarks.gain, conditioned on wider and on joint distributions.

    python -m benchmarks.gain --photos P --sets S --work W                                 # all of W first
    python -m benchmarks.gain.caution --photos P --sets S --work W --second V/estimators

The SR networks are those of W, trained on estimates of one member. They are measured with the deviation of the
training, and, with that and the one at use (deplsr_arch.level_distribution_arch.CAUTION), on the mean of two
distributions, that of W's estimator and of another training, FOLDER/TRAINING/weights.pth, calibrated together. Results
are kept in W/measured, where `python -m benchmarks.gain --work W --report` finds them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from basicsr_plugin.atomic import save_tensors
from benchmarks.gain.__main__ import groups_of
from benchmarks.gain.estimators import Crops, build, calibrate_on, calibration_crops, load_crops, load_estimator
from benchmarks.gain.measure import load_photos
from benchmarks.gain.report import ENSEMBLE, PLAIN
from benchmarks.gain.results import measure_estimator, measure_network, write
from benchmarks.gain.settings import ESTIMATORS, MIXTURE, RUNS, Sizes, parts_of
from benchmarks.jobs import fork_pool

MEMBERS = 2


def main() -> None:
    """Combines, calibrates and measures what is left."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.gain.caution', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photos', type=os.path.abspath, required=True, help='folder with train/ and heldout/')
    parser.add_argument('--sets', type=os.path.abspath, required=True, help='folder of the test sets')
    parser.add_argument('--work', type=os.path.abspath, default='experiments/gain', help='folder of the experiment')
    parser.add_argument('--second', type=os.path.abspath, required=True, help='folder of the second estimators')
    parser.add_argument('--workers', type=int, default=2, help='processes (2)')
    options = parser.parse_args()
    torch.set_num_threads(1)
    with fork_pool(options.workers, _set_options, (options,)) as run:
        ratios = dict(run(_ratio, [name for name in ESTIMATORS if name != MIXTURE]))
        write(Path(options.work) / 'measured' / 'ratios.json', ratios)
        list(run(_combine, [*ESTIMATORS]))
        names = [one.name for one in RUNS if one.usual and one.prior == 'estimated']
        list(run(_measure, [(name, end) for end in (ENSEMBLE, PLAIN, ENSEMBLE + PLAIN) for name in names]))


_options: list[argparse.Namespace] = []  # of this process


def _set_options(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    _options[:] = [options]


def _folder(training: str) -> Path:
    return Path(_options[0].work) / 'ensembles' / training


@torch.no_grad()
def _ratio(training: str) -> tuple[str, float]:
    """Error over deviation (both quadratic means) of the recipe that is left out, on its calibration photos."""
    work, left_out = Path(_options[0].work), training.partition('-')[2]
    net, loaded = load_estimator(work / 'estimators' / training), _crops(work / 'pools', [left_out])
    lq, positions = calibration_crops(loaded, np.ones(1))
    moments = [net.moments(net.shares(net.features(part.float() / 255))) for part in lq.split(64)]
    mean, deviation = (torch.cat(part) for part in zip(*moments, strict=True))
    return left_out, round(float(((mean - positions).square().mean() / deviation.square().mean()).sqrt()), 2)


def _crops(pools: Path, recipes: Iterable[str]) -> list[Crops]:
    return load_crops(pools, recipes, groups_of(Path(_options[0].photos) / 'train'), Sizes())


def _combine(training: str) -> None:
    """Calibrates two estimators together and measures their estimates."""
    work, folder = Path(_options[0].work), _folder(training)
    if not (folder / 'weights.pth').exists():
        net = build(MEMBERS)
        parts = [net.trunk, net.head, net.other_trunks[0], net.other_heads[0]]
        files = [one / training / 'weights.pth' for one in (work / 'estimators', Path(_options[0].second))]
        states = [torch.load(path, weights_only=True) for path in files]
        for part, state, name in zip(parts, np.repeat(states, 2), ('trunk', 'head') * 2, strict=True):
            part.load_state_dict({k.removeprefix(f'{name}.'): v for k, v in state.items() if k.startswith(f'{name}.')})
        recipes, pools = parts_of(training), work / 'pools'
        calibrate_on(net, pools, _crops(pools, recipes), np.array([*recipes.values()]))
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(net.state_dict(), folder / 'weights.pth')
    path = work / 'measured' / f'ensemble_{training}.json'
    if not path.exists():
        measure_estimator(path, load_estimator(folder, MEMBERS), work / 'graded')


def _measure(job: tuple[str, str]) -> None:
    """Measures an SR network in one of the variants."""
    name, end = job
    work, photos = Path(_options[0].work), load_photos(Path(_options[0].photos) / 'heldout')
    path = work / 'measured' / f'{name}{end}.json'
    if path.exists():
        return
    run = {one.name: one for one in RUNS}[name]
    joint = load_estimator(_folder(run.estimator), MEMBERS) if ENSEMBLE in end else None
    measure_network(path, run, work, photos, Path(_options[0].sets), Sizes(), joint, PLAIN in end)
    print(f'{name}{end}: measured', flush=True)


if __name__ == '__main__':
    main()
