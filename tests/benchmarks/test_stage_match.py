"""What the comparison of stage 1's inputs calculates with."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import deplsr_arch  # noqa: F401  mends BasicSR first


@pytest.fixture(scope='module')
def stage_match():
    path = Path(__file__).parents[2] / 'benchmarks/stage_match.py'
    spec = importlib.util.spec_from_file_location('stage_match', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_probe_finds_what_is_linear_in_the_prior(stage_match):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(300, 12, generator=rng)
    y = x @ torch.arange(12.0) + 3
    torch.testing.assert_close(stage_match.ridge(x[:200], y[:200], x[200:]), y[200:], atol=0.2, rtol=0)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says(stage_match):
    gains = np.random.default_rng(0).normal(0.1, 1.0, 400)
    mean, low, high = stage_match.bootstrap(gains)
    error = gains.std() / 20
    assert mean == pytest.approx(gains.mean(), abs=1e-3)
    assert low == pytest.approx(gains.mean() - 1.96 * error, abs=0.01)
    assert high == pytest.approx(gains.mean() + 1.96 * error, abs=0.01)


def test_the_arms_differ_in_the_prior_alone(stage_match):
    options = stage_match.argparse.Namespace(steps1=2, steps2=2)
    arms = {arm: stage_match.stage2(arm, options) for arm in stage_match.ARMS}
    for arm, opt in arms.items():
        changed = {key for key, value in opt.items() if arms['none'].get(key) != value}
        assert changed <= {'name', 'prior', 'network_da', 'path'}, arm
    inputs = {name: stage_match.stage1(name, options) for name in stage_match.ADAPTORS}
    assert inputs['patch']['train'] == inputs['whole']['train'] == inputs['native']['train']
    assert inputs['patch']['network_da'] == inputs['whole']['network_da']
