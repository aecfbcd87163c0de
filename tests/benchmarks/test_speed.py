"""The speed benchmark: its plain form of the network, its options and its last line."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from benchmarks.speed import sections
from benchmarks.speed.__main__ import parse
from benchmarks.speed.forms import Report
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


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('--gpu --quick', '--quick: only without --gpu; leave it out'),
        ('--gpu --repeats 3', '--repeats: only without --gpu; leave it out'),
        ('--gpu --sections data', '--sections: only without --gpu; leave it out'),
        ('--gpu --sides 64', '--sides: only without --gpu; leave it out'),
        ('--gpu --plot cost.png', '--plot: only without --gpu; leave it out'),
        ('--profile kernels.txt', '--profile: only with --gpu; leave it out'),
        ('--compile-limit 0', '--compile-limit: only with --gpu; leave it out'),
        ('--peak 67 989', '--peak: only with --gpu; leave it out'),
        ('--sections data --sides 64', '--sides: only for the section inference'),
        ('--sections data --plot cost.png', '--plot: only for the section inference'),
        ('--sides 100', 'invalid choice: 100'),
        ('--repeats 0', "expected a whole number from 1, got '0'"),
    ],
)
def test_options_without_effect_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parse(arguments.split())
    assert message in capsys.readouterr().err


def test_options_have_the_documented_defaults():
    assert parse([]).repeats == 7
    assert parse(['--quick']).cases == [(64, 1)]
    on_gpu = parse(['--gpu'])
    assert (on_gpu.compile_limit, on_gpu.peak) == (300, (67, 989))
    assert parse(['--gpu', '--compile-limit', '0']).compile_limit == 0


@pytest.mark.parametrize('step', [None, 0.5])
def test_degrading_has_a_share_of_a_step_only_where_the_step_was_measured(step, capsys):
    report = Report('plain')
    sections.data(report, 'cpu', 32, 1, step)
    result = json.loads(report.line(), parse_constant=pytest.fail)
    assert result['data_seconds'] > 0
    assert ('data_share' in result) == (step is not None)
    assert 'nan' not in capsys.readouterr().out
