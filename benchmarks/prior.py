"""Does the prior earn its cost? Trains readers and SR networks that differ in their prior alone, and compares them.

    python benchmarks/prior.py --photos data/photos --sets data/sets          # all of it, some hours on two cores
    python benchmarks/prior.py --photos data/photos --minutes 60              # as far as an hour goes; go on later
    python benchmarks/prior.py --photos data/photos --only sr_oracle          # one run
    python benchmarks/prior.py --photos data/photos --sets data/sets --report # measure, write the tables
    python benchmarks/prior.py --report                                       # tables from the figures kept here
    python benchmarks/prior.py --photos data/photos --smoke                   # a few steps of the main runs
    python benchmarks/prior.py --photos data/photos --sets data/sets --gpu --clip ViT-B-32 laion2b_s34b_b79k.safetensors
    python benchmarks/prior.py --photos data/photos --sets data/sets --gpu --backbone dat_light --steps 20000

`--photos` holds train/ and heldout/. All training goes through `basicsr train`; a run goes on where it was cut off,
and one that is done is not run again. What is measured is kept beside the weights. The report writes
benchmarks/results/prior.json, prior_measured.json (what each photo got) and prior_logs, and the tables and picture of
docs/prior.md; with --clip or --backbone it writes files of their own, named after them, and tables beside the runs.
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
import torch
from figures import bootstrap, bootstrap_share

from basicsr_plugin.compat import mend

mend()

import prior_measure as measure  # noqa: E402
import prior_runs  # noqa: E402
from prior_draw import draw_curves  # noqa: E402
from prior_runs import ARMS, READERS, stage1, stage2  # noqa: E402
from prior_tables import write_tables  # noqa: E402
from prior_train import budget, is_done, prepare, run_all  # noqa: E402

import deplsr_arch  # noqa: E402, F401  registers
import deplsr_model  # noqa: E402, F401

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'benchmarks' / 'results'
SEEDS = {name: (name, f'{name}_1') for name in ('constant', 'oracle', 'adaptor', 'levels')}
TEST_SETS = ('Set14', 'B100', 'Urban100')
SMOKE = ('reader_adaptor', 'reader_levels', *(f'sr_{arm}' for arm in ('constant', 'oracle', 'adaptor', 'levels')))


def main() -> None:
    """Trains what is asked for, then measures all that is there."""
    options = parse()
    work = Path(options.work).resolve()
    runs = all_runs(options)
    if options.list:
        for name in runs:
            print(f'{"done" if is_done(work, name) else "    "}  {name}')
        return
    name = Path(options.work).name
    if options.photos is None:
        report(name, work, json.loads((RESULTS / f'{name}_measured.json').read_text(encoding='utf-8')))
        return
    work.mkdir(parents=True, exist_ok=True)
    prepare(Path(options.photos), work)
    if not options.report:
        run_all(runs, work, options.jobs, budget(options.minutes))
    os.chdir(work)
    measured = measure_all(options, work)
    if options.smoke:
        result = derive(measured)
        print(json.dumps({key: result[key] for key in ('gain', 'reading')}, indent=1))
        return
    RESULTS.mkdir(exist_ok=True)
    keep_logs(work, RESULTS / f'{name}_logs')
    (RESULTS / f'{name}_measured.json').write_text(json.dumps(measured) + '\n', encoding='utf-8')
    report(name, work, measured)


def report(name: str, work: Path, measured: dict[str, Any]) -> None:
    """Writes the gains as JSON, the tables and the picture."""
    result = derive(measured)
    (RESULTS / f'{name}.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    folder = ROOT / 'docs' if name == 'prior' else work
    write_tables(result, folder / 'prior.md')
    draw_curves(result, folder / 'prior.png')
    print(f'see {folder / "prior.md"}')


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', type=os.path.abspath, help='folder with train/ and heldout/')
    parser.add_argument('--sets', type=os.path.abspath, help='folder with Set14, B100 and Urban100, each with GTmod12/')
    parser.add_argument('--work', help='folder for runs (experiments/prior); names the results')
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
        '--reader-steps', type=int, default=4000, help='steps of 32 crops, the adaptor of the arms (4000)'
    )
    parser.add_argument('--lever-steps', type=int, default=1000, help='steps of 32 crops, other readers (1000)')
    parser.add_argument('--steps', type=int, default=2000, help='steps of 16 patches, SR networks (2000)')
    options = parser.parse_args()
    varied = [options.clip[0] if options.clip else '', options.backbone if options.backbone != 'plain' else '']
    options.work = options.work or '_'.join(['experiments/prior', *(part for part in varied if part)])
    if options.backbone == 'dat_light':
        prior_runs.use_dat()
    if options.smoke:
        options.work += '_smoke'
        options.reader_steps = options.lever_steps = options.steps = 40
        measure.DRAWS, measure.PROBE_TILES = 1, 50
    if options.clip:
        prior_runs.use_clip(options.clip[0], os.path.abspath(options.clip[1]))
    if options.gpu:
        options.jobs = 1
    if options.photos is None and not (options.report or options.list):
        sys.exit(
            '--photos: expected a folder with train/ and heldout/, got none; name it, or only --report what is kept'
        )
    for part in ('train', 'heldout') if options.photos else ():
        if not Path(options.photos, part).is_dir():
            sys.exit(f"--photos: expected a folder with train/ and heldout/, '{options.photos}' has no {part}/")
    return options


def all_runs(options: argparse.Namespace) -> dict[str, tuple[dict[str, Any], str | None]]:
    """All runs in the order of training, each with the run it needs."""
    runs: dict[str, tuple[dict[str, Any], str | None]] = {}
    for name, reader in READERS.items():
        steps = options.reader_steps if reader.long else options.lever_steps
        runs[f'reader_{name}'] = stage1(name, int(reader.times * steps)), None
    for name, arm in ARMS.items():
        needs = None if arm.prior in ('none', 'levels') else f'reader_{arm.reader}'
        runs[f'sr_{name}'] = stage2(name, options.steps // (2 if arm.short else 1)), needs
    asked = options.only or (SMOKE if options.smoke else list(runs))
    unknown = [name for name in asked if name not in runs]
    if unknown:
        sys.exit(f"--only: no run called '{unknown[0]}'; --list names them")
    if options.gpu:
        for opt, _ in runs.values():
            opt['num_gpu'] = 1
    return {name: runs[name] for name in asked}


def measure_all(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Measures all runs that are done."""
    folders = {'heldout': f'{options.photos}/heldout', 'whole': f'{options.photos}/heldout'}
    if options.sets:
        folders |= {name: f'{options.sets}/{name}/GTmod12' for name in TEST_SETS}
    readings: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for name in READERS:
        if is_done(work, f'reader_{name}'):
            weights = Path(f'experiments/reader_{name}/models/net_da_latest.pth')
            kept, args = Path(f'measured/reader_{name}.json'), (name, folders['heldout'])
            readings[name] = measure.kept(kept, weights, lambda args=args: measure.reading(*args))
            print(f'reader {name}: {readings[name]["64"]}', flush=True)
    for name in ('bicubic', *ARMS):
        if name != 'bicubic' and not is_done(work, f'sr_{name}'):
            continue
        weights = None if name == 'bicubic' else Path(f'experiments/sr_{name}/models/net_g_latest.pth')
        for part, folder in folders.items():
            if part == 'heldout' or name == 'bicubic' or not ARMS[name].short:
                kept, args = Path(f'measured/sr_{name}_{part}.json'), (name, part, folder)
                found = measure.kept(kept, weights, lambda args=args: measure.restoring(*args))
                scores.setdefault(name, {}).update(found)
        means = ', '.join(f'{k} {np.mean(v["psnr"]):.2f}' for k, v in scores[name].items() if k.startswith('heldout'))
        print(f'arm {name}: {means}', flush=True)
    return {
        'settings': {key: getattr(options, key) for key in ('reader_steps', 'lever_steps', 'steps')},
        'origin': origin(work),
        'scores': scores,
        'reading': readings,
        'cost': measure.kept(Path('measured/cost.json'), None, measure.cost),
        'curves': curves(work),
    }


