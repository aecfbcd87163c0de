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
``data_share`` the time for degrading a batch over that of a training step.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.prior.train import machine
from benchmarks.speed import gpu
from benchmarks.speed.draw import draw_cost
from benchmarks.speed.forms import Form, Report, take_turns
from benchmarks.start_up import measure as start_up

ROOT = Path(__file__).resolve().parents[2]
CASES = ((64, 1), (128, 1), (256, 1), (64, 8))  #: sides and batch sizes of inference
TRAIN_SIZE, TRAIN_BATCH = 64, 2
SECTIONS = ('inference', 'differences', 'training', 'memory', 'overhead', 'products', 'data', 'start-up')


def main() -> None:
    """Measures and prints a table, then one line of JSON."""
    options = parse()
    if options.device != 'cpu':
        gpu.main(options)
        return
    trees = {'before': options.before, 'plain': ROOT, 'now': ROOT}
    forms = {name: Form(name, Path(tree), options) for name, tree in trees.items() if tree}
    print(f'{machine()}, {cpu_types()}, {options.threads} threads, torch {torch.__version__}')
    report = Report('before' if 'before' in forms else 'plain', options.save)
    cost: dict[str, dict[int, float]] = {}
    sections: dict[str, Callable[[], object]] = {
        'inference': lambda: cost.update(inference(forms, report, options)),
        'differences': lambda: differences(forms, report),
        'training': lambda: training(forms, report, options),
        'memory': lambda: memory(forms, report),
        'overhead': lambda: overhead(forms['now'], report, options),
        'products': lambda: matrix_products(forms['now'], report),
    }
    try:
        for name in options.sections:
            if name in sections:
                sections[name]()
    finally:
        for form in forms.values():
            form.end()
    if 'data' in options.sections:
        data_time(report, options)
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
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='threads of torch (all cores)')
    parser.add_argument('--repeats', type=int, default=None, help='runs of which the median counts (7)')
    parser.add_argument('--plot', help='file of a plot of cost against size, such as docs/speed.png')
    parser.add_argument('--sections', nargs='+', choices=SECTIONS, help='what to measure on the CPU (everything)')
    parser.add_argument('--sides', type=int, nargs='+', help='sides of inference (64 128 256)')
    parser.add_argument('--save', help='file that gets the last line after every section')
    parser.add_argument('--profile', help='with --gpu: file of the slowest kernels')
    parser.add_argument('--compile-limit', type=float, default=300, help='with --gpu: seconds of compilation (300)')
    parser.add_argument('--peak', type=float, nargs=2, default=(67, 989), metavar=('FP32', 'BF16'), help='TFLOP/s')
    options = parser.parse_args(arguments)
    options.repeats = options.repeats or (3 if options.quick else 7)
    options.sections = options.sections or [name for name in SECTIONS if name != 'start-up' or not options.quick]
    sides = options.sides or ([64] if options.quick else [64, 128, 256])
    options.cases = [case for case in (CASES[:3] if options.quick else CASES) if case[0] in sides]
    return options


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


def differences(forms: dict[str, Form], report: Report) -> None:
    """Compares outputs of the forms, and of bf16 with fp32."""
    with tempfile.TemporaryDirectory() as folder:

        def output(form: Form, **changes: Any) -> torch.Tensor:
            path = f'{folder}/out.pt'
            form('save', path=path, what='infer', size=100, batch=1, **changes)
            return torch.load(path)

        now, old, half = output(forms['now']), output(forms[report.old]), output(forms['now'], amp=True)
    difference = float((now - old).abs().max())
    psnr = -10 * math.log10(float((now - half).square().mean()))
    text = f'Largest difference from {report.old}: {difference:.1e}; bf16 has {psnr:.1f} dB of the fp32 output'
    report.note(text, inference_max_abs_diff=difference, bf16_psnr=psnr)


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


def memory(forms: dict[str, Form], report: Report) -> None:
    """Compares what a training step keeps for its backward pass."""
    found = {name: form('memory', size=TRAIN_SIZE, batch=TRAIN_BATCH) for name, form in forms.items()}
    ratio = {key: found['now'][key] / found[report.old][key] for key in ('kept', 'peak')}
    shown = ', '.join(f'{name} {one["kept"]:.0f} MiB (peak {one["peak"]:.0f})' for name, one in found.items())
    text = f'Kept for the backward pass: {shown}'
    report.note(text, train_memory_ratio=ratio['kept'], train_peak_memory_ratio=ratio['peak'])


def overhead(form: Form, report: Report, options: argparse.Namespace) -> None:
    """Measures the share of estimator and fusions in an enlargement."""
    shares = {}
    for name in ('FusedDAT-light', 'PlainResNet'):
        found = [form('overhead', name=name, size=256) for _ in range(1 if options.quick else 3)]
        taken = {key: statistics.median(one[key] for one in found) for key in found[0]}
        shares[name] = (taken['estimator'] + taken['fusion']) / (taken['estimator'] + taken['net'])
        shown = ', '.join(f'{key} {1000 * value:.0f} ms' for key, value in taken.items())
        print(f'{name} at 256 x 256: {shown}; the prior is {shares[name]:.1%}', flush=True)
    report.result |= {'prior_overhead': max(shares.values()), 'prior_overhead_light': shares['FusedDAT-light']}


def data_time(report: Report, options: argparse.Namespace) -> None:
    """Compares the degradation of a batch, on the device of the step, with the step."""
    from benchmarks.degradation.speed import measure, ways

    chosen = argparse.Namespace(size=4 * TRAIN_SIZE, repeats=3, device=options.device, threads=options.threads)
    seconds = measure({'batched': ways('semantic', TRAIN_BATCH, chosen)['batched']}, 3)[0]['batched']
    share = seconds / report.result.get('step_seconds', math.nan)
    report.note(f'Degrading a batch takes {1000 * seconds:.0f} ms, {share:.1%} of a step', data_share=share)


def matrix_products(form: Form, report: Report) -> None:
    """Measures products of matrices, the limit of the CPU."""
    found = form('products')
    report.note(f'Matrix products: {found["fp32"]:.0f} GFLOP/s in fp32, {found["bf16"]:.0f} in bf16', **found)


if __name__ == '__main__':
    main()
