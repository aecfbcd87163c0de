"""Levels in the space of texts: their order is kept, and they are recovered; captions are embedded once."""

from __future__ import annotations

import pytest
import torch

from deplsr_data.degradation.level_tables import level_table
from deplsr_model.level_text import LevelEmbeddings, TextCache, level_positions, positions_to_levels, whiten_texts

CPU = torch.device('cpu')
TABLE = level_table('nominal')
TRAINING_LEVELS = [degradation_type.training_levels for degradation_type in TABLE.types]


@pytest.fixture
def embeddings():
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


def test_near_levels_have_near_embeddings_and_far_levels_far_ones(embeddings):
    for column, values in ((0, [1.0, 1.1, 1.2]), (1, [10.0, 11.0, 12.0]), (3, [50.0, 52.0, 54.0])):
        a, b, c = embeddings.from_levels(_levels(column, values))[:, column]
        assert (a - b).norm() < (a - c).norm() <= (a - b).norm() + (b - c).norm() + 1e-6


def test_a_level_between_two_of_the_vocabulary_is_halfway_between_their_embeddings(embeddings):
    at, between, after = embeddings.from_levels(_levels(0, [1.0, 1.125, 1.25]))[:, 0]
    torch.testing.assert_close(between, (at + after) / 2)


def test_tokens_have_unit_length_on_average_and_encode_type_and_level_with_equal_energy(embeddings):
    tokens = torch.cat([embeddings.from_levels(_levels(0, list(TRAINING_LEVELS[0])))])[:, 0]
    assert tokens.square().sum(-1).mean() == pytest.approx(1, abs=0.2)
    assert tokens.mean(0).square().sum() == pytest.approx(0.5, abs=0.01)  # the degradation type
    assert tokens.var(0, unbiased=False).sum() == pytest.approx(0.5, abs=0.01)  # the level


def test_levels_beyond_the_vocabulary_count_as_its_ends(embeddings):
    inside, beyond = embeddings.from_levels(_levels(0, [3.0, 9.0]))
    assert torch.equal(inside, beyond)


def test_a_certain_estimate_has_the_embedding_of_its_level(embeddings):
    known, texts = embeddings._levels[1], embeddings._texts[1]
    fine = torch.zeros(1, 5, 32)
    fine[:, 1] = texts[4]
    scale = torch.tensor(1e5)
    assert embeddings.estimate(fine, scale)[0, 1] == pytest.approx(known[4].item(), abs=1e-3)
    torch.testing.assert_close(
        embeddings.from_estimate(fine, scale)[0, 1], embeddings.from_levels(_levels(1, [known[4].item()]))[0, 1]
    )


def test_positions_and_levels_are_inverse():
    levels = torch.tensor([[1.5, 15.0, 0.75, 65.0, 1.0]])
    positions = level_positions(levels, TABLE)
    assert positions.min() >= 0
    torch.testing.assert_close(positions_to_levels(positions, TABLE), levels)
    assert level_positions(torch.tensor([[9.0, -1.0, 0.0, 20.0, 0.0]]), TABLE).tolist() == [[1, 0, 0, 0, 0]]


def test_a_root_type_spreads_the_levels_near_zero():
    effective = level_table('effective')
    levels = torch.zeros(3, 8)
    levels[:, 0] = torch.tensor([0.0, 4.0, 16.0])
    positions = level_positions(levels, effective)
    assert positions[:, 0].tolist() == [0.0, 0.5, 1.0]
    torch.testing.assert_close(positions_to_levels(positions, effective)[:, 0], levels[:, 0])


def _near_texts():
    return torch.nn.functional.normalize(torch.randn(1, 16) + 0.01 * torch.randn(5, 16), dim=-1)


def test_whitened_texts_are_equally_far_apart_and_span_the_same_space():
    near = _near_texts()
    apart = whiten_texts(near)
    distances = torch.cdist(apart, apart)[~torch.eye(5, dtype=torch.bool)]
    assert torch.allclose(distances, torch.full_like(distances, 2**0.5), atol=1e-4)
    centred = near - near.mean(0)
    assert torch.linalg.matrix_rank(torch.cat([centred / centred.norm(), apart]), rtol=1e-3) == 4


def test_only_whitened_texts_can_be_distinguished_sharply():
    near = _near_texts()
    for texts, sharp in ((near, False), (whiten_texts(near), True)):
        image = torch.nn.functional.normalize(texts[2] - texts.mean(0), dim=0)
        assert ((100 * image @ texts.T).softmax(0)[2] > 0.99) == sharp


def test_each_caption_is_encoded_once():
    encoded = []

    def encode(tokens):
        encoded.extend(tokens.tolist())
        return tokens.float() * 2

    cache = TextCache(encode)
    tokens = torch.tensor([[[1, 2], [3, 4]], [[1, 2], [5, 6]]])
    assert torch.equal(cache(tokens, CPU), tokens.float() * 2)
    assert torch.equal(cache(tokens[:1], CPU), tokens[:1].float() * 2)
    assert sorted(encoded) == [[1, 2], [3, 4], [5, 6]]


def test_the_least_recently_used_caption_is_removed_first():
    encoded = []

    def encode(tokens):
        encoded.extend(tokens[:, 0].tolist())
        return tokens.float()

    cache = TextCache(encode, size=2)
    for number in (1, 2, 1, 3, 1, 2):
        cache(torch.tensor([[number]]), CPU)
    assert encoded == [1, 2, 3, 2]


def test_more_new_captions_than_fit_are_all_returned():
    cache = TextCache(lambda tokens: tokens.float(), size=2)
    tokens = torch.arange(5)[:, None]
    assert torch.equal(cache(tokens, CPU), tokens.float())
