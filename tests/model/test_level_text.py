"""Levels in the space of texts: their order is kept, and they come back."""

from __future__ import annotations

import pytest
import torch

from deplsr_model.level_words import LevelEmbeddings
from deplsr_model.vocabulary import TRAINING_LEVELS, level_positions, positions_to_levels


@pytest.fixture
def words():
    rng = torch.Generator().manual_seed(0)
    shared = torch.randn(32, generator=rng)  # texts that nearly agree, as those of a random tower do
    return LevelEmbeddings(
        [
            (
                torch.tensor(known),
                torch.nn.functional.normalize(shared + 0.1 * torch.randn(len(known), 32, generator=rng), dim=-1),
            )
            for known in TRAINING_LEVELS
        ]
    )


def _levels(column, values):
    levels = torch.tensor([[0.0, 0.0, 0.0, 100.0, 0.0]]).repeat(len(values), 1)
    levels[:, column] = torch.tensor(values)
    return levels


def test_near_levels_lie_near_and_far_ones_far(words):
    for column, values in ((0, [1.0, 1.1, 1.2]), (1, [10.0, 11.0, 12.0]), (3, [50.0, 52.0, 54.0])):
        a, b, c = words.from_levels(_levels(column, values))[:, column]
        assert (a - b).norm() < (a - c).norm() <= (a - b).norm() + (b - c).norm() + 1e-6


def test_a_level_of_the_vocabulary_is_its_text_and_one_between_is_between(words):
    at, between, after = words.from_levels(_levels(0, [1.0, 1.125, 1.25]))[:, 0]
    torch.testing.assert_close(between, (at + after) / 2)


def test_tokens_have_unit_length_on_average_and_tell_kind_and_level_alike(words):
    tokens = torch.cat([words.from_levels(_levels(0, list(TRAINING_LEVELS[0])))])[:, 0]
    assert tokens.square().sum(-1).mean() == pytest.approx(1, abs=0.2)
    assert tokens.mean(0).square().sum() == pytest.approx(0.5, abs=0.01)  # the degradation type
    assert tokens.var(0, unbiased=False).sum() == pytest.approx(0.5, abs=0.01)  # the level


def test_levels_beyond_the_vocabulary_are_its_ends(words):
    inside, beyond = words.from_levels(_levels(0, [3.0, 9.0]))
    assert torch.equal(inside, beyond)


def test_a_sure_reading_is_the_word_and_comes_back_as_the_level(words):
    known, texts = words._levels[1], words._texts[1]
    fine = torch.zeros(1, 5, 32)
    fine[:, 1] = texts[4]
    scale = torch.tensor(1e5)
    assert words.read(fine, scale)[0, 1] == pytest.approx(known[4].item(), abs=1e-3)
    torch.testing.assert_close(
        words.from_estimate(fine, scale)[0, 1], words.from_levels(_levels(1, [known[4].item()]))[0, 1]
    )


def test_positions_and_levels_are_inverse():
    levels = torch.tensor([[1.5, 15.0, 0.75, 65.0, 1.0]])
    positions = level_positions(levels)
    assert positions.min() >= 0
    torch.testing.assert_close(positions_to_levels(positions), levels)
    assert level_positions(torch.tensor([[9.0, -1.0, 0.0, 20.0, 0.0]])).tolist() == [[1, 0, 0, 0, 0]]
