"""The degradation adaptor's arguments: defaults, tokenizer, number of degradation types, and what is refused."""

from __future__ import annotations

import open_clip
import pytest
import torch
from clip_cases import config

from basicsr_plugin.errors import UserError
from deplsr_arch.degradation_adaptor_arch import AdaptorOutput, DegradationAdaptor


def test_an_adaptor_is_built_by_name_from_options():
    from basicsr.archs import build_network

    adaptor = build_network({'type': 'DegradationAdaptor', 'clip': config(), 'pretrained': None, 'view': 'native'})
    assert (adaptor.embed_dim, adaptor.image_size, adaptor.context_length) == (24, 48, 8)


def test_the_defaults_are_what_measures_best():
    adaptor, written = DegradationAdaptor(config()), {'view': 'native', 'stem': 'conv', 'logit_init': 'clip'}
    same = DegradationAdaptor(config(), **written)
    assert adaptor.view == same.view == 'native'
    assert adaptor.state_dict().keys() == same.state_dict().keys()
    assert 'visual_control.conv1.0.weight' in adaptor.state_dict()
    assert 'logit_bias' not in adaptor.state_dict()


@pytest.mark.parametrize(
    ('clip', 'reason'),
    [
        (
            'ViT-H-14',
            "'patch' for a clip with patches of 14 pixels, got 'conv', which needs a power of 2; set stem: patch",
        ),
        (config(patch_size=12), "'patch' for a clip with patches of 12 pixels, got 'conv'"),
        (config(image_size=40), "'patch' for a clip with an image_size of 40, got 'conv'; set stem: patch, or an"),
    ],
    ids=['ViT-H-14', 'patch 12', 'image 40'],
)
def test_a_clip_that_does_not_suit_the_default_stem_is_refused_before_it_is_built(clip, reason, monkeypatch):
    monkeypatch.setattr(open_clip, 'CLIP', None)
    with pytest.raises(UserError) as caught:
        DegradationAdaptor(clip, 'no_such_tag')
    assert str(caught.value).startswith(f'stem: expected {reason}')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('clip', 'tokenizer', 'expected'),
    [('ViT-B-16', None, 'ViT-B-16'), (config(), None, 'ViT-B-32'), (config(), 'ViT-L-14', 'ViT-L-14')],
    ids=['named', 'inline', 'set'],
)
def test_the_adaptor_states_which_tokenizer_its_captions_go_through(clip, tokenizer, expected):
    with torch.device('meta'):
        assert DegradationAdaptor(clip, tokenizer=tokenizer).tokenizer == expected


def test_an_unknown_tokenizer_is_refused():
    with pytest.raises(UserError, match=r"^tokenizer: expected a model name of open_clip, got 'ViT-B32'; did you mean"):
        DegradationAdaptor(config(), tokenizer='ViT-B32')


def test_the_number_of_degradation_types_sets_the_fine_embeddings():
    adaptor = DegradationAdaptor(config(), num_degradation_types=6).eval()
    assert adaptor.num_degradation_types == 6
    assert adaptor.out_linear.out_features == 6 * 24
    assert adaptor(torch.rand(2, 3, 48, 48)).fine_degradation.shape == (2, 6, 24)
    assert [part.shape for part in adaptor.prior(torch.rand(2, 3, 48, 48))] == [(2, 1, 24), (2, 6, 24)]


def test_the_published_size_has_the_published_number_of_parameters():
    with torch.device('meta'):
        adaptor = DegradationAdaptor('ViT-B-32', stem='patch')
    counts = {name: sum(value.numel() for value in part.parameters()) for name, part in adaptor.named_children()}
    assert counts == {
        'visual_control': 94_936_320 - 7_087_104,
        'clip': 151_277_313,
        'zero_modules': 7_087_104,
        'out_linear': 1_313_280,
    }
    assert sum(value.numel() for value in adaptor.parameters()) == 247_526_914


@pytest.mark.parametrize(('option', 'value'), [('view', 'natve'), ('logit_init', 'siglib')])
def test_an_unknown_choice_is_refused_with_the_nearest_one(option, value):
    with pytest.raises(UserError, match=rf"^{option}: expected '.*', got '{value}'; did you mean .*\Z"):
        DegradationAdaptor(config(), **{option: value})


def test_the_output_is_a_named_tuple_in_the_order_of_the_losses():
    assert AdaptorOutput._fields == ('content', 'global_degradation', 'fine_degradation')
