"""Does the prior earn its cost? Trains degradation estimators, and SR networks that differ in their prior alone.

    python -m benchmarks.prior --report                                       # tables and figure from the kept results
    python -m benchmarks.prior --photos data/photos --sets data/sets          # all of it, some hours on two cores
    python -m benchmarks.prior --photos data/photos --minutes 60              # for an hour; the next call resumes
    python -m benchmarks.prior --photos data/photos --only sr_constant        # one run
    python -m benchmarks.prior --photos data/photos --sets data/sets --report # measure the finished runs
    python -m benchmarks.prior --photos data/photos --smoke                   # a few steps of the main runs
    python -m benchmarks.prior --photos data/photos --sets data/sets --gpu --clip ViT-B-32 laion2b_s34b_b79k.safetensors
    python -m benchmarks.prior --photos data/photos --sets data/sets --gpu --backbone dat_light --steps 20000

`--photos` holds train/ and heldout/. All training goes through `basicsr train`; an interrupted run is resumed, and a
finished one is not repeated. Measurements are stored next to the weights. When all runs are finished, or with
`--report`, the score of each photo is written to benchmarks/results/prior_measured.json, and the tables and the figure
to docs/prior_nominal.md and docs/notebook.md. With --clip, --backbone, --work or --smoke all that is written in the
folder of the runs instead.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jobs import ROOT, deadline_after
from benchmarks.prior import measure
from benchmarks.prior.cost import cost
from benchmarks.prior.report import FIGURE, PAGES, report
from benchmarks.prior.runs import ESTIMATORS, VARIANTS, Setup
from benchmarks.prior.statistics import TEST_SETS
from benchmarks.prior.train import is_done, prepare, steps_of, train_all

RESULTS, DOCS = ROOT / 'benchmarks' / 'results', ROOT / 'docs'
SMOKE_ESTIMATORS = ('adaptor', 'regressor', 'adaptor_short')
SMOKE_VARIANTS = ('constant', 'oracle', 'adaptor', 'regressor')

#: The options of each run and the run whose weights it needs.
Runs = dict[str, tuple[dict[str, Any], str | None]]


def main() -> None:
    """Trains the requested runs; if none is left to train, or with ``--report``, measures all finished ones."""
    options = parse()
    setup = Setup(options.clip and tuple(options.clip), options.backbone == 'dat_light', int(options.gpu))
    work = work_folder(options)
    runs = all_runs(options, setup)
    if options.list:
        for name in runs:
            print(f'{"done" if is_done(work, name) else "    "}  {name}')
        return
    if options.photos is None:
        report_kept()
        return
    work.mkdir(parents=True, exist_ok=True)
    prepare(Path(options.photos), work)
    if not options.report:
        train_all(runs, work, options.jobs, deadline_after(options.minutes))
        every = all_runs(argparse.Namespace(**{**vars(options), 'only': None}), setup)
        left = [name for name in every if not is_done(work, name)]
        if left:
            print(f'{len(left)} runs are left; train them without --only, or measure the others with --report')
            return
    os.chdir(work)
    measured = measure_all(options, setup, work)
    usual = options.work is None and not options.clip and not options.smoke and not setup.dat
    stem = f'prior{"_dat_light" if setup.dat else ""}'
    folder, docs = (RESULTS, DOCS) if usual else (work, work)
    refuse_loss(measured, folder / f'{stem}_measured.json')
    (folder / f'{stem}_measured.json').write_text(json.dumps(measured) + '\n', encoding='utf-8')
    report(
        measured,
        [docs / page for page in (PAGES if usual else (f'{stem}.md',))],
        docs / (FIGURE if usual else f'{stem}.png'),
    )


def report_kept() -> None:
    """Rebuilds tables and figure of the documentation from the kept measurements."""
    kept = RESULTS / 'prior_measured.json'
    if not kept.exists():
        sys.exit(f'{kept}: expected the kept measurements, found none; train and measure with --photos')
    report(json.loads(kept.read_text(encoding='utf-8')), [DOCS / page for page in PAGES], DOCS / FIGURE)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.prior', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photos', type=os.path.abspath, help='folder with train/ and heldout/')
    parser.add_argument('--sets', type=os.path.abspath, help='folder with Set14, B100 and Urban100, each with GTmod12/')
    parser.add_argument('--work', type=os.path.abspath, help='folder for runs (experiments/prior)')
    parser.add_argument('--jobs', type=int, default=2, help='runs at a time, each with one thread')
    parser.add_argument('--minutes', type=float, help='stop training after so many; the same command resumes it')
    parser.add_argument('--only', nargs='+', metavar='RUN', help='train these runs alone, in this order')
    parser.add_argument('--list', action='store_true', help='list all runs, and which are finished')
    parser.add_argument('--report', action='store_true', help='train nothing')
    parser.add_argument('--smoke', action='store_true', help='a few steps of the main runs, to check that all works')
    parser.add_argument('--clip', nargs=2, metavar=('NAME', 'WEIGHTS'), help='a CLIP of open_clip and its weights file')
    parser.add_argument('--backbone', choices=('plain', 'dat_light'), default='plain', help='SR network (plain)')
    parser.add_argument('--gpu', action='store_true', help='train on the GPU, one run at a time')
    parser.add_argument(
        '--estimator-steps', type=int, default=10000, help='steps of 32 crops, the adaptor of the variants (10000)'
    )
    parser.add_argument('--ablation-steps', type=int, default=1000, help='steps of 32 crops, other estimators (1000)')
    parser.add_argument('--steps', type=int, default=2000, help='steps of 16 patches, SR networks (2000)')
    options = parser.parse_args()
    if options.smoke:
        options.estimator_steps = options.ablation_steps = options.steps = 40
        measure.DRAWS, measure.PROBE_TILES = 1, 50
    if options.clip:
        options.clip[1] = os.path.abspath(options.clip[1])
    if options.gpu:
        options.jobs = 1
    if options.photos is None and not (options.report or options.list):
        sys.exit('--photos: expected a folder with train/ and heldout/, got none; name it, or use --report alone')
    for part in ('train', 'heldout') if options.photos else ():
        if not Path(options.photos, part).is_dir():
            sys.exit(f"--photos: expected a folder with train/ and heldout/, '{options.photos}' has no {part}/")
    return options


def work_folder(options: argparse.Namespace) -> Path:
    """The folder of the runs; other towers and smoke runs have folders of their own."""
    parts = ['experiments/prior', *([options.clip[0], Path(options.clip[1]).stem] if options.clip else [])]
    return Path((options.work or '_'.join(parts)) + ('_smoke' if options.smoke else '')).resolve()


def all_runs(options: argparse.Namespace, setup: Setup) -> Runs:
    """All requested runs in the order of training."""
    runs: Runs = {}
    for name, estimator in ESTIMATORS.items():
        steps = options.estimator_steps if estimator.long else options.ablation_steps
        runs[f'estimator_{name}'] = setup.stage1(name, int(estimator.times * steps)), None
    for name, variant in setup.variants().items():
        needs = f'estimator_{variant.estimator}' if variant.needs_estimator else None
        runs[setup.run_of(name)] = setup.stage2(name, options.steps // (2 if variant.short else 1)), needs
    smoke = [*(f'estimator_{name}' for name in SMOKE_ESTIMATORS), *(setup.run_of(name) for name in SMOKE_VARIANTS)]
    requested = options.only or (smoke if options.smoke else list(runs))
    unknown = [name for name in requested if name not in runs]
    if unknown:
        sys.exit(f"--only: expected names of runs, got '{unknown[0]}'; --list shows them")
    return {name: runs[name] for name in requested}


def measure_all(options: argparse.Namespace, setup: Setup, work: Path) -> dict[str, Any]:
    """Measures all finished runs; of test sets without a folder, stored measurements count."""
    folders = {'heldout': f'{options.photos}/heldout', 'whole': f'{options.photos}/heldout'}
    folders |= {name: f'{options.sets}/{name}/GTmod12' if options.sets else '' for name in TEST_SETS}
    accuracy, points = _measure_estimators(setup, work, folders, with_sets=bool(options.sets))
    scores = _measure_variants(setup, work, folders)
    variants = [name for name in scores if name != 'bicubic']
    done = [*(f'estimator_{name}' for name in accuracy), *(setup.run_of(name) for name in variants)]
    cost_file = Path(f'measured/cost{"_dat_light" if setup.dat else ""}.json')
    return {
        'steps': {name: steps_of(work, name) for name in done},
        'origin': origin(work),
        'scores': scores,
        'accuracy': accuracy,
        'points': points,
        'cost': measure.kept(cost_file, None, lambda: cost(setup)),
        'curves': {name: curve(work / f'{setup.run_of(name)}.log') for name in variants},
    }


def _measure_estimators(
    setup: Setup, work: Path, folders: dict[str, str], with_sets: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Accuracy of the finished estimators, and true and estimated levels of the long trained ones."""
    accuracy: dict[str, Any] = {}
    points: dict[str, Any] = {}
    for name in ESTIMATORS:
        if is_done(work, f'estimator_{name}'):
            weights = Path(f'experiments/estimator_{name}/models/net_da_latest.pth')
            args = setup, name, folders['heldout'], tuple(folders[one] for one in TEST_SETS if with_sets)
            file = Path(f'measured/estimator_{name}.json')
            accuracy[name] = measure.kept(file, weights, lambda args=args: measure.accuracy(*args))
            if ESTIMATORS[name].long:
                points[name] = accuracy[name].pop('points')
            print(f'estimator {name}: {accuracy[name]["64"]}', flush=True)
    return accuracy, points


