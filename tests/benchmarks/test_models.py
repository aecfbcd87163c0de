"""Training of the shipped models, with a few steps on a few crops."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.gain.estimators import TYPES, build
from benchmarks.gain.networks import Patches
from benchmarks.gain.pairs import Source, load_pool, make_pool
from benchmarks.gain.settings import RECIPES
from benchmarks.models.draw import draw_training, gain_points
from benchmarks.models.settings import MODELS, plain
from benchmarks.models.train import load_model, train_model, validation_samples

TINY = replace(
    MODELS['small-x4'], network=plain(8, 2), steps=16, patches=Patches(batch=2, side=16, crops=2), name='tiny-x4'
)


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp('work')
    photos = [np.random.default_rng(0).integers(0, 255, (280, 300, 3)).astype(np.uint8)]
    for name, block in RECIPES.items():
        make_pool(folder / 'pools' / name, block, Source(photos), 2, 2, 0)
        make_pool(folder / 'graded/heldout' / name, block, Source(photos, 2), 2, 2, 1)
    (folder / 'estimators/mixture').mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(build().state_dict(), folder / 'estimators/mixture/weights.pth')
    return folder, validation_samples(folder / 'graded/heldout', photos)


def trained(work, model):
    folder, validation = work
    train_model(model, folder / 'models' / model.name, folder, validation)
    return folder / 'models' / model.name


def test_a_model_is_trained_validated_and_drawn(work, tmp_path):
    training = {}
    for model in (TINY, replace(TINY, name='tiny-constant', prior='constant')):
        folder = trained(work, model)
        log, validation = (json.loads((folder / f'{name}.json').read_text()) for name in ('log', 'validation'))
        assert list(validation) == ['1', '2', '4', '6', '8', '10', '12', '14', '16']
        assert {len(scores) for scores in validation['16'].values()} == {2}
        training['small-x4' if model is TINY else 'constant-x4'] = {
            'log': {**log, 'every': 4, 'losses': [0.2, 0.1, 0.1]},
            'validation': validation,
        }
    assert load_model(TINY, trained(work, TINY))(
        torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 32), torch.zeros(1, len(TYPES), 32)
    ).shape == (1, 3, 32, 32)
    assert len(gain_points(training, 'clean')) == 9
    draw_training(training, tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').stat().st_size > 1000


def test_weights_are_the_moving_average_and_not_those_of_the_last_step(work):
    folder = trained(work, TINY)
    state = torch.load(folder / 'state.pth', weights_only=True)
    weights = torch.load(folder / 'weights.pth', weights_only=True)
    name = 'backbone.conv_last.weight'
    assert torch.equal(weights[name], state['average'][name])
    assert not torch.equal(weights[name], state['net'][name])


def test_a_model_of_another_scale_starts_from_the_weights_that_fit(work):
    folder, _ = work
    trained(work, TINY)
    photos = [np.random.default_rng(0).integers(0, 255, (280, 300, 3)).astype(np.uint8)]
    for name, block in RECIPES.items():
        make_pool(folder / 'pools_x2' / name, block, Source(photos), 2, 2, 0, 2)
    assert load_pool(folder / 'pools_x2/clean').gt.shape == (2, 3, 128, 128)
    graded = folder / 'graded_x2/heldout'
    for name, block in RECIPES.items():
        make_pool(graded / name, block, Source(photos, 2), 2, 2, 1, 2)
    patches = Patches(batch=2, side=16, crops=2, scale=2)
    model = replace(TINY, name='tiny-x2', network=plain(8, 2, scale=2), patches=patches, start='tiny-x4', steps=1)
    train_model(model, folder / 'models/tiny-x2', folder, validation_samples(graded, photos))
    before, after = (
        torch.load(folder / 'models' / name / 'weights.pth', weights_only=True) for name in ('tiny-x4', 'tiny-x2')
    )
    name = 'backbone.body.0.conv1.weight'
    assert torch.allclose(before[name], after[name], atol=2e-3)


def test_the_baseline_differs_from_the_shipped_model_in_its_prior_alone():
    ours, blind = MODELS['small-x4'], MODELS['constant-x4']
    assert replace(blind, name=ours.name, prior=ours.prior, published=True) == ours
    assert not blind.published
