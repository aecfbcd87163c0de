"""The measurements of ``python -m benchmarks.speed --gpu``: FusedDAT-light on CUDA, in about eight minutes.

Variants are compiled one after another, the most important first, before anything is timed. What fails, or is not
compiled in time, is left out with a line; results are written to the file of ``--save`` after every section.
``gpu_speedup`` and ``gpu_train_speedup`` are bf16 compiled over the published form in fp32, eager, with torch's
defaults (TF32 in convolutions, not in matrix products); rows with TF32 allow it in products as well.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import sections
from benchmarks.speed.forms import ROOT, Arguments, Form, Report, Run, open_forms, take_turns

INFER = ((256, 1), (256, 8), (64, 1))  #: sides and batch sizes
TRAIN = ((64, 8), (64, 32))
HALF: Arguments = {'amp': True}
CHEAP: Arguments = {'changes': {'use_chk': 'cheap'}}  #: by default nothing is computed again on a GPU


def main(options: argparse.Namespace) -> None:
    """Measures and prints a table, then one line of JSON."""
    report = Report('plain', options.save)
    begin = time.perf_counter()
    tf32 = {'products': torch.backends.cuda.matmul.allow_tf32, 'convolutions': torch.backends.cudnn.allow_tf32}
    report.note(f'{torch.cuda.get_device_name()}, torch {torch.__version__}, TF32 allowed by default: {tf32}')
    forms = open_forms(options)
    ready: dict[str, Run] = {}
    try:
        _guarded(report, 'differences', lambda: sections.differences(forms, report))
        _guarded(
            report, 'memory', lambda: sections.memory(forms, report, *TRAIN[0], {'bf16': HALF, 'use_chk cheap': CHEAP})
        )
        _guarded(report, 'compilation', lambda: _compile(ready, report, options))
        for size, batch in TRAIN:
            _guarded(report, 'training', lambda: _training(forms, ready, report, (size, batch)))  # noqa: B023
        cost: dict[str, float] = {}
        for size, batch in INFER:
            found = _guarded(report, 'inference', lambda: _inference(forms, ready, report, (size, batch)))  # noqa: B023
            if (size, batch) == (256, 8):
                cost = found or {}
        _guarded(report, 'peak', lambda: _share_of_peak(forms, report, cost, options))
        _guarded(report, 'overhead', lambda: sections.overhead(forms['now'], report, 3))
        _guarded(report, 'data', lambda: _data(report, options))
        _guarded(report, 'profile', lambda: _profile(forms, ready, options))
    finally:
        for form in [*forms.values(), *(form for form, _ in ready.values())]:
            form.kill()
    report.note(f'{time.perf_counter() - begin:.0f} s in total')
    print(report.line())


def _guarded(report: Report, name: str, section: Callable[[], Any]) -> Any:
    """Runs a section; an error ends only this one."""
    start = time.perf_counter()
    try:
        return section()
    except Exception as error:  # noqa: BLE001  the others are measured
        report.note(f'{name}: {type(error).__name__}: {error}')
        return None
    finally:
        print(f'({name}: {time.perf_counter() - start:.0f} s)', flush=True)


def _variants() -> dict[str, Arguments]:
    """Returns what is compiled, the most important first."""
    size, batch = TRAIN[0]
    train = {'what': 'train', 'size': size, 'batch': batch, **HALF, 'compiled': 'default'}
    infer = {'what': 'infer', 'size': INFER[0][0], 'batch': 1, **HALF, 'compiled': 'default'}  # of any size
    graphs = f'now, bf16, compiled, CUDA graphs|train{batch}'
    return {
        f'now, bf16, compiled|train{batch}': train,
        'now, bf16, compiled|infer1': infer,
        graphs: {**train, 'compiled': 'reduce-overhead'},
        'now, bf16, compiled|infer8': {**infer, 'batch': 8},
        f'now, bf16, compiled|train{TRAIN[1][1]}': {**train, 'batch': TRAIN[1][1]},
    }


def _compile(ready: dict[str, Run], report: Report, options: argparse.Namespace) -> None:
    """Compiles one variant after another, each in a process of its own, until the limit of ``--compile-limit``."""
    end = time.perf_counter() + options.compile_limit
    for name, arguments in _variants().items():
        if time.perf_counter() >= end:
            print(f'Not compiled: {name}: no time left', flush=True)
            continue
        form = Form('now', ROOT, options)
        timer = threading.Timer(end - time.perf_counter(), form.kill)
        timer.start()
        try:
            seconds = form('prepare', **arguments)
            report.note(f'Compiled in {seconds:.0f} s: {name}', **{f'compile_seconds {name}': seconds})
            ready[name] = (form, arguments)
        except RuntimeError as error:
            reason = 'no time left' if time.perf_counter() >= end else error
            print(f'Not compiled: {name}: {reason}', flush=True)
            form.kill()
        finally:
            timer.cancel()


def _eager(forms: dict[str, Form], case: Arguments) -> dict[str, Run]:
    runs = {name: (form, case) for name, form in forms.items()}
    runs['plain, TF32'] = (forms['plain'], {**case, 'tf32': True})
    runs['now, bf16'] = (forms['now'], {**case, **HALF})
    runs['now, bf16, CUDA graph'] = (forms['now'], {**case, **HALF, 'graph': True})
    return runs


def _timed(runs: dict[str, Run], report: Report, what: str, keys: dict[str, str]) -> dict[str, float]:
    """Times what runs at all, and reports it; returns the seconds."""
    works = {}
    for name, (form, arguments) in runs.items():
        try:
            form('prepare', **arguments)
            works[name] = (form, arguments)
        except RuntimeError as error:
            print(f'{what}, {name}: {error}', flush=True)
    times = take_turns(works, 5)
    report.add(what, times, keys)
    if 'before' in times:
        for name, key in keys.items():
            if name in times:
                report.result[f'{key}_over_before'] = times['before']['wall'] / times[name]['wall']
    for form in {form for form, _ in works.values() if form.name != 'now'}:
        form('forget')
    return {name: time['wall'] for name, time in times.items()}


def _training(forms: dict[str, Form], ready: dict[str, Run], report: Report, case: tuple[int, int]) -> None:
    """Times forward and backward passes."""
    size, batch = case
    step = {'what': 'train', 'size': size, 'batch': batch}
    runs = _eager(forms, step)
    runs['now, use_chk cheap'] = (forms['now'], {**step, **CHEAP})
    runs['now, use_chk cheap, bf16, CUDA graph'] = (forms['now'], {**step, **CHEAP, **HALF, 'graph': True})
    runs |= {name.split('|')[0]: run for name, run in ready.items() if name.endswith(f'|train{batch}')}
    suffix = '' if case == TRAIN[0] else f'_batch{batch}'
    keys = {
        'now': f'train_speedup{suffix}',
        'now, bf16': f'train_bf16_speedup{suffix}',
        'now, bf16, compiled': f'gpu_train_speedup{suffix}',
        'now, bf16, compiled, CUDA graphs': f'gpu_train_speedup_graphs{suffix}',
    }
    seconds = _timed(runs, report, f'training step, {batch} x {size} x {size}', keys)
    report.result[f'step_seconds_batch{batch}'] = min(seconds.values())
    forms['now']('forget')


def _inference(
    forms: dict[str, Form], ready: dict[str, Run], report: Report, case: tuple[int, int]
) -> dict[str, float]:
    """Times forward passes."""
    size, batch = case
    runs = _eager(forms, {'what': 'infer', 'size': size, 'batch': batch})
    name = f'now, bf16, compiled|infer{batch}'
    if name in ready:
        form, arguments = ready[name]
        runs['now, bf16, compiled'] = (form, {**arguments, 'size': size})
        runs['now, bf16, compiled, CUDA graph'] = (form, {**arguments, 'size': size, 'graph': True})
    suffix = '' if case == INFER[0] else f'_{size}px_batch{batch}'
    keys = {
        'now': f'inference_speedup{suffix}',
        'now, bf16': f'inference_bf16_speedup{suffix}',
        'now, bf16, compiled': f'gpu_speedup{suffix}',
        'now, bf16, compiled, CUDA graph': f'gpu_speedup_graph{suffix}',
    }
    seconds = _timed(runs, report, f'inference, {batch} x {size} x {size}', keys)
    forms['now']('forget')
    return seconds


def _share_of_peak(forms: dict[str, Form], report: Report, cost: dict[str, float], options: argparse.Namespace) -> None:
    """Compares operations a second, counted in the published form, with the peak of the chip."""
    operations = forms['plain']('operations', size=256, batch=8)
    sections.matrix_products(forms['now'], report)
    for name, seconds in cost.items():
        peak = options.peak[1] if 'bf16' in name else options.peak[0]
        rate = operations / seconds / 1e12
        text = f'{name}, 8 x 256 x 256: {rate:.1f} TFLOP/s, {rate / peak:.1%} of {peak}'
        report.note(text, **{f'share_of_peak {name}': rate / peak})


def _data(report: Report, options: argparse.Namespace) -> None:
    """Measures degrading a batch, and copying one that workers have degraded, which a step waits for."""
    size, batch = TRAIN[0]
    step = report.result.get(f'step_seconds_batch{batch}')
    for side, suffix in ((4 * size, ''), (512, '_512')):
        sections.data(report, options.device, side, batch, step, suffix)
    images = torch.rand(batch, 3, 4 * size, 4 * size).pin_memory(), torch.rand(batch, 3, size, size).pin_memory()
    for _ in range(3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        _ = [image.to('cuda', non_blocking=True) for image in images]
        torch.cuda.synchronize()
        taken_copy = time.perf_counter() - start
    report.note(f'Copying a batch of workers: {1000 * taken_copy:.2f} ms', copy_seconds=taken_copy)
    if step:
        report.note(f'That is {taken_copy / step:.1%} of a step', data_share_workers=taken_copy / step)


def _profile(forms: dict[str, Form], ready: dict[str, Run], options: argparse.Namespace) -> None:
    """Writes the slowest kernels of some runs."""
    case = {'what': 'train', 'size': TRAIN[0][0], 'batch': TRAIN[0][1]}
    large = {'what': 'infer', 'size': 256, 'batch': 8}
    runs: dict[str, Run] = {
        'plain, training': (forms['plain'], case),
        'now, bf16, training': (forms['now'], {**case, **HALF}),
        'now, bf16, inference': (forms['now'], {**large, **HALF}),
    }
    runs |= {name: run for name, run in ready.items() if 'CUDA graphs' not in name}
    pages = []
    for name, (form, arguments) in runs.items():
        try:
            found = form('kernels', **arguments)
        except RuntimeError as error:
            print(f'profile of {name}: {error}', flush=True)
            continue
        print(f'{name}: the GPU computes for {found["busy_ms"]:.2f} ms in {found["count"]} kernels', flush=True)
        pages.append(f'== {name}: {found["busy_ms"]:.2f} ms, {found["count"]} kernels\n{found["table"]}\n')
    if options.profile:
        Path(options.profile).write_text('\n'.join(pages), encoding='utf-8')
