"""How fast FusedDAT-light is: ratios to its published form and to another commit, all in one run.

    git worktree add ../before COMMIT
    python -m benchmarks.speed --before ../before     # 15 minutes on two idle cores
    python -m benchmarks.speed --quick                # 2 minutes: one size, the published form only
    python -m benchmarks.speed --gpu --before ../before

Every version runs in a process of its own; they take turns, A B C A B C ..., and medians are compared, so that other
programs slow all alike. ``plain`` is the published form with this project's parameters (plain.py); ``before`` is the
package in the folder of ``--before``. Ratios are to ``before`` if there is one, otherwise to ``plain``. The last line
is JSON; keys with ``_cpu_seconds`` compare seconds of the CPU, which a busy machine changes less than the clock.

``train_memory_ratio`` is the memory of all tensors that a step keeps for its backward pass, over that of ``before``;
``prior_overhead`` the largest share that estimator and fusions have in an enlargement of 256 x 256;
``data_share`` the time for degrading a batch over that of a training step, left out without the section ``training``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.prior.train import machine
from benchmarks.speed import gpu, sections
from benchmarks.speed.draw import draw_cost
from benchmarks.speed.forms import Form, Report, baseline, open_forms, take_turns
from benchmarks.start_up import measure as start_up

CASES = ((64, 1), (128, 1), (256, 1), (64, 8))  #: sides and batch sizes of inference
SIDES = (64, 128, 256)
TRAIN_SIZE, TRAIN_BATCH = 64, 2
SECTIONS = ('inference', 'differences', 'training', 'memory', 'overhead', 'products', 'data', 'start-up')
CPU_ONLY = ('quick', 'repeats', 'sections', 'sides', 'plot')  #: options that --gpu does not obey
GPU_ONLY = ('profile', 'compile_limit', 'peak')


def main() -> None:
    """Measures and prints a table, then one line of JSON."""
    options = parse()
    if options.device != 'cpu':
        if not torch.cuda.is_available():
            raise SystemExit('--gpu: torch finds no CUDA device; leave it out')
        gpu.main(options)
        return
    forms = open_forms(options)
    print(f'{machine()}, {cpu_types()}, {options.threads} threads, torch {torch.__version__}')
    report = Report(baseline(forms), options.save)
    cost: dict[str, dict[int, float]] = {}
    runs: dict[str, Callable[[], object]] = {
        'inference': lambda: cost.update(inference(forms, report, options)),
        'differences': lambda: sections.differences(forms, report),
        'training': lambda: training(forms, report, options),
        'memory': lambda: sections.memory(forms, report, TRAIN_SIZE, TRAIN_BATCH),
        'overhead': lambda: sections.overhead(forms['now'], report, 1 if options.quick else 3),
        'products': lambda: sections.matrix_products(forms['now'], report),
    }
    try:
        for name in options.sections:
            if name in runs:
                runs[name]()
    finally:
        for form in forms.values():
            form.end()
    if 'data' in options.sections:
        step = report.result.get('step_seconds')
        sections.data(report, options.device, 4 * TRAIN_SIZE, TRAIN_BATCH, step)
    if 'start-up' in options.sections:
        report.result |= start_up(3)
    if options.plot:
        draw_cost(cost, Path(options.plot))
    report.save()
    print(report.line())


def cpu_types() -> str:
    """Returns which fast instructions for bf16 the CPU has."""
    info = Path('/proc/cpuinfo')
    flags = set(info.read_text(encoding='utf-8').split()) if info.exists() else set()
    return ', '.join(flag for flag in ('avx512f', 'avx512_bf16', 'amx_bf16') if flag in flags) or 'no AVX-512'


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.speed', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--before', type=os.path.abspath, help='folder with another commit of this repository')
    parser.add_argument('--quick', action='store_true', help='one size, three repeats, no start-up')
    parser.add_argument('--gpu', dest='device', action='store_const', const='cuda', default='cpu', help='on CUDA')
    parser.add_argument('--threads', type=_count, default=torch.get_num_threads(), help='threads of torch (all cores)')
    parser.add_argument('--repeats', type=_count, help='runs of which the median counts (7)')
    parser.add_argument('--plot', help='file of a plot of cost against size, such as docs/speed.png')
    parser.add_argument('--sections', nargs='+', choices=SECTIONS, help='what to measure on the CPU (everything)')
    parser.add_argument('--sides', type=int, nargs='+', choices=SIDES, help='sides of inference (all)')
    parser.add_argument('--save', help='file that gets the last line after every section')
    parser.add_argument('--profile', help='with --gpu: file of the slowest kernels')
    parser.add_argument('--compile-limit', type=float, help='with --gpu: seconds of compilation (300)')
    parser.add_argument('--peak', type=float, nargs=2, metavar=('FP32', 'BF16'), help='with --gpu: TFLOP/s (67 989)')
    options = parser.parse_args(arguments)
    _refuse_what_has_no_effect(options, parser)
    options.repeats = options.repeats or (3 if options.quick else 7)
    options.sections = options.sections or [name for name in SECTIONS if name != 'start-up' or not options.quick]
    sides = options.sides or ([64] if options.quick else SIDES)
    options.cases = [case for case in (CASES[:3] if options.quick else CASES) if case[0] in sides]
    options.compile_limit = 300 if options.compile_limit is None else options.compile_limit
    options.peak = options.peak or (67, 989)
    return options


def _refuse_what_has_no_effect(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends the program with one line if an option would be ignored."""
    on_gpu = options.device != 'cpu'
    for name in CPU_ONLY if on_gpu else GPU_ONLY:
        value = getattr(options, name)
        if value is not None and value is not False:  # 0 is a value
            parser.error(f'--{name.replace("_", "-")}: only {"without" if on_gpu else "with"} --gpu; leave it out')
    for name in ('sides', 'plot'):
        if getattr(options, name) and options.sections and 'inference' not in options.sections:
            parser.error(f'--{name}: only for the section inference; add it to --sections or leave --{name} out')


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number from 1, got {text!r}')
    return int(text)


