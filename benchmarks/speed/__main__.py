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
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO, cast

import torch

from benchmarks.prior.train import machine
from benchmarks.speed.draw import draw_cost
from benchmarks.start_up import measure as start_up

ROOT = Path(__file__).resolve().parents[2]
CASES = ((64, 1), (128, 1), (256, 1), (64, 8))  #: sides and batch sizes of inference
TRAIN_SIZE, TRAIN_BATCH = 64, 2
Times = dict[str, dict[str, float]]


class Form:
    """A process with one version of the network."""

    def __init__(self, name: str, tree: Path, options: argparse.Namespace) -> None:
        self.name = name
        environment = {**os.environ, 'OMP_NUM_THREADS': str(options.threads)}
        arguments = [str(tree), 'plain' if name == 'plain' else 'own', options.device, str(options.threads)]
        worker = str(Path(__file__).with_name('worker.py'))
        self._process = subprocess.Popen(
            [sys.executable, worker, *arguments], stdin=-1, stdout=-1, text=True, env=environment, cwd=tree
        )

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Runs a command of the worker."""
        sent, answers = cast(TextIO, self._process.stdin), cast(TextIO, self._process.stdout)
        sent.write(json.dumps({'do': do, **arguments}) + '\n')
        sent.flush()
        for line in answers:
            if line.startswith('='):
                answer = json.loads(line[1:])
                if 'error' in answer:
                    raise RuntimeError(f'{self.name}: {answer["error"]}')
                return answer['result']
        raise RuntimeError(f'{self.name}: the process has ended')

    def end(self) -> None:
        """Ends the process."""
        self._process.communicate()


def take_turns(runs: dict[str, tuple[Form, dict[str, Any]]], repeats: int) -> Times:
    """Returns the median seconds of each run, by the clock and of the CPU; all run alternately."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, (form, arguments) in runs.items():
            taken[name].append(form('time', **arguments))
    return {
        name: {key: statistics.median(one[key] for one in values) for key in ('wall', 'cpu')}
        for name, values in taken.items()
    }


class Report:
    """The table and the last line."""

    def __init__(self, old: str) -> None:
        self.old = old
        self.result: dict[str, Any] = {}
        print('| measured | form | seconds | speed | by CPU seconds |\n| --- | --- | --- | --- | --- |')

    def add(self, what: str, times: Times, keys: dict[str, str]) -> None:
        """Prints rows, with the speed over the old form; puts speeds of some forms in the last line."""
        old = times[self.old]
        for name, time in times.items():
            speed, by_cpu = (old[key] / time[key] for key in ('wall', 'cpu'))
            print(f'| {what} | {name} | {time["wall"]:.3f} | {speed:.2f}x | {by_cpu:.2f}x |', flush=True)
            if name in keys:
                self.result[keys[name]] = round(speed, 3)
                self.result[f'{keys[name]}_cpu_seconds'] = round(by_cpu, 3)

    def note(self, text: str, **values: float) -> None:
        """Prints a line and adds entries to the last one."""
        print(text, flush=True)
        self.result.update(values)


def main() -> None:
    """Measures and prints a table, then one line of JSON."""
    options = parse()
    trees = {'before': options.before, 'plain': ROOT, 'now': ROOT}
    forms = {name: Form(name, Path(tree), options) for name, tree in trees.items() if tree}
    old = 'before' if 'before' in forms else 'plain'
    print(f'{machine() if options.device == "cpu" else torch.cuda.get_device_name()}, {options.threads} threads')
    report = Report(old)
    try:
        cost = inference(forms, report, options)
        differences(forms, report)
        training(forms, report, options)
        memory(forms, report)
        overhead(forms['now'], report, options)
        if options.device == 'cpu':
            found = forms['now']('products')
            report.note(f'Matrix products: {found["fp32"]:.0f} GFLOP/s in fp32, {found["bf16"]:.0f} in bf16', **found)
        else:
            share_of_peak(forms['now'], report, cost, options)
    finally:
        for form in forms.values():
            form.end()
    data_time(report, options)
    if not options.quick:
        report.result |= start_up(3)
    if options.plot:
        draw_cost(cost, Path(options.plot))
    print(json.dumps({key: _rounded(value) for key, value in report.result.items()}))


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
    parser.add_argument('--peak', type=float, nargs=2, default=(67, 989), metavar=('FP32', 'BF16'), help='TFLOP/s')
    options = parser.parse_args(arguments)
    options.repeats = options.repeats or (3 if options.quick else 7)
    options.cases = CASES[:1] if options.quick else CASES
    return options


def inference(forms: dict[str, Form], report: Report, options: argparse.Namespace) -> dict[str, dict[int, float]]:
    """Times forward passes; returns seconds by form and side, for one image."""
    cost: dict[str, dict[int, float]] = {}
    for size, batch in options.cases:
        arguments = {'what': 'infer', 'size': size, 'batch': batch}
        runs = {name: (form, arguments) for name, form in forms.items()}
        runs['now, bf16'] = (forms['now'], {**arguments, 'amp': True})
        if options.device != 'cpu':
            runs['now, bf16, compiled'] = (forms['now'], {**arguments, 'amp': True, 'compiled': True})
        large = size * size * batch > 128 * 128
        times = take_turns(runs, 3 if large else options.repeats)
        keys = {'now': 'cpu_fp32_speedup', 'now, bf16': 'cpu_bf16_speedup', 'now, bf16, compiled': 'gpu_speedup'}
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
    if options.device != 'cpu':
        runs['now, bf16, compiled'] = (forms['now'], {**arguments, 'amp': True, 'compiled': True})
    times = take_turns(runs, min(options.repeats, 5))
    keys = {'now': 'train_speedup', 'now, bf16': 'train_bf16_speedup', 'now, bf16, compiled': 'gpu_train_speedup'}
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
    share = seconds / report.result['step_seconds']
    report.note(f'Degrading a batch takes {1000 * seconds:.0f} ms, {share:.1%} of a step', data_share=share)


def share_of_peak(form: Form, report: Report, cost: dict[str, dict[int, float]], options: argparse.Namespace) -> None:
    """Compares operations a second with the peak of the chip."""
    for name, peak in (('now', options.peak[0]), ('now, bf16, compiled', options.peak[1])):
        size = max(cost[name])
        share = form('operations', size=size, batch=1) / cost[name][size] / peak / 1e12
        report.note(f'{name}: {share:.1%} of {peak} TFLOP/s at {size} x {size}', **{f'share_of_peak_{name}': share})


def _rounded(value: Any) -> Any:
    return float(f'{value:.3g}') if isinstance(value, float) else value


if __name__ == '__main__':
    main()