def _measure_variants(setup: Setup, work: Path, folders: dict[str, str]) -> dict[str, Any]:
    """Scores of bicubic and of the finished variants; short ones are measured on the held-out crops alone."""
    scores: dict[str, Any] = {}
    for name in ('bicubic', *setup.variants()):
        run = f'sr_{name}' if name == 'bicubic' else setup.run_of(name)
        if name != 'bicubic' and not is_done(work, run):
            continue
        weights = None if name == 'bicubic' else Path(f'experiments/{run}/models/net_g_latest.pth')
        for part, folder in folders.items():
            file, args = Path(f'measured/{run}_{part}.json'), (setup, name, part, folder)
            wanted = part == 'heldout' or name == 'bicubic' or not VARIANTS[name].short
            if wanted and (folder or file.exists()):
                found = measure.kept(file, weights, lambda args=args: measure.restoration(*args))
                scores.setdefault(name, {}).update(found)
        means = ', '.join(f'{k} {np.mean(v["psnr"]):.2f}' for k, v in scores[name].items() if k.startswith('heldout'))
        print(f'variant {name}: {means}', flush=True)
    return scores


def refuse_loss(measured: dict[str, Any], path: Path) -> None:
    """Refuses to overwrite results of runs that are not in the work folder."""
    before = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    lost = {
        name: None
        for part in ('scores', 'accuracy', 'points')
        for name, values in before.get(part, {}).items()
        if not values.keys() <= measured[part].get(name, {}).keys()
    }
    if lost:
        sys.exit(
            f'{path}: expected measurements of all results in it, but {", ".join([*lost][:5])} ({len(lost)} in all) '
            'would be lost; train them and name --sets, choose another --work, or remove the file'
        )


def origin(work: Path) -> dict[str, Any]:
    """Minutes, commits and machines of each run."""
    result: dict[str, Any] = {'minutes': {}, 'commits': {}, 'machines': {}}
    hours = work / 'hours.tsv'
    for line in hours.read_text(encoding='utf-8').splitlines() if hours.exists() else []:
        name, spent, commit, machine = line.split('\t')
        result['minutes'][name] = round(result['minutes'].get(name, 0.0) + float(spent), 1)
        for key, value in (('commits', commit), ('machines', machine)):
            result[key][name] = sorted({*result[key].get(name, []), value})
    return result


def curve(log: Path) -> list[list[float]]:
    """Training loss of an SR network, averaged over 200 iterations."""
    text = log.read_text(encoding='utf-8') if log.exists() else ''
    found = re.findall(r'iter:\s*([\d,]+),.*l_pix: (\S+)', text)
    points = [(int(step.replace(',', '')), float(loss)) for step, loss in found]
    grouped = [points[i : i + 4] for i in range(0, len(points) - 3, 4)]
    return [[group[-1][0], round(float(np.mean([loss for _, loss in group])), 5)] for group in grouped]


if __name__ == '__main__':
    main()
