"""What networks, fusions and estimators cost: parameters, time and memory."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.archs import build_network

import benchmarks.prior.controls  # noqa: F401  registers PlainResNet, in a process of its own too
from benchmarks.prior.runs import Setup, Variant


def cost(setup: Setup) -> dict[str, dict[str, float]]:
    """Parameters, milliseconds and peak memory for 128 x 128 LR pixels on one thread, each in its own process."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for threshold in (None, '65536'):  # with it, freed memory is returned at once: memory is exact, and time is not
        if threshold:
            os.environ['MALLOC_MMAP_THRESHOLD_'] = threshold
        for name, block in cost_blocks(setup).items():
            with multiprocessing.get_context('spawn').Pool(1) as pool:
                measured = pool.apply(cost_of, (block, setup.prior_dim))
            found.setdefault(name, {})['MiB' if threshold else 'ms'] = measured
    os.environ.pop('MALLOC_MMAP_THRESHOLD_')
    return {name: {**one['ms'], 'MiB': one['MiB']['MiB']} for name, one in found.items()}


def cost_blocks(setup: Setup) -> dict[str, dict[str, Any]]:
    """The networks whose costs are compared: backbone, the same with each fusion, and both estimators."""
    fused = {name: setup.network_g(Variant('', fusion=name)) for name in ('film', 'residual', 'paper')}
    adaptor = {key: value for key, value in setup.network_da('adaptor').items() if key != 'pretrained'}
    return {'backbone': setup.backbone(), **fused, 'adaptor': adaptor, 'regressor': setup.network_da('regressor')}


@torch.no_grad()
def cost_of(block: dict[str, Any], dim: int, side: int = 128, repeats: int = 10) -> dict[str, float]:
    """Measures one network in this process, with a photo of ``side`` x ``side`` pixels."""
    torch.set_num_threads(1)
    lq = torch.rand(1, 3, side, side)
    net: Any = build_network(block).eval()
    prior = (torch.zeros(1, 1, dim), torch.zeros(1, 5, dim)) if block['type'] in ('Fused', 'FusedDAT') else ()
    run = partial(getattr(net, 'prior', net), lq, *prior)
    used = sum(p.numel() for name, p in net.named_parameters() if not re.match(r'clip\.(?!visual)', name))
    run()  # one-time set-up of libraries does not count
    Path('/proc/self/clear_refs').write_text('5')  # resets the recorded peak
    before = _status('VmRSS')
    run()
    memory = _status('VmHWM') - before
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return {'parameters': used, 'ms': round(1000 * float(np.median(times)), 1), 'MiB': round(memory, 1)}


def _status(key: str) -> float:
    """Memory of this process, now (VmRSS) or at its peak (VmHWM), in MiB."""
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(status.split(f'{key}:')[1].split()[0]) / 1024
