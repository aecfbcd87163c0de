"""The degradation adaptor against the published network: its numbers for several weights, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from weight_rule import weight

from deplsr_arch import DegradationAdaptor
from deplsr_arch.published_adaptor import rename_published

GOLDEN = Path(__file__).parent / 'golden' / 'srclip'
LAYOUT = json.loads((GOLDEN / 'state_dict_small.json').read_text())['state_dict']
SIDECAR = json.loads((GOLDEN / 'srclip_v2_small.json').read_text())
FLOAT32 = SIDECAR['tolerance']['float32']
PUBLISHED = {'clip_normalize': False, 'view': 'resize', 'stem': 'patch', 'logit_init': 'siglip'}
ZERO = 'visual_control.transformer.zero_modules.'


@pytest.fixture(scope='module')
def golden():
    with np.load(GOLDEN / 'srclip_v2_small.npz') as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def published_state():
    """The authors' layout, aliases included, filled by the weight rule."""
    own = {key: torch.from_numpy(weight(key, entry[0])) for key, entry in LAYOUT.items() if len(entry) == 2}
    return {
        key: own[entry[2].removeprefix('alias of ')] if len(entry) == 3 else own[key] for key, entry in LAYOUT.items()
    }


def with_zero_modules(state, kept=()):
    """The state with the zero layers set to 0, except those in ``kept``."""
    return {
        key: torch.zeros_like(value) if key.startswith(ZERO) and int(key.split('.')[3]) not in kept else value
        for key, value in state.items()
    }


def with_copied_tower(state):
    """The state with the control tower an exact copy of the frozen tower, copied by published names."""
    copied = dict(state)
    for key, value in state.items():
        if key.startswith('clip.visual.'):
            name = key.removeprefix('clip.visual.').replace('transformer.', 'transformer.transformer.')
            assert f'visual_control.{name}' in state
            copied[f'visual_control.{name}'] = value
    return copied


def with_published_initialisation(state):
    """The state after the published copy of two parameter lists that are shifted against each other."""
    start = with_zero_modules(with_copied_tower(state))
    gain, bias = state['clip.visual.ln_post.weight'], state['clip.visual.ln_post.bias']
    return {
        **start,
        f'{ZERO}0.weight': gain.expand(48, 48).clone(),
        f'{ZERO}0.bias': bias,
        'visual_control.ln_post.weight': torch.ones(48),
        'visual_control.ln_post.bias': torch.zeros(48),
    }


def published_adaptor(state):
    adaptor = DegradationAdaptor(SIDECAR['clip_config'], **PUBLISHED)
    adaptor.load_state_dict(state)
    return adaptor.eval()


def same(got, expected, tolerance=FLOAT32):
    torch.testing.assert_close(got, expected, atol=tolerance['atol'], rtol=tolerance['rtol'])


def test_all_embeddings_are_the_published_ones(golden):
    output = published_adaptor(published_state()).embed(golden['image'])
    same(output.content, golden['all__image_features'])
    same(output.global_degradation, golden['all__degra_features'])
    same(output.fine_degradation, golden['all__fine_degra_features'])


def test_all_embeddings_are_the_published_ones_in_float64(golden):
    output = published_adaptor(published_state()).double().embed(golden['image'].double())
    tolerance = SIDECAR['tolerance']['float64']
    same(output.content, golden['all_f64__image_features'], tolerance)
    same(output.global_degradation, golden['all_f64__degra_features'], tolerance)
    same(output.fine_degradation, golden['all_f64__fine_degra_features'], tolerance)


def test_zero_modules_compute_the_published_corrections(golden):
    adaptor, corrections = published_adaptor(published_state()), []
    for zero_module in adaptor.zero_modules:
        zero_module.register_forward_hook(lambda module, args, output: corrections.append(output))
    adaptor.embed(golden['image'])
    assert len(corrections) == 3
    for index, correction in enumerate(corrections):
        same(correction, golden[f'all__hidden_{index}'])


def test_without_corrections_the_content_is_that_of_plain_clip(golden):
    output = published_adaptor(with_zero_modules(published_state())).embed(golden['image'])
    same(output.content, golden['zero__image_features'])
    same(output.content, golden['plain_image_features'])
    same(output.global_degradation, golden['all__degra_features'])
    same(output.fine_degradation, golden['all__fine_degra_features'])


