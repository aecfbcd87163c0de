"""Trains, measures and packs the models that are shipped.

    make models                                                                # the same as the next line
    python -m benchmarks.models --photos data/photos --sets data/sets          # some hours on two cores; resumable
    python -m benchmarks.models --photos data/photos --sets data/sets --only pack measure   # from what is trained
    python -m benchmarks.models --only report                                     # docs/models.md from the kept results

`--photos` holds train/, heldout/ and manifest.tsv; only train/ is trained on. `--sets` holds RealSR100 and Set14SE.
Pairs, the estimator and the held-out degradations are those of benchmarks.gain, in the same folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.gain.estimators import PRIOR_DIM, TYPES
from benchmarks.gain.measure import load_photos, make_graded
from benchmarks.gain.pairs import Source, make_pool
from benchmarks.gain.settings import MIXTURE, RECIPES, SCALE, WEIGHTS
from benchmarks.jobs import DEVICES, ROOT
from benchmarks.models.draw import draw_training
from benchmarks.models.measure import measure
from benchmarks.models.pack import pack_estimator, pack_sr
from benchmarks.models.report import report
from benchmarks.models.settings import DRAWS, MODELS, graded_of, pools_of
from benchmarks.models.train import train_model, validation_samples
from deplsr_model.presets import FOLDER

RESULTS, DOCS = ROOT / 'benchmarks' / 'results', ROOT / 'docs'
WEIGHTS_FOLDER = Path(__file__).parent / 'weights'  # what is compared with and not installed


def main() -> None:
    """Runs the steps."""
    options = parse()
    if options.train:
        torch.set_num_threads(1)
        _train_one(options.train, options)
        return
    for step in (options.only or STEPS) if options.photos else ('report',):
        print(f'== {step}', flush=True)
        STEPS[step](options)


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
    parser.add_argument('--only', nargs='+', choices=tuple(STEPS), help='these steps')
    parser.add_argument('--jobs', type=int, default=2, help='trainings at a time, each with one thread (2)')
    parser.add_argument('--device', default='cpu', choices=DEVICES, help='where networks are trained (cpu)')
    parser.add_argument('--train', choices=list(MODELS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _pairs(options: argparse.Namespace) -> None:
    """Makes pairs and held-out degradations at x4, and trains the estimator, by benchmarks.gain; pairs at x2."""
    jobs = (*(f'pairs_{name}' for name in RECIPES), f'estimator_{MIXTURE}', 'graded_heldout')
    command = [sys.executable, '-m', 'benchmarks.gain', '--photos', options.photos, '--work', str(options.work)]
    subprocess.run([*command, '--jobs', str(options.jobs), '--device', options.device, '--only', *jobs], check=True)
    for scale in sorted({model.patches.scale for model in MODELS.values()} - {SCALE}):
        make_pairs(scale, Path(options.photos), Path(options.work), options.jobs)


def make_pairs(scale: int, photos: Path, work: Path, workers: int) -> None:
    """Makes the pairs and the held-out degradations of a scale."""
    source, heldout = Source(load_photos(photos / 'train')), load_photos(photos / 'heldout')
    crops = max(model.patches.crops for model in MODELS.values() if model.patches.scale == scale)
    for name, block in RECIPES.items():
        make_pool(work / pools_of(scale) / name, block, source, crops, crops, 2, scale, workers)
    make_graded(work / graded_of(scale), heldout, DRAWS, scale, workers)


def _train(options: argparse.Namespace) -> None:
    """Trains the models, several at a time, each after the one that it starts from."""
    done, left = set[str](), list(MODELS.values())
    while left:
        ready = [model for model in left if not model.start or model.start in done]
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda model: _train_in_process(model.name, options), ready))
        done |= {model.name for model in ready}
        left = [model for model in left if model.name not in done]


def _train_in_process(name: str, options: argparse.Namespace) -> None:
    command = [sys.executable, '-m', 'benchmarks.models', *sys.argv[1:], '--train', name]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE'}
    if subprocess.run(command, env=environment, cwd=ROOT).returncode:
        sys.exit(f'{name}: the training failed; the same command resumes it')


def _train_one(name: str, options: argparse.Namespace) -> None:
    model, work = MODELS[name], Path(options.work)
    (work / 'models' / name).mkdir(parents=True, exist_ok=True)
    commit = work / 'models' / name / 'commit'
    if not commit.exists():  # that of the training, not of the latest call
        commit.write_text(_commit(), encoding='utf-8')
    heldout = load_photos(Path(options.photos) / 'heldout')
    validation = validation_samples(work / graded_of(model.patches.scale), heldout)
    train_model(model, work / 'models' / name, work, validation, options.device)


def _pack(options: argparse.Namespace) -> None:
    """Writes the weights with their cards, and what is kept of the trainings."""
    work, manifest = Path(options.work), Path(options.photos) / 'manifest.tsv'
    network = {'type': 'LevelDistribution', 'prior_dim': PRIOR_DIM, 'num_degradation_types': len(TYPES)}
    trained = work / 'estimators' / MIXTURE
    estimator = FOLDER / 'small.safetensors'
    facts = {'batch': '32 crops of 48 to 64 LR pixels', 'loss': 'cross entropy of levels, then calibrated'}
    pack_estimator(trained / 'weights.pth', network, _facts(trained, facts), estimator, manifest)
    kept = {}
    for name, model in MODELS.items():
        folder = work / 'models' / name
        patches = model.patches
        facts = {
            'batch': f'{patches.batch} patches of {patches.side} x {patches.side} LR pixels', 'loss': 'L1',
            **({'starts_from': model.start} if model.start else {}),
        }  # fmt: skip
        out = (FOLDER if model.published else WEIGHTS_FOLDER) / f'{name}.safetensors'
        known = estimator if model.prior == 'estimated' else None
        pack_sr(folder / 'weights.pth', model.network, known, _facts(folder, facts), out, manifest)
        kept[name] = {part: _read(folder / f'{part}.json') for part in ('log', 'validation')}
    (RESULTS / 'model_training.json').write_text(json.dumps(kept) + '\n', encoding='utf-8')


def _facts(folder: Path, own: dict[str, str]) -> dict[str, Any]:
    log, commit = _read(folder / 'log.json'), folder / 'commit'
    return {
        'recipe': WEIGHTS, 'steps': log['steps'], 'hours': round(log['seconds'] / 3600, 2), **own,
        'commit': commit.read_text(encoding='utf-8') if commit.exists() else _commit(),
    }  # fmt: skip


def _measure(options: argparse.Namespace) -> None:
    """Measures the weights that are packed."""
    measure(Path(options.photos), Path(options.sets) if options.sets else None, RESULTS / 'models.json')


def _report(options: argparse.Namespace) -> None:
    """Writes docs/models.md, the cards and the curves from what is kept."""
    draw_training(_read(RESULTS / 'model_training.json'), DOCS / 'models_training.png')
    report(RESULTS / 'models.json', DOCS / 'models.md')


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding='utf-8'))


def _commit() -> str:
    found = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or 'unknown'


STEPS = {'pairs': _pairs, 'train': _train, 'pack': _pack, 'measure': _measure, 'report': _report}

if __name__ == '__main__':
    main()
