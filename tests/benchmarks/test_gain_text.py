"""The control with text embeddings: trained on the crops of the estimator, and compared with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gain.estimators import TYPES, build
from benchmarks.gain.pairs import EFFECTIVE, Source, make_pool
from benchmarks.gain.settings import RECIPES, Sizes
from benchmarks.gain.text import build_text, difference, grade_levels, measure, table, train
from deplsr_model.level_text import positions_to_levels

ROOT = Path(__file__).parents[2]
KEPT = ROOT / 'benchmarks/results/gain_text.json'


@pytest.mark.parametrize('head', ['text', 'scaled'])
def test_a_text_estimator_has_the_network_of_the_estimator_and_estimates_levels_in_range(head):
    net, plain = build_text(head).eval(), build()
    assert {name: value.shape for name, value in net.trunk.named_parameters()} == {
        name: value.shape for name, value in plain.trunk.named_parameters()
    }
    lq = torch.rand(3, 3, 40, 48)
    assert torch.allclose(net(lq).norm(dim=-1), torch.ones(3, len(TYPES)))
    levels = net.estimate(lq)
    low, high = (torch.tensor([one.training_levels[end] for one in EFFECTIVE.types]) for end in (0, -1))
    assert ((levels >= low) & (levels <= high)).all()
    assert all(torch.pdist(texts).min() > 1.4 for _, texts in net.texts)  # no two levels have the same caption


def test_a_text_estimator_is_trained_and_measured_on_the_pools(tmp_path):
    photos = [np.random.default_rng(i).integers(256, size=(260, 260, 3), dtype=np.uint8) for i in range(3)]
    for name, block in RECIPES.items():
        make_pool(tmp_path / 'pools' / name, block, Source(photos), 12, 2, 1)
        make_pool(tmp_path / 'graded' / name, block, Source(photos, 2), 6, 6, 2)
    sizes = Sizes(pairs=2, estimator_steps=2)
    folders = {name: tmp_path / name for name in ('text_0', 'scaled_0')}
    for name, folder in folders.items():
        train(name, folder, tmp_path / 'pools', np.array([1, 2, 3]), sizes)
    results = measure(folders, tmp_path / 'graded')
    assert results['trainings']['text_0']['steps'] == 2
    assert all('blur' in results['recipes']['realesrgan'][name] for name in folders)
    assert '`realesrgan`, Spearman' in table(results)


def test_the_difference_is_above_zero_where_texts_estimate_better():
    places = torch.rand(60, len(TYPES), generator=torch.Generator().manual_seed(0))
    photo = np.repeat(np.arange(10), 6)
    true = positions_to_levels(places, EFFECTIVE)
    worse = positions_to_levels((places + 0.5 * torch.rand(places.shape)).clamp(0, 1), EFFECTIVE)
    assert difference([(true, true)], places, photo) == [0, 0, 0]
    mean, low, high = difference([(true, worse)], places, photo)
    assert 0 < low <= mean <= high
    assert grade_levels(true, places)['blur']['error'] == pytest.approx(0, abs=1e-4)


@pytest.mark.skipif(not KEPT.exists(), reason='nothing is measured yet')
def test_the_table_of_the_notebook_is_that_of_the_kept_measurements():
    text = (ROOT / 'docs/notebook_effective.md').read_text(encoding='utf-8')
    assert table(json.loads(KEPT.read_text(encoding='utf-8'))) in text
