"""Networks, data sets and the table of degradation types must fit each other."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

import deplsr_data  # noqa: F401
from basicsr_plugin.errors import OptionError
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.types import NOMINAL_TYPES, REGISTERED_TYPES
from deplsr_model.consistency import check_tokens, check_type_count

CAPTIONED = {'type': 'CaptionedDegradationDataset'}


@pytest.fixture
def another_type():
    REGISTERED_TYPES.append(replace(NOMINAL_TYPES[0], name='cast', prompt='colour cast with strength'))
    yield
    REGISTERED_TYPES.pop()


@pytest.mark.usefixtures('another_type')
@pytest.mark.parametrize(('levels', 'count'), [('nominal', 6), ('effective', 9)])
def test_a_network_has_the_first_of_the_degradation_types(levels, count):
    table = level_table(levels)
    assert check_type_count(SimpleNamespace(num_degradation_types=count), 'network_da', table) == count
    assert check_type_count(SimpleNamespace(num_degradation_types=5), 'network_da', table) == 5
    line = rf'^network_g\.num_degradation_types: expected at most {count}, .* {levels} .*cast\), got {count + 1}; set'
    with pytest.raises(OptionError, match=line):
        check_type_count(SimpleNamespace(num_degradation_types=count + 1), 'network_g', table)


@pytest.mark.usefixtures('another_type')
@pytest.mark.parametrize('prior', ['estimated', 'captions', 'none', 'blur with sigma:1.5'])
@pytest.mark.parametrize('form', ['mixture', 'embedding'])
def test_networks_for_five_types_work_where_there_are_more(workplace, stage2, trained_adaptor, prior, form):
    changes = {'path__pretrain_network_da': str(trained_adaptor), 'prior': prior, 'prior_form': form}
    assert workplace.run('train', stage2, **changes) == 0


@pytest.mark.usefixtures('another_type')
@pytest.mark.parametrize('count', [5, 9])
def test_stage_1_trains_with_the_first_five_or_all_types(workplace, stage1, count):
    assert workplace.run('train', stage1, network_da__num_degradation_types=count) == 0
    metrics = (workplace.path / 'experiments/adaptor/metrics.jsonl').read_text()
    assert ('"cast"' in metrics) == (count == 9)


def test_a_network_without_a_number_of_degradation_types_fits_any():
    check_type_count(SimpleNamespace(), 'network_g', level_table('effective'))


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


def test_models_with_the_same_tokenizer_fit_each_other():
    adaptor = SimpleNamespace(tokenizer='ViT-B-32-quickgelu', context_length=77)
    check_tokens({'train': CAPTIONED, 'val': CAPTIONED | {'tokenizer': 'ViT-L-14'}}, ['train', 'val'], adaptor)


def test_only_the_tokens_that_are_used_are_checked():
    adaptor = SimpleNamespace(tokenizer='ViT-B-16', context_length=77)
    check_tokens({'train': {'type': 'PairedImageDataset'}, 'val': CAPTIONED}, ['train'], adaptor)
