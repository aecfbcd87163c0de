"""Networks, data sets and the table of degradation types must fit each other."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

import deplsr_data  # noqa: F401
from basicsr_plugin.errors import OptionError
from deplsr_data.degradation.captions import DEGRADATION_TYPES
from deplsr_model.consistency import check_tokens, check_type_count

CAPTIONED = {'type': 'CaptionedDegradationDataset'}


@pytest.fixture
def six_types(monkeypatch):
    six = [*DEGRADATION_TYPES]
    six.append(replace(six[0], name='cast', prompt='colour cast with strength'))
    monkeypatch.setattr('deplsr_model.consistency.DEGRADATION_TYPES', six)


@pytest.mark.usefixtures('six_types')
def test_with_a_sixth_degradation_type_a_network_for_five_is_refused_in_one_line():
    check_type_count(SimpleNamespace(num_degradation_types=6), 'network_da')
    with pytest.raises(
        OptionError, match=r'^network_g\.num_degradation_types: expected 6, .*cast\), got 5; set it to 6$'
    ):
        check_type_count(SimpleNamespace(num_degradation_types=5), 'network_g')


def test_a_network_without_a_number_of_degradation_types_fits_any():
    check_type_count(SimpleNamespace(), 'network_g')


@pytest.mark.parametrize(
    ('dataset', 'line'),
    [
        (CAPTIONED, r"^datasets\.train\.tokenizer: expected 'ViT-B-16-SigLIP', that of network_da, got 'ViT-B-32'"),
        (CAPTIONED | {'tokenizer': 'ViT-B-16'}, "got 'ViT-B-16'; set it to ViT-B-16-SigLIP"),
    ],
)
def test_another_tokenizer_than_the_adaptors_is_refused_also_if_it_is_the_default(dataset, line):
    adaptor = SimpleNamespace(tokenizer='ViT-B-16-SigLIP', context_length=64)
    with pytest.raises(OptionError, match=line):
        check_tokens({'train': dataset}, ['train'], adaptor)


def test_another_context_length_is_refused_also_if_it_is_that_of_the_tokenizer():
    adaptor = SimpleNamespace(tokenizer='ViT-B-32', context_length=48)
    check_tokens({'train': CAPTIONED | {'context_length': 48}}, ['train'], adaptor)
    with pytest.raises(OptionError, match=r'^datasets\.train\.context_length: expected 48, .* got 77; set it to 48$'):
        check_tokens({'train': CAPTIONED}, ['train'], adaptor)


def test_only_the_tokens_that_are_used_are_checked():
    adaptor = SimpleNamespace(tokenizer='ViT-B-16', context_length=77)
    check_tokens({'train': {'type': 'PairedImageDataset'}, 'val': CAPTIONED}, ['train'], adaptor)
