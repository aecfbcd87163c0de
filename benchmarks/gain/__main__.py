"""Does a degradation prior help, does it harm where nobody trained, and does its gain last?

    python -m benchmarks.gain --report                                      # tables and figure from the kept results
    python -m benchmarks.gain --photos data/photos --sets data/sets         # all of it, a day on two cores
    python -m benchmarks.gain --photos data/photos --sets data/sets --minutes 60   # for an hour; the next call resumes
    python -m benchmarks.gain --photos data/photos --smoke                  # a few steps of everything, minutes
    python -m benchmarks.gain --photos data/photos --only sr_realesrgan_constant_0

`--photos` holds train/ and heldout/, `--sets` RealSR100, Set14SE, and GT of Set14, B100 and Urban100. Pairs are made
ahead, then estimators and SR networks are trained on them, several jobs at a time with one thread each. Every job
resumes. Results are written to benchmarks/results/gain_measured.json (each photo) and prior_summary.json, and the
tables and the figure to docs/prior.md and docs/notebook_effective.md; with --smoke or --work to the folder of the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.gain.estimators import load_estimator, train_estimator
from benchmarks.gain.measure import GRADE_DRAWS, load_photos, make_graded
from benchmarks.gain.networks import train_network
from benchmarks.gain.pairs import Source, make_pool
from benchmarks.gain.report import collect, report
from benchmarks.gain.results import measure_estimator, measure_network, write
from benchmarks.gain.settings import (
    BEYOND,
    ESTIMATORS,
    RECIPES,
    RUNS,
    SMOKE,
    SMOKE_ESTIMATORS,
    SMOKE_RUNS,
    Sizes,
    parts_of,
)
from benchmarks.jobs import DEVICES, ROOT, deadline_after, run_all, run_process

RESULTS, DOCS = ROOT / 'benchmarks' / 'results', ROOT / 'docs'


class Job(NamedTuple):
    """A step of the experiment: its file when it is done, the jobs that it needs, and what does it."""

    done: str
    needs: tuple[str, ...]
    work: Callable[[], None]


def main() -> None:
    """Runs the jobs that are left, or one of them."""
    options = parse()
    if options.photos is None and not options.list:
        report_kept()
        return
    work = Path(options.work or f'experiments/gain{"_smoke" if options.smoke else ""}').resolve()
    work.mkdir(parents=True, exist_ok=True)
    jobs = all_jobs(options, work, SMOKE if options.smoke else Sizes())
    if options.list:
        for name, job in jobs.items():
            print(f'{"done" if (work / job.done).exists() else "    "}  {name}')
        return
    if options.job:
        torch.set_num_threads(1)
        jobs[options.job].work()
        return
    unknown = [name for name in options.only or () if name not in jobs]
    if unknown:
        sys.exit(f"--only: expected names of jobs, got '{unknown[0]}'; --list shows them")
    if not options.report:
        run_left(jobs, options.only or [*jobs], work, options)
    left = [name for name, job in jobs.items() if not (work / job.done).exists()]
    if left and not options.report:
        print(f'{len(left)} jobs are left; --report writes what is measured so far')
        return
    if options.sets:
        shuffled = ['shuffle' in line for line in _degradations(Path(options.sets))]
        write(work / 'measured' / 'shuffled.json', shuffled)
    usual = options.work is None and not options.smoke
    results, docs = (RESULTS, DOCS) if usual or options.publish else (work, work)
    kept = collect(work)
    (results / 'gain_measured.json').write_text(json.dumps(kept) + '\n', encoding='utf-8')
    report(kept, results, docs)


def report_kept() -> None:
    """Rebuilds summary, tables and figure from the kept measurements."""
    kept = RESULTS / 'gain_measured.json'
    if not kept.exists():
        sys.exit(f'{kept}: expected the kept measurements, found none; train and measure with --photos')
    report(json.loads(kept.read_text(encoding='utf-8')), RESULTS, DOCS)


def _degradations(sets: Path) -> list[str]:
    return (sets / 'Set14SE' / 'degradations.txt').read_text(encoding='utf-8').splitlines()


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.gain', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photos', type=os.path.abspath, help='folder with train/ and heldout/')
    parser.add_argument('--sets', type=os.path.abspath, help='folder of the test sets')
    parser.add_argument('--work', type=os.path.abspath, help='folder for pairs and weights (experiments/gain)')
    parser.add_argument('--jobs', type=int, default=2, help='jobs at a time, each with one thread (2)')
    parser.add_argument('--workers', type=int, default=1, help='processes of each job that makes pairs (1)')
    parser.add_argument('--device', default='cpu', choices=DEVICES, help='where estimators are trained (cpu)')
    parser.add_argument('--minutes', type=float, help='stop after so many; the same command resumes')
    parser.add_argument('--only', nargs='+', metavar='JOB', help='these jobs and what they need')
    parser.add_argument('--job', help=argparse.SUPPRESS)
    parser.add_argument('--report', action='store_true', help='train and measure nothing, write what is measured')
    parser.add_argument('--publish', action='store_true', help='with --work: write to benchmarks/results and docs')
    parser.add_argument('--list', action='store_true', help='list all jobs, and which are done')
    parser.add_argument('--smoke', action='store_true', help='a few steps of everything, to check that all works')
    return parser.parse_args()


def all_jobs(options: argparse.Namespace, work: Path, sizes: Sizes) -> dict[str, Job]:
    """All jobs in the order in which they are done."""
    photos, sets = Path(options.photos or '.'), Path(options.sets) if options.sets else None
    pools, graded, estimators = work / 'pools', work / 'graded', work / 'estimators'
    chosen_runs, chosen = (SMOKE_RUNS, SMOKE_ESTIMATORS) if options.smoke else (RUNS, tuple(ESTIMATORS))
    jobs: dict[str, Job] = {}
    made = {name: (block, sizes.lq, sizes.pairs) for name, block in RECIPES.items()}
    made |= {f'beyond_{name}': (block, sizes.beyond, 0) for name, block in BEYOND.items()}
    for name, arguments in made.items():
        jobs[f'pairs_{name}'] = Job(
            f'pools/{name}/done', (),
            lambda name=name, arguments=arguments: make_pool(
                pools / name, arguments[0], Source(load_photos(photos / 'train')), *arguments[1:], 1,
                workers=options.workers,
            ),
        )  # fmt: skip
    draws = 1 if options.smoke else GRADE_DRAWS
    jobs['graded_heldout'] = Job(
        'graded/heldout/jpeg_out/done', (),
        lambda: make_graded(graded / 'heldout', load_photos(photos / 'heldout'), draws, workers=options.workers),
    )  # fmt: skip
    if sets:
        jobs['graded_sets'] = Job(
            'graded/sets/jpeg_out/done', (),
            lambda: make_graded(graded / 'sets', _set_photos(sets), min(draws, 6), workers=options.workers),
        )  # fmt: skip
    for training in chosen:
        needs = (*(f'pairs_{part}' for part in parts_of(training)), *(f'pairs_beyond_{name}' for name in BEYOND))
        jobs[f'estimator_{training}'] = Job(
            f'estimators/{training}/weights.pth', needs,
            lambda training=training: train_estimator(
                estimators / training, pools, training, groups_of(photos / 'train'), sizes, options.device
            ),
        )  # fmt: skip
    for run in chosen_runs:
        estimated = (f'estimator_{run.estimator}',) if run.prior == 'estimated' else ()
        jobs[f'sr_{run.name}'] = Job(
            f'networks/{run.name}/weights.pth', (*(f'pairs_{part}' for part in parts_of(run.recipe)), *estimated),
            lambda run=run: train_network(work / 'networks' / run.name, pools, estimators, run, sizes),
        )  # fmt: skip
    given = ('graded_heldout', *(('graded_sets',) if sets else ()))
    for training in chosen:
        jobs[f'measure_estimator_{training}'] = Job(
            f'measured/estimator_{training}.json', (*given, f'estimator_{training}'),
            lambda training=training: measure_estimator(
                work / 'measured' / f'estimator_{training}.json', load_estimator(estimators / training), graded
            ),
        )  # fmt: skip
    held = lambda: load_photos(photos / 'heldout')  # noqa: E731
    jobs['measure_bicubic'] = Job(
        'measured/bicubic.json', given,
        lambda: measure_network(work / 'measured' / 'bicubic.json', None, work, held(), sets, sizes),
    )  # fmt: skip
    for run in chosen_runs:
        jobs[f'measure_{run.name}'] = Job(
            f'measured/{run.name}.json', (*given, f'sr_{run.name}'),
            lambda run=run: measure_network(
                work / 'measured' / f'{run.name}.json', run, work, held(), sets, sizes
            ),
        )  # fmt: skip
    return jobs


def groups_of(folder: Path) -> np.ndarray:
    """The group of each photo: crops of one photo are named NAME_c1, NAME_c2."""
    stems = [path.stem for path in sorted(folder.iterdir()) if path.suffix in ('.png', '.jpg', '.bmp')]
    names = [stem[:-3] if stem[-3:-1] == '_c' else stem for stem in stems]
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names])


def _set_photos(sets: Path) -> list[np.ndarray]:
    return [photo for name in ('Set14', 'B100', 'Urban100') for photo in load_photos(sets / name / 'GTmod12', 256)]


def run_left(jobs: dict[str, Job], wanted: list[str], work: Path, options: argparse.Namespace) -> None:
    """Runs jobs and what they need, each in a process of its own; none starts after the deadline."""
    deadline, logs = deadline_after(options.minutes), work / 'logs'

    def run(name: str) -> bool:
        arguments = ['-m', 'benchmarks.gain', *sys.argv[1:], '--job', name]
        return run_process(name, arguments, logs / f'{name}.log', deadline)

    needs = {name: jobs[name].needs for name in with_needs(jobs, wanted)}
    failed = run_all(needs, lambda name: (work / jobs[name].done).exists(), run, options.jobs, deadline)
    if failed:
        sys.exit(f'failed, or needs a job that failed: {", ".join(failed)}; see the logs in {logs}')


def with_needs(jobs: dict[str, Job], wanted: list[str]) -> list[str]:
    """The wanted jobs, each after what it needs."""
    found: dict[str, None] = {}
    for name in wanted:
        found.update(dict.fromkeys([*with_needs(jobs, [*jobs[name].needs]), name]))
    return [*found]


if __name__ == '__main__':
    main()
