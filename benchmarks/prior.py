"""Does the prior earn its cost? Trains readers and SR networks that differ in their prior alone, and compares them.

    python benchmarks/prior.py --photos data/photos --sets data/sets          # all of it, some hours on two cores
    python benchmarks/prior.py --photos data/photos --minutes 60              # as far as an hour goes; go on later
    python benchmarks/prior.py --photos data/photos --only sr_oracle          # one run
    python benchmarks/prior.py --photos data/photos --sets data/sets --report # measure, write the tables
    python benchmarks/prior.py --photos data/photos --smoke                   # a few steps of the main runs
    python benchmarks/prior.py --photos data/photos --sets data/sets --gpu --clip ViT-B-32 laion2b_s34b_b79k.safetensors

`--photos` holds train/ and heldout/. All training goes through `basicsr train`; a run goes on where it was cut off,
and one that is done is not run again. What is measured is kept beside the weights. The report writes
benchmarks/results/prior.json, its folder prior_logs, docs/prior.png, and the tables in docs/prior.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from figures import bootstrap

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
SEEDS = {'constant': ('constant', 'constant_1'), 'oracle': ('oracle', 'oracle_1'), 'adaptor': ('adaptor', 'adaptor_1')}
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
    work.mkdir(parents=True, exist_ok=True)
    prepare(Path(options.photos), work)
    if not options.report:
        run_all(runs, work, options.jobs, budget(options.minutes))
    os.chdir(work)
    result = collect(options, work)
    if options.smoke:
        print(json.dumps({key: result[key] for key in ('gain', 'reading')}, indent=1))
        return
    RESULTS.mkdir(exist_ok=True)
    keep_logs(work)
    (RESULTS / 'prior.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    write_tables(result, ROOT / 'docs' / 'prior.md')
    draw_curves(result, ROOT / 'docs' / 'prior.png')


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', required=True, type=os.path.abspath, help='folder with train/ and heldout/')
    parser.add_argument('--sets', type=os.path.abspath, help='folder with Set14, B100 and Urban100, each with GTmod12/')
    parser.add_argument('--work', default='experiments/prior', help='folder for runs (experiments/prior)')
    parser.add_argument('--jobs', type=int, default=2, help='runs at a time, each with one thread')
    parser.add_argument('--minutes', type=float, help='stop training after so many; the same command goes on')
    parser.add_argument('--only', nargs='+', metavar='RUN', help='train these runs alone, in this order')
    parser.add_argument('--list', action='store_true', help='name all runs, and which are done')
    parser.add_argument('--report', action='store_true', help='train nothing')
    parser.add_argument('--smoke', action='store_true', help='a few steps of the main runs, to see that all works')
    parser.add_argument('--clip', nargs=2, metavar=('NAME', 'WEIGHTS'), help='a CLIP of open_clip and its weights file')
    parser.add_argument('--gpu', action='store_true', help='train on the GPU, one run at a time')
    parser.add_argument(
        '--reader-steps', type=int, default=2400, help='steps of 32 crops, the adaptor of the arms (2400)'
    )
    parser.add_argument('--lever-steps', type=int, default=1000, help='steps of 32 crops, other readers (1000)')
    parser.add_argument('--steps', type=int, default=2000, help='steps of 16 patches, SR networks (2000)')
    options = parser.parse_args()
    if options.smoke:
        options.work += '_smoke'
        options.reader_steps = options.lever_steps = options.steps = 40
        measure.DRAWS = measure.PROBE_DRAWS = 1
    if options.clip:
        prior_runs.use_clip(options.clip[0], os.path.abspath(options.clip[1]))
    if options.gpu:
        options.jobs = 1
    for part in ('train', 'heldout'):
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
        runs[f'sr_{name}'] = stage2(name, options.steps), needs
    asked = options.only or (SMOKE if options.smoke else list(runs))
    unknown = [name for name in asked if name not in runs]
    if unknown:
        sys.exit(f"--only: no run called '{unknown[0]}'; --list names them")
    if options.gpu:
        for opt, _ in runs.values():
            opt['num_gpu'] = 1
    return {name: runs[name] for name in asked}


def collect(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Measures all runs that are done."""
    folders = {'heldout': f'{options.photos}/heldout', 'whole': f'{options.photos}/heldout'}
    if options.sets:
        folders |= {name: f'{options.sets}/{name}/GTmod12' for name in ('Set14', 'B100', 'Urban100')}
    readings, scores = {}, {}
    for name in READERS:
        if is_done(work, f'reader_{name}'):
            weights = Path(f'experiments/reader_{name}/models/net_da_latest.pth')
            kept = Path(f'measured/reader_{name}.json')
            args = (name, folders['heldout'], f'{options.photos}/train')
            readings[name] = measure.kept(kept, weights, lambda args=args: measure.reading(*args))
            print(f'reader {name}: {readings[name]["64"]}', flush=True)
    for name in ('bicubic', *ARMS):
        done = name == 'bicubic' or is_done(work, f'sr_{name}')
        if done:
            weights = None if name == 'bicubic' else Path(f'experiments/sr_{name}/models/net_g_latest.pth')
            for part, folder in folders.items():
                kept = Path(f'measured/sr_{name}_{part}.json')
                args = (name, part, folder)
                found = measure.kept(kept, weights, lambda args=args: measure.restoring(*args))
                scores.setdefault(name, {}).update(found)
            print(
                f'arm {name}: ' + ', '.join(f'{k} {np.mean(v["psnr"]):.2f}' for k, v in scores[name].items()),
                flush=True,
            )
    costs = measure.kept(Path('measured/cost.json'), None, measure.cost)
    return {
        'settings': {key: getattr(options, key) for key in ('reader_steps', 'lever_steps', 'steps')},
        'origin': origin(work),
        'gain': {name: gains(scores, name, 'constant', ('heldout',)) for name in ARMS if name in scores},
        'gain_ssim': {name: gains(scores, name, 'constant', ('heldout',), 'ssim') for name in ARMS if name in scores},
        'gain_whole': {name: gains(scores, name, 'constant', ('whole',)) for name in ARMS if name in scores},
        'gain_sets': {name: gains(scores, name, 'constant', tuple(folders)[2:]) for name in ARMS if name in scores},
        'gain_by_fusion': {
            name: gains(scores, name, f'{name.split("_")[0]}_constant', ('heldout',))
            for name in ('residual_oracle', 'paper_oracle')
            if name in scores and f'{name.split("_")[0]}_constant' in scores
        },
        'psnr': {
            name: {kind: round(float(np.mean(v['psnr'])), 3) for kind, v in one.items()} for name, one in scores.items()
        },
        'ssim': {
            name: {kind: round(float(np.mean(v['ssim'])), 4) for kind, v in one.items()} for name, one in scores.items()
        },
        'reading': readings,
        'cost': costs,
        'curves': curves(work),
    }


