"""What the prior adds to a forward pass: estimator, projection and fusions."""

from __future__ import annotations

import functools
import time

import torch
from torch import nn

import benchmarks.prior.controls  # noqa: F401  registers PlainResNet
from benchmarks.speed.worker import build, inputs
from deplsr_arch.fused_arch import Fused
from deplsr_arch.level_distribution_arch import LevelDistribution


def measure(device: str, name: str, size: int) -> dict[str, float]:
    """Returns seconds of the estimator, of projection and fusions, and of the complete network."""
    estimator, net = _network('estimator', device), _network(name, device)
    x, xi, xd = inputs(size, 1, device)
    x = x.to(memory_format=torch.channels_last)
    tokens = torch.rand(1, size * size, net.fusion_blocks['0'].out.in_features, device=device)

    def fuse() -> None:
        content, degradation = net.adaptive_feat_channels(xi), net.adaptive_feat_channels(xd)
        for block in net.fusion_blocks.values():
            block(tokens, content, degradation)

    runs = {'estimator': lambda: estimator.prior(x), 'fusion': fuse, 'net': lambda: net(x, xi, xd)}
    seconds = {}
    with torch.inference_mode():
        for key, run in runs.items():
            for _ in range(2):  # the first run warms up
                _wait(device)
                start = time.perf_counter()
                run()
                _wait(device)
                seconds[key] = time.perf_counter() - start
    return seconds


@functools.cache
def _network(name: str, device: str) -> nn.Module:
    """Builds an estimator, FusedDAT-light, or the network of benchmarks.prior with fusions."""
    if name == 'estimator':
        net: nn.Module = LevelDistribution(num_degradation_types=8)
    elif name == 'FusedDAT-light':
        net = build('own')
    else:
        net = Fused(backbone={'type': name}, fuse_at=['body.0', 'body.4'], num_degradation_types=8)
    return net.to(device, memory_format=torch.channels_last).eval()


def _wait(device: str) -> None:
    if device != 'cpu':
        torch.cuda.synchronize()
