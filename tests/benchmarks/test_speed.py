"""The speed benchmark: its plain form of the network, and a run of its worker."""

from __future__ import annotations

import copy

import pytest
import torch

from benchmarks.speed.plain import as_published
from deplsr_arch.dat_arch import DAT

SMALL = {'embed_dim': 24, 'split_size': [4, 8], 'depth': [4], 'num_heads': [2], 'expansion_factor': 2, 'upscale': 2}


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('size', [(16, 16), (17, 30)])
@pytest.mark.parametrize('pos_dim', [1, 3])
def test_the_plain_form_has_the_same_outputs_and_gradients(size, pos_dim, training):
    torch.manual_seed(0)
    net = DAT(**SMALL, upsampler='pixelshuffledirect', pos_dim=pos_dim, drop_path_rate=0.0).train(training)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    plain = copy.deepcopy(net)
    as_published(plain)
    x = torch.rand(2, 3, *size)
    outputs = [one(x) for one in (net, plain)]
    torch.testing.assert_close(*outputs, atol=1e-4, rtol=1e-4)
    for out in outputs:
        (out**2).mean().backward()
    for (name, p), q in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert (p.grad - q.grad).norm() <= 1e-3 * q.grad.norm() + 1e-4, name