def gains(
    scores: dict[str, Any], name: str, against: str, parts: tuple[str, ...], metric: str = 'psnr'
) -> dict[str, list[float]]:
    """Gain over another arm with its interval, by degradation; both averaged over the seeds there are."""
    if not parts or against not in scores:
        return {}
    result = {}
    for kind in (*measure.DEGRADATIONS, 'realesrgan'):
        sides = []
        for arm in (name, against):
            seeds = [seed for seed in SEEDS.get(arm, (arm,)) if seed in scores]
            values = [np.concatenate([scores[seed][f'{part}/{kind}'][metric] for part in parts]) for seed in seeds]
            sides.append(np.mean(values, axis=0))
        result[kind] = bootstrap(sides[0] - sides[1], digits=3 if metric == 'psnr' else 5)
    return result


def origin(work: Path) -> dict[str, Any]:
    """Commit, machine and minutes of each run."""
    commit = subprocess.run(
        ['git', 'rev-parse', '--short', 'HEAD'], cwd=ROOT, capture_output=True, text=True, check=False
    )
    minutes: dict[str, float] = {}
    hours = work / 'hours.tsv'
    for line in hours.read_text(encoding='utf-8').splitlines() if hours.exists() else []:
        name, spent = line.split('\t')
        minutes[name] = round(minutes.get(name, 0.0) + float(spent), 1)
    return {'commit': commit.stdout.strip(), 'machine': f'{os.cpu_count()} CPU cores, no GPU', 'minutes': minutes}


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


def keep_logs(work: Path) -> None:
    """Copies the lines of progress of all logs, without paths."""
    target = RESULTS / 'prior_logs'
    target.mkdir(exist_ok=True)
    for log in (log for log in sorted(work.glob('*.log')) if is_done(work, log.stem)):
        lines = [line for line in log.read_text(encoding='utf-8').splitlines() if 'iter:' in line]
        (target / f'{log.stem}.txt').write_text('\n'.join(lines[3::4]) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
