"""Does the prior earn its cost? Trains readers and SR networks that differ in their prior alone, and compares them.

    python benchmarks/prior.py --photos data/photos --sets data/sets          # all of it, some hours on two cores
    python benchmarks/prior.py --photos data/photos --minutes 60              # as far as an hour goes; go on later
    python benchmarks/prior.py --photos data/photos --only sr_constant        # one run
    python benchmarks/prior.py --photos data/photos --sets data/sets --report # measure and write what is done by now
    python benchmarks/prior.py --report                                       # tables from the figures kept here
    python benchmarks/prior.py --photos data/photos --smoke                   # a few steps of the main runs
    python benchmarks/prior.py --photos data/photos --sets data/sets --gpu --clip ViT-B-32 laion2b_s34b_b79k.safetensors
    python benchmarks/prior.py --photos data/photos --sets data/sets --gpu --backbone dat_light --steps 20000

`--photos` holds train/ and heldout/. All training goes through `basicsr train`; a run goes on where it was cut off,
and one that is done is not run again. What is measured is kept beside the weights. When all runs are done, or with
`--report`, it writes benchmarks/results/prior.json, prior_measured.json (what each photo got) and prior_logs, and the
tables and image of docs/prior.md. With --clip, --backbone or --work all that is written beside the runs instead.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from figures import bootstrap, bootstrap_ranks, bootstrap_share

from basicsr_plugin.compat import apply_fixes

apply_fixes()

import prior_measure as measure  # noqa: E402
from prior_draw import draw_curves  # noqa: E402
from prior_runs import ARMS, READERS, Setup  # noqa: E402
from prior_tables import write_tables  # noqa: E402
from prior_train import budget, is_done, prepare, run_all, steps_of  # noqa: E402

import deplsr_arch  # noqa: E402, F401  registers
import deplsr_model  # noqa: E402, F401

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'benchmarks' / 'results'
TEST_SETS = ('Set14', 'B100', 'Urban100')
SMOKE_READERS, SMOKE_ARMS = ('adaptor', 'levels', 'short'), ('constant', 'oracle', 'adaptor', 'levels')


def main() -> None:
    """Trains what is asked for; when nothing is left to train, or when asked to, measures all that is there."""
    options = parse()
    setup = Setup(options.clip and tuple(options.clip), options.backbone == 'dat_light', int(options.gpu))
    usual = options.work is None and not options.clip and not options.smoke
    work = work_folder(options)
    runs = all_runs(options, setup)
    if options.list:
        for name in runs:
            print(f'{"done" if is_done(work, name) else "    "}  {name}')
        return
    kept = RESULTS / 'prior_measured.json'
    if options.photos is None:
        if not kept.exists():
            sys.exit(f'{kept}: expected the kept figures, found none; train and measure with --photos')
        report(json.loads(kept.read_text(encoding='utf-8')), RESULTS / 'prior.json', ROOT / 'docs')
        return
    work.mkdir(parents=True, exist_ok=True)
    prepare(Path(options.photos), work)
    if not options.report:
        run_all(runs, work, options.jobs, budget(options.minutes))
    left = [
        name
        for name in all_runs(argparse.Namespace(**{**vars(options), 'only': None}), setup)
        if not is_done(work, name)
    ]
    if left and not options.report:
        print(f'{len(left)} runs are left; the same command without --only trains them, --report measures the others')
        return
    os.chdir(work)
    measured = measure_all(options, setup, work)
    target = f'prior{"_dat_light" if setup.dat else ""}'
    folder, docs = (RESULTS, ROOT / 'docs') if usual and not setup.dat else (work, work)
    refuse_loss(measured, folder / f'{target}_measured.json')
    keep_logs(measured, work, folder / f'{target}_logs')
    (folder / f'{target}_measured.json').write_text(json.dumps(measured) + '\n', encoding='utf-8')
    report(measured, folder / f'{target}.json', docs)


def report(measured: dict[str, Any], path: Path, docs: Path) -> None:
    """Writes the gains as JSON, and the tables and the image of the page ``docs``/NAME.md."""
    result = derive(measured)
    path.write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    write_tables(result, docs / f'{path.stem}.md')
    draw_curves(result, measured['points'], docs / f'{path.stem}.png')
    print(f'see {docs / path.stem}.md')


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', type=os.path.abspath, help='folder with train/ and heldout/')
    parser.add_argument('--sets', type=os.path.abspath, help='folder with Set14, B100 and Urban100, each with GTmod12/')
    parser.add_argument('--work', type=os.path.abspath, help='folder for runs (experiments/prior)')
    parser.add_argument('--jobs', type=int, default=2, help='runs at a time, each with one thread')
    parser.add_argument('--minutes', type=float, help='stop training after so many; the same command goes on')
    parser.add_argument('--only', nargs='+', metavar='RUN', help='train these runs alone, in this order')
    parser.add_argument('--list', action='store_true', help='name all runs, and which are done')
    parser.add_argument('--report', action='store_true', help='train nothing')
    parser.add_argument('--smoke', action='store_true', help='a few steps of the main runs, to see that all works')
    parser.add_argument('--clip', nargs=2, metavar=('NAME', 'WEIGHTS'), help='a CLIP of open_clip and its weights file')
    parser.add_argument('--backbone', choices=('plain', 'dat_light'), default='plain', help='SR network (plain)')
    parser.add_argument('--gpu', action='store_true', help='train on the GPU, one run at a time')
    parser.add_argument(
        '--reader-steps', type=int, default=10000, help='steps of 32 crops, the adaptor of the arms (10000)'
    )
    parser.add_argument('--lever-steps', type=int, default=1000, help='steps of 32 crops, other readers (1000)')
    parser.add_argument('--steps', type=int, default=2000, help='steps of 16 patches, SR networks (2000)')
    options = parser.parse_args()
    if options.smoke:
        options.reader_steps = options.lever_steps = options.steps = 40
        measure.DRAWS, measure.PROBE_TILES = 1, 50
    if options.clip:
        options.clip[1] = os.path.abspath(options.clip[1])
    if options.gpu:
        options.jobs = 1
    if options.photos is None and not (options.report or options.list):
        sys.exit('--photos: expected a folder with train/ and heldout/, got none; name it, or --report what is kept')
    for part in ('train', 'heldout') if options.photos else ():
        if not Path(options.photos, part).is_dir():
            sys.exit(f"--photos: expected a folder with train/ and heldout/, '{options.photos}' has no {part}/")
    return options


def work_folder(options: argparse.Namespace) -> Path:
    """Where the runs are; with other towers or few steps they are others."""
    parts = ['experiments/prior', *([options.clip[0], Path(options.clip[1]).stem] if options.clip else [])]
    return Path((options.work or '_'.join(parts)) + ('_smoke' if options.smoke else '')).resolve()


def all_runs(options: argparse.Namespace, setup: Setup) -> dict[str, tuple[dict[str, Any], str | None]]:
    """All runs in the order of training, each with the run it needs."""
    runs: dict[str, tuple[dict[str, Any], str | None]] = {}
    for name, reader in READERS.items():
        steps = options.reader_steps if reader.long else options.lever_steps
        runs[f'reader_{name}'] = setup.stage1(name, int(reader.times * steps)), None
    for name, arm in setup.arms().items():
        needs = None if arm.prior in ('none', 'levels') else f'reader_{arm.reader}'
        runs[setup.run_of(name)] = setup.stage2(name, options.steps // (2 if arm.short else 1)), needs
    smoke = [*(f'reader_{name}' for name in SMOKE_READERS), *(setup.run_of(name) for name in SMOKE_ARMS)]
    asked = options.only or (smoke if options.smoke else list(runs))
    unknown = [name for name in asked if name not in runs]
    if unknown:
        sys.exit(f"--only: no run called '{unknown[0]}'; --list names them")
    return {name: runs[name] for name in asked}


def measure_all(options: argparse.Namespace, setup: Setup, work: Path) -> dict[str, Any]:
    """Measures all runs that are done; sets that are not named count where they were measured before."""
    folders = {'heldout': f'{options.photos}/heldout', 'whole': f'{options.photos}/heldout'}
    folders |= {name: f'{options.sets}/{name}/GTmod12' if options.sets else '' for name in TEST_SETS}
    readings: dict[str, Any] = {}
    points: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for name in READERS:
        if is_done(work, f'reader_{name}'):
            weights = Path(f'experiments/reader_{name}/models/net_da_latest.pth')
            kept = Path(f'measured/reader_{name}.json')
            args = setup, name, folders['heldout'], tuple(folders[one] for one in TEST_SETS if options.sets)
            readings[name] = measure.kept(kept, weights, lambda args=args: measure.reading(*args))
            if READERS[name].long:
                points[name] = readings[name].pop('points')
            print(f'reader {name}: {readings[name]["64"]}', flush=True)
    for name in ('bicubic', *setup.arms()):
        run = f'sr_{name}' if name == 'bicubic' else setup.run_of(name)
        if name != 'bicubic' and not is_done(work, run):
            continue
        weights = None if name == 'bicubic' else Path(f'experiments/{run}/models/net_g_latest.pth')
        for part, folder in folders.items():
            kept, args = Path(f'measured/{run}_{part}.json'), (setup, name, part, folder)
            asked = part == 'heldout' or name == 'bicubic' or not ARMS[name].short
            if asked and (folder or kept.exists()):
                found = measure.kept(kept, weights, lambda args=args: measure.restoring(*args))
                scores.setdefault(name, {}).update(found)
        means = ', '.join(f'{k} {np.mean(v["psnr"]):.2f}' for k, v in scores[name].items() if k.startswith('heldout'))
        print(f'arm {name}: {means}', flush=True)
    done = [*(f'reader_{name}' for name in readings), *(setup.run_of(name) for name in scores if name != 'bicubic')]
    cost_file = Path(f'measured/cost{"_dat_light" if setup.dat else ""}.json')
    return {
        'steps': {name: steps_of(work, name) for name in done},
        'origin': origin(work),
        'scores': scores,
        'reading': readings,
        'points': points,
        'cost': measure.kept(cost_file, None, lambda: measure.cost(setup)),
        'curves': {name: curve(work / f'{setup.run_of(name)}.log') for name in scores if name != 'bicubic'},
    }


def refuse_loss(measured: dict[str, Any], path: Path) -> None:
    """Refuses to write over results of runs that are not in the work folder."""
    before = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    lost = {
        name: None
        for part in ('scores', 'reading', 'points')
        for name, values in before.get(part, {}).items()
        if not values.keys() <= measured[part].get(name, {}).keys()
    }
    if lost:
        sys.exit(
            f'{path}: expected all that it has to be measured anew, but {", ".join([*lost][:5])} ({len(lost)} in all) '
            'would be lost; train them and name --sets, take another --work, or remove the file to begin anew'
        )


def derive(measured: dict[str, Any]) -> dict[str, Any]:
    """Gains with their intervals, and means."""
    scores = measured['scores']
    arms = [name for name in ARMS if name in scores and not ARMS[name].seed]

    def gained(*parts: str, metric: str = 'psnr') -> dict[str, dict[str, list[float]]]:
        return {name: gains(scores, name, ARMS[name].against, parts, metric=metric) for name in arms}

    def shared(*parts: str) -> dict[str, dict[str, list[float]]]:
        return {name: shares(scores, name, parts) for name in ('adaptor', 'levels', 'clip')}

    def means(metric: str, digits: int) -> dict[str, dict[str, float]]:
        return {
            name: {
                degradation_type: round(float(values.mean()), digits)
                for degradation_type, values in averaged(scores, name, metric).items()
            }
            for name in ('bicubic', *arms)
            if name in scores
        }

    return {
        **{key: value for key, value in measured.items() if key not in ('scores', 'points')},
        'reading_over_levels': read_better(measured['points'], bootstrap_ranks),
        'error_over_levels': read_better(measured['points'], _errors),
        'gain': gained('heldout'),
        'gain_ssim': gained('heldout', metric='ssim'),
        'gain_whole': gained('whole'),
        'gain_sets': gained(*TEST_SETS),
        'adaptor_over_levels': {
            title: gains(scores, 'adaptor', 'levels', parts)
            for title, parts in {'heldout': ('heldout',), 'whole': ('whole',), 'sets': TEST_SETS}.items()
        },
        'share': shared('heldout'),
        'share_whole': shared('whole'),
        'share_sets': shared(*TEST_SETS),
        'psnr': means('psnr', 3),
        'ssim': means('ssim', 4),
    }


def seeds_of(scores: dict[str, Any], name: str) -> list[str]:
    """The trainings of an arm, by the rank of their seed; '' is the first."""
    return [end for end in ('', '_1') if f'{name}{end}' in scores]


def averaged(scores: dict[str, Any], name: str, metric: str) -> dict[str, np.ndarray]:
    """What each photo got, by set and degradation, averaged over seeds."""
    runs = [scores[name + seed] for seed in seeds_of(scores, name)]
    return {
        degradation_type: np.mean([run[degradation_type][metric] for run in runs if degradation_type in run], axis=0)
        for degradation_type in runs[0]
    }


def differences(
    scores: dict[str, Any], name: str, against: str, parts: tuple[str, ...], metric: str = 'psnr'
) -> dict[str, np.ndarray]:
    """Difference of two arms for each photo, by degradation, averaged over the seeds that both have."""
    both = [seed for seed in seeds_of(scores, name) if seed in seeds_of(scores, against)]
    runs = [(scores[name + seed], scores[against + seed]) for seed in both]
    if not runs or not all(
        f'{part}/{degradation_type}' in run
        for pair in runs
        for run in pair
        for degradation_type in measure.COLUMNS
        for part in parts
    ):
        return {}

    def photos(run: dict[str, Any], degradation_type: str) -> np.ndarray:
        return np.concatenate([run[f'{part}/{degradation_type}'][metric] for part in parts])

    return {
        degradation_type: np.mean([photos(a, degradation_type) - photos(b, degradation_type) for a, b in runs], axis=0)
        for degradation_type in measure.COLUMNS
    }


def gains(*args: Any, metric: str = 'psnr') -> dict[str, list[float]]:
    """Mean and interval of the :func:`differences`."""
    digits = 3 if metric == 'psnr' else 5
    return {
        degradation_type: bootstrap(values, digits=digits)
        for degradation_type, values in differences(*args, metric).items()
    }


def read_better(points: dict[str, Any], compare: Callable[..., list[float]]) -> dict[str, dict[str, list[float]]]:
    """Compares the adaptor with the regressor on the same crops, by ``compare(true, adaptor, regressor)``."""
    if not {'adaptor', 'levels'} <= points.keys():
        return {}
    ours = {**points['adaptor'], measure.IN_CROPS: points['adaptor']['128']}
    found: dict[str, dict[str, list[float]]] = {}
    for size, theirs in points['levels'].items():
        for degradation_type, (true, other) in theirs.items():
            same, read = ours[size][degradation_type]
            assert same == true
            found.setdefault(size, {})[degradation_type] = compare(*map(np.array, (true, read, other)))
    return found


def _errors(true: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    """Mean error of ``ours`` less that of ``theirs``, (photos, draws) each, with its interval over photos."""
    return bootstrap((abs(ours - true) - abs(theirs - true)).mean(axis=1))


def shares(scores: dict[str, Any], name: str, parts: tuple[str, ...]) -> dict[str, list[float]]:
    """What part of the oracle's gain an arm has, with its interval; only where the oracle's own is above 0.

    Both gains are over the seeds that the arm has.
    """
    asked = (f'{arm}{seed}' for arm in (name, 'oracle', 'constant') for seed in seeds_of(scores, name))
    same = {run: scores[run] for run in asked if run in scores}
    ours, whole = (differences(same, arm, 'constant', parts) for arm in (name, 'oracle'))
    degradation_types = [
        degradation_type
        for degradation_type in measure.DEGRADATIONS
        if ours and whole and bootstrap(whole[degradation_type])[1] > 0
    ]
    return {
        degradation_type: bootstrap_share(ours[degradation_type], whole[degradation_type])
        for degradation_type in degradation_types
    }


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


def keep_logs(measured: dict[str, Any], work: Path, target: Path) -> None:
    """Copies the lines of progress of the logs behind what is measured, without paths, in place of those before."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in measured['steps']:
        log = work / f'{name}.log'
        lines = [line for line in log.read_text(encoding='utf-8').splitlines() if 'iter:' in line]
        (target / f'{name}.txt').write_text('\n'.join(lines[3::4]) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