def derive(measured: dict[str, Any]) -> dict[str, Any]:
    """Gains with their intervals, and means."""
    scores = measured['scores']
    arms = [name for name in ARMS if name in scores]

    def gained(*parts: str, metric: str = 'psnr') -> dict[str, dict[str, list[float]]]:
        return {name: gains(scores, name, ARMS[name].against, parts, metric=metric) for name in arms}

    def means(metric: str, digits: int) -> dict[str, dict[str, float]]:
        return {
            name: {kind: round(float(np.mean(v[metric])), digits) for kind, v in one.items()}
            for name, one in scores.items()
        }

    def shared(*parts: str) -> dict[str, dict[str, list[float]]]:
        return {name: shares(scores, name, parts) for name in ('adaptor', 'levels', 'clip')}

    return {
        **{key: value for key, value in measured.items() if key != 'scores'},
        'gain': gained('heldout'),
        'gain_ssim': gained('heldout', metric='ssim'),
        'gain_whole': gained('whole'),
        'gain_sets': gained(*TEST_SETS),
        'share': shared('heldout'),
        'share_whole': shared('whole'),
        'share_sets': shared(*TEST_SETS),
        'psnr': means('psnr', 3),
        'ssim': means('ssim', 4),
    }


def differences(
    scores: dict[str, Any], name: str, against: str, parts: tuple[str, ...], metric: str = 'psnr'
) -> dict[str, np.ndarray]:
    """Difference of two arms for each photo, by degradation; both averaged over the seeds there are."""
    kinds = (*measure.DEGRADATIONS, 'realesrgan')
    if not all(f'{part}/{kind}' in scores.get(arm, ()) for arm in (name, against) for kind in kinds for part in parts):
        return {}
    result = {}
    for kind in kinds:
        sides = []
        for arm in (name, against):
            seeds = [seed for seed in SEEDS.get(arm, (arm,)) if seed in scores]
            values = [np.concatenate([scores[seed][f'{part}/{kind}'][metric] for part in parts]) for seed in seeds]
            sides.append(np.mean(values, axis=0))
        result[kind] = sides[0] - sides[1]
    return result


