"""Networks that are compiled in place."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import nn

from deplsr_model.compilation import compile_in_place


def test_a_network_compiled_in_place_keeps_its_names_and_its_copies_are_not_compiled(monkeypatch):
    calls = []

    def compiled(function, dynamic, **settings):
        return partial(lambda *args: calls.append((dynamic, settings)) or function(*args))

    monkeypatch.setattr(torch, 'compile', compiled)
    net = nn.Sequential(nn.Linear(3, 2))
    names, x = list(net.state_dict()), torch.rand(4, 3)
    expected = net(x)
    compile_in_place(net, mode='reduce-overhead')
    assert torch.equal(net(x), expected)
    with torch.no_grad():
        net(x)
    assert calls == [(False, {'mode': 'reduce-overhead'}), (True, {})]  # training by size, evaluation for any
    assert list(net.state_dict()) == names
    copy.deepcopy(net)(x)
    assert len(calls) == 2
