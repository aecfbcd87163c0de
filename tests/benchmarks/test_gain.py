"""What a prior gains: recipes left out, resumed pools and trainings, and figures that follow from the scores."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gain import progress
from benchmarks.gain.batches import Batches, Patches
from benchmarks.gain.fusions import FUSIONS, build_fused
from benchmarks.gain.graphs import gather_batch, load_crops
from benchmarks.gain.networks import Pairs, take_batch
from benchmarks.gain.pairs import Source, load_pool, make_pool
from benchmarks.gain.report import PAGES, differences, summarize, tables
from benchmarks.gain.results import auroc, grade
from benchmarks.gain.settings import RECIPES, RUNS, SMOKE, Run, parts_of

ROOT = Path(__file__).parents[2]
KEPT = ROOT / 'benchmarks/results/gain_measured.json'


@pytest.fixture(scope='module')
def source():
    return Source([np.random.default_rng(0).integers(256, size=(300, 280, 3), dtype=np.uint8)])


def test_a_recipe_left_out_of_the_mixture_has_no_part_in_it():
    assert parts_of('realesrgan') == {'realesrgan': 1.0}
    left = parts_of('mixture-bsrgan')
    assert set(left) == set(RECIPES) - {'bsrgan'}
    assert sum(left.values()) == pytest.approx(1)


def test_every_run_is_compared_with_a_trained_constant():
    names = {run.name for run in RUNS}
    assert len(names) == len(RUNS)
    assert all(run.against().name in names for run in RUNS)


def test_a_pool_that_was_interrupted_is_completed_as_if_it_was_not(tmp_path, source):
    make_pool(tmp_path / 'whole', RECIPES['semantic'], source, 30, 4, 1)
    make_pool(tmp_path / 'part', RECIPES['semantic'], source, 30, 4, 1)
    (tmp_path / 'part/done').unlink()
    np.load(tmp_path / 'part/finished.npy', mmap_mode='r+')[1] = 0
    for name in ('lq', 'levels'):
        array = np.load(tmp_path / f'part/{name}.npy', mmap_mode='r+')
        array[24:] = 0
    make_pool(tmp_path / 'part', RECIPES['semantic'], source, 30, 4, 1, workers=2)
    for one, other in zip(load_pool(tmp_path / 'whole'), load_pool(tmp_path / 'part'), strict=True):
        assert np.array_equal(one, other)


def test_a_resumed_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, '_EVERY', 2)

    def train(folder, stop=None):
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 1)
        run = progress.Training(folder, net, optimizer := torch.optim.Adam(net.parameters(), 0.1), 6)
        for step in run.steps():
            if step == stop:
                return
            optimizer.zero_grad()
            loss = (net(torch.full((1, 3), float(step))) - 1).square().mean()
            loss.backward()
            optimizer.step()
            run.record(step, float(loss.detach()))
        run.finish()

    train(tmp_path / 'once')
    train(tmp_path / 'twice', stop=3)
    train(tmp_path / 'twice')
    once, twice = (torch.load(tmp_path / name / 'weights.pth', weights_only=True) for name in ('once', 'twice'))
    assert all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize('fusion', FUSIONS)
def test_every_fusion_starts_as_the_network_without_a_prior(fusion):
    torch.manual_seed(0)
    net = build_fused(fusion, 8, 32)
    lq, content = torch.rand(2, 3, 16, 16), torch.zeros(2, 1, 32)
    plain, conditioned = net(lq, content, torch.zeros(2, 8, 32)), net(lq, content, torch.rand(2, 8, 32))
    assert torch.equal(plain, conditioned)
    conditioned.mean().backward()
    assert any(p.grad.abs().max() > 0 for p in net.parameters() if p.grad is not None)


def test_a_batch_is_the_same_from_memory_mapped_pools_and_from_crops_in_memory(tmp_path, source):
    names = ('semantic', 'clean')
    pairs = []
    for name in names:
        make_pool(tmp_path / name, RECIPES[name], source, 6, 5, 1)
        pairs.append(Pairs(load_pool(tmp_path / name), torch.rand(5, 8, 32)))
    patches = Patches(batch=16, side=20, crops=5)
    batches = Batches(0, {'semantic': 0.4, 'clean': 0.6}, patches)
    assert np.array_equal(batches[251], batches.first(260)[251])
    crops = load_crops(tmp_path, names, 5, 'cpu')
    rows = torch.from_numpy(batches[251]).long()
    assert {*rows[:, 0].tolist()} == {0, 1}
    rows[:, 1] += torch.tensor([crops.first[name] for name in names])[rows[:, 0]]
    expected = take_batch(pairs, patches, batches[251])
    found = gather_batch(crops, torch.cat([one.tokens for one in pairs]), patches, rows)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert found[0].is_contiguous(memory_format=torch.channels_last)


def test_auroc_counts_ordered_pairs():
    inside, outside = np.array([0.1, 0.2, 0.3]), np.array([0.25, 0.9])
    assert auroc(inside, outside) == pytest.approx(5 / 6)


def test_coverage_is_the_share_of_true_levels_in_their_intervals():
    true = np.linspace(0, 1, 80).reshape(10, 8)
    one = {'true': true, 'mean': true, 'low': true - 0.1, 'high': true + 0.1, 'distance': np.arange(10) / 8}
    one['high'][:3] = -1
    found = grade(one)
    assert found['coverage']['blur'] == 0.7
    assert found['flagged'] == pytest.approx(0.1)
    assert found['spearman']['blur'] == 1


def _kept():
    run = Run('realesrgan', 'estimated')
    scores = {
        run.name: {'realesrgan': [2.0] * 12},
        run.against().name: {'realesrgan': [1.0] * 6 + [2.0] * 6},
        replace(run, seed=1).name: {'realesrgan': [9.0] * 12},  # without its constant
    }
    return {'networks': scores, 'estimators': {}, 'training': {}, 'shuffled': []}


def test_a_gain_is_over_the_constant_of_the_same_seed_and_averaged_over_the_draws_of_a_photo():
    assert differences(_kept(), Run('realesrgan', 'estimated'), 'realesrgan').tolist() == [1.0, 0.0]
    assert summarize(_kept())['gain']['realesrgan']['estimated'][0] == 0.5


def test_the_smoke_run_makes_every_training_short():
    assert max(SMOKE.estimator_steps, SMOKE.steps) <= 50


@pytest.mark.skipif(not KEPT.exists(), reason='nothing is measured yet')
def test_tables_and_summary_are_those_of_the_kept_measurements():
    kept = json.loads(KEPT.read_text(encoding='utf-8'))
    text = ''.join((ROOT / 'docs' / page).read_text(encoding='utf-8') for page in PAGES)
    shown = dict(re.findall(r'<!-- (?!end)(\w+) -->\n(.*?)\n?<!-- end -->', text, re.DOTALL))
    assert shown == tables(kept)
    summary = json.loads((ROOT / 'benchmarks/results/prior_summary.json').read_text(encoding='utf-8'))
    assert summary == json.loads(json.dumps(summarize(kept)))
