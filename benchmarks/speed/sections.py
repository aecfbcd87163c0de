"""Measurements that are the same on a CPU and on a GPU."""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from typing import Any

import torch

from benchmarks.speed.forms import Arguments, Form, Report, baseline


def differences(forms: dict[str, Form], report: Report) -> None:
    """Compares outputs of the forms, and of bf16 with fp32."""
    with tempfile.TemporaryDirectory() as folder:

        def output(form: Form, **changes: Any) -> torch.Tensor:
            path = f'{folder}/out.pt'
            form('save', path=path, what='infer', size=100, batch=1, **changes)
            return torch.load(path)

        now, half = output(forms['now']), output(forms['now'], amp=True)
        for name in sorted(forms.keys() - {'now'}):
            difference = float((now - output(forms[name])).abs().max())
            key = 'inference_max_abs_diff' + ('' if name == baseline(forms) else f'_{name}')
            report.note(f'Largest difference from {name}: {difference:.1e}', **{key: difference})
    psnr = -10 * math.log10(float((now - half).square().mean()))
    report.note(f'bf16 has {psnr:.1f} dB of the fp32 output', bf16_psnr=psnr)


def memory(
    forms: dict[str, Form], report: Report, size: int, batch: int, variants: dict[str, Arguments] | None = None
) -> None:
    """Compares what a training step keeps for its backward pass, and its peak.

    Args:
        forms: All forms.
        report: Gets the ratios of the present form to :func:`baseline`.
        size: Side of the crops.
        batch: Number of crops.
        variants: Arguments of further steps of the present form, by name.
    """
    found = {name: form('memory', size=size, batch=batch) for name, form in forms.items()}
    for name, arguments in (variants or {}).items():
        found[f'now, {name}'] = forms['now']('memory', size=size, batch=batch, **arguments)
    ratio = {key: found['now'][key] / found[baseline(forms)][key] for key in ('kept', 'peak')}
    shown = ', '.join(f'{name} {one["kept"]:.0f} MiB (peak {one["peak"]:.0f})' for name, one in found.items())
    text = f'Kept for the backward pass: {shown}'
    report.note(text, train_memory_ratio=ratio['kept'], train_peak_memory_ratio=ratio['peak'])
    for form in forms.values():
        form('forget')


def overhead(form: Form, report: Report, repeats: int) -> None:
    """Measures the share of estimator and fusions in an enlargement of 256 x 256 in fp32."""
    shares = {}
    for name in ('FusedDAT-light', 'PlainResNet'):
        found = [form('overhead', name=name, size=256) for _ in range(repeats)]
        taken = {key: statistics.median(one[key] for one in found) for key in found[0]}
        shares[name] = (taken['estimator'] + taken['fusion']) / (taken['estimator'] + taken['net'])
        shown = ', '.join(f'{key} {1000 * value:.1f} ms' for key, value in taken.items())
        print(f'{name} at 256 x 256, fp32: {shown}; the prior is {shares[name]:.1%}', flush=True)
    report.result |= {'prior_overhead': max(shares.values()), 'prior_overhead_light': shares['FusedDAT-light']}
    report.save()


def matrix_products(form: Form, report: Report) -> None:
    """Measures products of matrices, the limit of the device."""
    found = form('products')
    report.note(f'Matrix products: {found["fp32"]:.0f} GFLOP/s in fp32, {found["bf16"]:.0f} in bf16', **found)


def data(report: Report, device: str, side: int, batch: int, step: float | None, suffix: str = '') -> None:
    """Measures the degradation of a batch, on the device of the step and in a data loader's worker.

    Args:
        report: Gets the seconds, and their share of a step if its time is known.
        device: Where steps run.
        side: Side of the clean crops.
        batch: Number of crops.
        step: Seconds of a training step; None if it was not measured.
        suffix: End of the keys in the last line.
    """
    from benchmarks.degradation.speed import measure, ways

    chosen = argparse.Namespace(size=side, repeats=5, device=device, threads=1)
    runs = {name: run for name, run in ways('semantic', batch, chosen).items() if name in ('worker', 'batched')}
    taken, cpu = measure(runs, chosen.repeats)
    text = (
        f'Degrading {batch} x {side} x {side}: on the device {1000 * taken["batched"]:.1f} ms '
        f'(CPU {1000 * cpu["batched"]:.1f}), in a worker {1000 * taken["worker"]:.0f} ms'
    )
    values = {f'data_seconds{suffix}': taken['batched'], f'worker_seconds{suffix}': taken['worker']}
    if step:
        share, workers = taken['batched'] / step, math.ceil(taken['worker'] / step)
        values[f'data_share{suffix}'] = share
        text += f'; on the device {share:.1%} of a step, in workers {workers} are enough'
    report.note(text, **values)
