from __future__ import annotations

import torch

from deplsr_model.text_cache import TextCache

CPU = torch.device('cpu')


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


def test_the_longest_unused_caption_goes_first():
    encoded = []

    def encode(tokens):
        encoded.extend(tokens[:, 0].tolist())
        return tokens.float()

    cache = TextCache(encode, size=2)
    for number in (1, 2, 1, 3, 1, 2):
        cache(torch.tensor([[number]]), CPU)
    assert encoded == [1, 2, 3, 2]


def test_more_new_captions_than_fit_are_still_all_given():
    cache = TextCache(lambda tokens: tokens.float(), size=2)
    tokens = torch.arange(5)[:, None]
    assert torch.equal(cache(tokens, CPU), tokens.float())