def gains(*args: Any, metric: str = 'psnr') -> dict[str, list[float]]:
    """Mean and interval of the :func:`differences`."""
    digits = 3 if metric == 'psnr' else 5
    return {kind: bootstrap(values, digits=digits) for kind, values in differences(*args, metric).items()}


def shares(scores: dict[str, Any], name: str, parts: tuple[str, ...]) -> dict[str, list[float]]:
    """What part of the oracle's gain an arm has, with its interval, where the oracle gains anything."""
    ours, whole = (differences(scores, arm, 'constant', parts) for arm in (name, 'oracle'))
    return {kind: bootstrap_share(ours[kind], whole[kind]) for kind in measure.DEGRADATIONS if ours and whole}


def origin(work: Path) -> dict[str, Any]:
    """Machine of the report; minutes and commits of each run."""
    minutes: dict[str, float] = {}
    commits: dict[str, list[str]] = {}
    hours = work / 'hours.tsv'
    for line in hours.read_text(encoding='utf-8').splitlines() if hours.exists() else []:
        name, spent, commit = line.split('\t')
        minutes[name] = round(minutes.get(name, 0.0) + float(spent), 1)
        commits[name] = sorted({*commits.get(name, []), commit})
    return {'machine': machine(), 'minutes': minutes, 'commits': commits}


def machine() -> str:
    """Names cores and GPU."""
    info = Path('/proc/cpuinfo')
    models = re.findall(r'model name\s*: (.*)', info.read_text(encoding='utf-8')) if info.exists() else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'
    return f'{os.cpu_count()} CPU cores ({models[0] if models else "unknown"}), {gpu}'


def curves(work: Path) -> dict[str, list[list[float]]]:
    """Training loss of each SR network, averaged over 200 iterations."""
    result = {}
    for name in ARMS:
        log = work / f'sr_{name}.log'
        if log.exists() and is_done(work, f'sr_{name}'):
            found = re.findall(r'iter:\s*([\d,]+),.*l_pix: (\S+)', log.read_text(encoding='utf-8'))
            points = [(int(step.replace(',', '')), float(loss)) for step, loss in found]
            grouped = [points[i : i + 4] for i in range(0, len(points) - 3, 4)]
            result[name] = [[group[-1][0], round(float(np.mean([loss for _, loss in group])), 5)] for group in grouped]
    return result


def keep_logs(work: Path, target: Path) -> None:
    """Copies the lines of progress of all logs, without paths."""
    target.mkdir(exist_ok=True)
    for log in (log for log in sorted(work.glob('*.log')) if is_done(work, log.stem)):
        lines = [line for line in log.read_text(encoding='utf-8').splitlines() if 'iter:' in line]
        (target / f'{log.stem}.txt').write_text('\n'.join(lines[3::4]) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
