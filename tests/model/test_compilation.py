"""Networks that are compiled in place."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from basicsr_plugin.errors import OptionError
from deplsr_model.compilation import check_compile, compile_in_place


def test_a_network_compiled_in_place_keeps_its_names_and_its_copies_are_not_compiled(monkeypatch):
    calls = []

    def compiled(function, dynamic, mode=None):
        return partial(lambda *args: calls.append((dynamic, mode)) or function(*args))

    monkeypatch.setattr(torch, 'compile', compiled)
    net = nn.Sequential(nn.Linear(3, 2))
    names, x = list(net.state_dict()), torch.rand(4, 3)
    expected = net(x)
    compile_in_place(net, 'reduce-overhead')
    assert torch.equal(net(x), expected)
    with torch.no_grad():
        net(x)
    assert calls == [(False, 'reduce-overhead'), (True, None)]  # training by size, evaluation for any
    assert list(net.state_dict()) == names
    copy.deepcopy(net)(x)
    assert len(calls) == 2


def test_outputs_of_a_cuda_graph_are_copies_and_pass_gradients_on(monkeypatch):
    memory = torch.zeros(4, 2)

    def into_the_same_memory(function, dynamic, mode=None):
        return lambda x: (memory.copy_(function(x).detach()), function(x)) if mode else function(x)

    monkeypatch.setattr(torch, 'compile', into_the_same_memory)
    net = nn.Linear(3, 2)
    compile_in_place(net, 'reduce-overhead')
    first, output = net(torch.ones(4, 3))
    kept = first.clone()
    net(torch.zeros(4, 3))
    assert torch.equal(first, kept)
    output.sum().backward()
    assert net.weight.grad is not None


def test_false_compiles_nothing():
    net = nn.Linear(3, 2)
    compile_in_place(net, False)
    assert net._compiled_call_impl is None


def test_cuda_graphs_with_accumulated_gradients_are_refused_in_one_line():
    with pytest.raises(OptionError, match=r'compile: expected true or false with train\.accumulate: 2, got reduce'):
        check_compile('reduce-overhead', 2)
    check_compile('reduce-overhead', 1)
    check_compile(True, 2)


@pytest.mark.parametrize('stage', ['stage1', 'stage2'])
def test_they_are_refused_before_a_folder_is_made(workplace, capsys, request, stage):
    opt = request.getfixturevalue(stage)
    assert workplace.run('train', opt, compile='reduce-overhead', train__accumulate=2) == 2
    assert 'compile: expected true or false with train.accumulate: 2' in capsys.readouterr().err
    assert not (workplace.path / 'experiments').exists()