def inference(forms: dict[str, Form], report: Report, options: argparse.Namespace) -> dict[str, dict[int, float]]:
    """Times forward passes; returns seconds by form and side, for one image."""
    cost: dict[str, dict[int, float]] = {}
    for size, batch in options.cases:
        arguments = {'what': 'infer', 'size': size, 'batch': batch}
        runs = {name: (form, arguments) for name, form in forms.items()}
        runs['now, bf16'] = (forms['now'], {**arguments, 'amp': True})
        large = size * size * batch > 128 * 128
        times = take_turns(runs, 3 if large else options.repeats)
        keys = {'now': 'cpu_fp32_speedup', 'now, bf16': 'cpu_bf16_speedup'}
        suffix = '' if (size, batch) == CASES[0] else f'_{size}px_batch{batch}'
        report.add(f'inference, {batch} x {size} x {size}', times, {key: name + suffix for key, name in keys.items()})
        if batch == 1:
            for name, time in times.items():
                cost.setdefault(name, {})[size] = time['wall']
        for form in forms.values():
            form('forget')
    return cost


def training(forms: dict[str, Form], report: Report, options: argparse.Namespace) -> None:
    """Times forward and backward passes."""
    arguments = {'what': 'train', 'size': TRAIN_SIZE, 'batch': TRAIN_BATCH}
    runs = {name: (form, arguments) for name, form in forms.items()}
    runs['now, bf16'] = (forms['now'], {**arguments, 'amp': True})
    if not options.quick:
        for value in (False, True):
            runs[f'now, use_chk {value}'] = (forms['now'], {**arguments, 'changes': {'use_chk': value}})
        for name in {report.old, 'now'}:
            runs[f'{name}, pos_dim 8'] = (forms[name], {**arguments, 'changes': {'pos_dim': 8}})
    times = take_turns(runs, min(options.repeats, 5))
    keys = {'now': 'train_speedup', 'now, bf16': 'train_bf16_speedup'}
    report.add(f'training step, {TRAIN_BATCH} x {TRAIN_SIZE} x {TRAIN_SIZE}', times, keys)
    report.result['step_seconds'] = times['now']['wall']


if __name__ == '__main__':
    main()