@pytest.mark.parametrize('index', [0, 1, 2])
def test_each_correction_enters_where_the_published_one_does(golden, index):
    output = published_adaptor(with_zero_modules(published_state(), kept=(index,))).embed(golden['image'])
    same(output.content, golden[f'only{index}__image_features'])
    same(output.global_degradation, golden['all__degra_features'])


def test_the_published_initialisation_has_its_published_embeddings(golden):
    output = published_adaptor(with_published_initialisation(published_state())).embed(golden['image'])
    same(output.content, golden['init_published__image_features'])
    same(output.global_degradation, golden['init_published__degra_features'])
    same(output.fine_degradation, golden['init_published__fine_degra_features'])


def test_the_corrected_initialisation_starts_at_plain_clip(golden, tmp_path):
    state = published_state()
    clip_file = tmp_path / 'clip.pt'
    torch.save({key[5:]: value for key, value in state.items() if key.startswith('clip.')}, clip_file)
    built = DegradationAdaptor(SIDECAR['clip_config'], str(clip_file), **PUBLISHED)
    with torch.no_grad():
        built.out_linear.weight.copy_(state['out_linear.weight'])
        built.out_linear.bias.copy_(state['out_linear.bias'])
    for adaptor in (built, published_adaptor(with_zero_modules(with_copied_tower(state)))):
        output = adaptor.embed(golden['image'])
        same(output.content, golden['plain_image_features'])
        same(output.global_degradation, golden['plain_image_features'])
        same(output.fine_degradation, golden['init_corrected__fine_degra_features'])


def test_texts_have_their_published_embeddings(golden):
    adaptor = published_adaptor(published_state())
    expected = F.normalize(golden['text_features'].flatten(0, 1), dim=-1)
    same(adaptor.encode_text(golden['tokens'].flatten(0, 1)), expected)


def test_the_prior_is_the_published_embeddings_at_unit_length(golden):
    xi, xd = published_adaptor(published_state()).prior(golden['image'])
    same(xi, F.normalize(golden['all__image_features'], dim=-1)[:, None])
    same(xd, F.normalize(golden['all__fine_degra_features'], dim=-1))


def test_our_layout_is_the_published_one_renamed_with_pixel_statistics():
    ours = set(DegradationAdaptor(SIDECAR['clip_config'], **PUBLISHED).state_dict())
    assert ours == set(rename_published(LAYOUT)) | {'image_mean', 'image_std', 'logit_bias'}


def test_renaming_leaves_a_state_dict_of_ours_unchanged():
    state = DegradationAdaptor(SIDECAR['clip_config'], **PUBLISHED).state_dict()
    assert rename_published(state).keys() == state.keys()


def test_the_entry_under_clip_wins_where_an_alias_differs():
    differing = {key: value + 1 if key.startswith('visual.') else value for key, value in published_state().items()}
    expected = rename_published(published_state())
    for state in (differing, dict(reversed(differing.items()))):
        renamed = rename_published(state)
        assert all(torch.equal(renamed[key], value) for key, value in expected.items())


@pytest.mark.parametrize('aliases', ['with aliases', 'without aliases', 'aliases only'])
@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('bias', [(), ('logit_bias',), ('clip.logit_bias', 'logit_bias')], ids=len)
def test_every_form_of_a_published_file_loads_strictly(aliases, prefix, bias):
    state = published_state()
    if aliases == 'without aliases':
        state = {key: value for key, value in state.items() if not key.startswith('visual.')}
    elif aliases == 'aliases only':
        state = {key: value for key, value in state.items() if not key.startswith('clip.visual.')}
    state |= {key: torch.tensor(-3.0) for key in bias}
    adaptor = DegradationAdaptor(SIDECAR['clip_config'], **PUBLISHED)
    adaptor.load_state_dict({prefix + key: value for key, value in state.items()})
    expected = rename_published(published_state())
    loaded = adaptor.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())
    assert adaptor.logit_bias.item() == (-3 if 'logit_bias' in bias else -10)
