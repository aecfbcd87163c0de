"""Metrics of pyiqa: what is passed to them, and what is recorded about them."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from basicsr_plugin.errors import UserError
from deplsr_model.benchmark.metrics import find_metrics
from deplsr_model.benchmark.pairs import TestSet

SET = TestSet('set', [], 4, 2, 'GT')


class Distance(nn.Module):
    """A metric as pyiqa builds them: RGB (1, 3, h, w) in 0..1."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.metric_mode, self.lower_better = mode, True

    def forward(self, output: torch.Tensor, gt: torch.Tensor | None = None) -> torch.Tensor:
        if self.metric_mode == 'NR':
            assert gt is None
            return output[:, 0].mean()
        return (output - gt)[:, 0].abs().mean()


def create(name: str, device: str) -> nn.Module:
    if name == 'absent':
        raise RuntimeError('no weights')
    return Distance('NR' if name == 'quality' else 'FR')


@pytest.fixture(autouse=True)
def _stub(monkeypatch):
    names = ['dists', 'quality', 'absent']
    module = types.SimpleNamespace(list_models=lambda: names, create_metric=create, __version__='0.1')
    monkeypatch.setitem(sys.modules, 'pyiqa', module)


def test_images_are_passed_in_rgb_without_their_border():
    output, gt = np.zeros((12, 10, 3), np.uint8), np.zeros((12, 10, 3), np.uint8)
    output[..., 0] = 51
    output[:2] = 255  # in the border
    metric = find_metrics(['pyiqa:dists'])[0]
    assert metric(output, gt, SET, 'image') == pytest.approx(0.2)
    assert metric.lower_is_better
    assert metric.needs_gt
    assert metric.protocol(SET).startswith('dists of pyiqa 0.1, RGB, weights ')


def test_a_metric_without_reference_does_not_get_one():
    output = np.full((12, 10, 3), 51, np.uint8)
    metric = find_metrics(['pyiqa:quality'])[0]
    assert not metric.needs_gt
    assert metric(output, output, SET, 'image') == pytest.approx(0.2)


def test_unknown_names_and_missing_weights_are_one_line():
    with pytest.raises(UserError, match=r"got 'dist'; did you mean 'dists'\?"):
        find_metrics(['pyiqa:dist'])
    with pytest.raises(UserError, match=r'weights cannot be loaded \(no weights\)'):
        find_metrics(['pyiqa:absent'])
