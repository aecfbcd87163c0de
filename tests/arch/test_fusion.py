"""The Cross-Modal Fusion Module: the published form by its numbers, the residual form by what it must preserve."""

from __future__ import annotations

import pytest
import torch
from fused_dat_cases import assert_matches, inputs, read_case
from torch import nn
from torch.nn import functional as F
from weight_rule import fill

from deplsr_arch.fusion import CrossModalFusion, PriorModulation
from deplsr_arch.pair_attention import all_pairs

FORMS = ['residual', 'paper']


def fusion(form, dim=48, **kwargs):
    block = CrossModalFusion(dim, 6, form=form, **kwargs).eval()
    fill(block)
    return block


def tokens(dim=48, batch=2):
    return torch.randn(batch, 35, dim), torch.randn(batch, 1, dim), torch.randn(batch, 5, dim)


def test_the_paper_form_returns_the_published_outputs():
    case, arrays = read_case('fusion_block')
    block = fusion('paper')
    assert {key: list(value.shape) for key, value in block.state_dict().items()} == case['state_dict']
    assert sum(p.numel() for p in block.parameters()) == case['num_parameters']
    with torch.no_grad():
        for got, name in zip(block(*inputs(arrays)), ('out_x', 'out_xi', 'out_xd'), strict=True):
            assert_matches(got, arrays[name], case['tolerance']['float32'])
        got = block.double()(*inputs(arrays, torch.float64))
        for output, name in zip(got, ('out_x_f64', 'out_xi_f64', 'out_xd_f64'), strict=True):
            assert_matches(output, arrays[name], case['tolerance']['float64'])


def test_the_image_attends_to_the_pairs_as_published():
    case, arrays = read_case('fusion_block')
    block, seen = fusion('paper'), {}
    for name in ('q', 'k'):
        getattr(block.attn, name).register_forward_hook(lambda *call, name=name: seen.update({name: call[2]}))
    with torch.no_grad():
        block(*inputs(arrays))
    q, k = (seen[name].unflatten(2, (6, 8)).transpose(1, 2) for name in ('q', 'k'))
    attention = (q @ k.transpose(-2, -1) * 8**-0.5).softmax(dim=-1)
    assert_matches(attention, arrays['attention'], case['tolerance']['float32'])


def test_pairs_hold_every_content_token_with_every_degradation_token():
    content, degradation = torch.randn(2, 2, 4), torch.randn(2, 3, 4)
    want = [torch.cat([content[:, i], degradation[:, j]], dim=-1) for i in range(2) for j in range(3)]
    assert torch.equal(all_pairs(content, degradation), torch.stack(want, dim=1))


def silence(block):
    """Sets the output of every attention and of the MLP to zero, so that only the residual paths are left."""
    for layer in (block.attn.proj, block.attn.attn_i.proj, block.attn.attn_d.proj, block.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def test_the_residual_form_keeps_the_image_unchanged_and_the_prior_normalised():
    block, (x, xi, xd) = fusion('residual'), tokens()
    silence(block)
    out_x, out_xi, out_xd = block(x, xi, xd)
    assert torch.equal(out_x, x)
    torch.testing.assert_close(out_xi, F.layer_norm(xi, [48], block.norm1_xi.weight, block.norm1_xi.bias))
    torch.testing.assert_close(out_xd, F.layer_norm(xd, [48], block.norm1_xd.weight, block.norm1_xd.bias))


def test_the_paper_form_normalises_the_image_and_drops_the_prior():
    block, (x, xi, xd) = fusion('paper'), tokens()
    silence(block)
    out_x, out_xi, out_xd = block(x, xi, xd)
    torch.testing.assert_close(out_x, F.layer_norm(x, [48], block.norm1_x.weight, block.norm1_x.bias))
    assert not out_xi.any()
    assert not out_xd.any()


def test_both_forms_have_the_same_parameters():
    fusion('residual').load_state_dict(fusion('paper').state_dict(), strict=True)


def test_the_residual_form_passes_on_more_of_the_prior_than_the_paper_form():
    x, xi, xd = tokens()
    moved = {}
    for form in FORMS:
        block = fusion(form)
        moved[form] = (block(x, xi, xd)[0] - block(x, -xi, -xd)[0]).square().mean()
    assert moved['residual'] > 10 * moved['paper']


@pytest.mark.parametrize('form', FORMS)
def test_gradients_reach_the_image_the_prior_and_every_parameter(form):
    block, leaves = fusion(form), [leaf.requires_grad_() for leaf in tokens()]
    (block(*leaves)[0] ** 2).sum().backward()
    assert all(leaf.grad.abs().sum() > 1e-3 for leaf in leaves)
    silent = {name for name, p in block.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-7}
    assert silent <= {'attn.k.bias', 'attn.attn_i.kv.bias', 'attn.attn_d.kv.bias'}  # they shift all logits alike


@pytest.mark.parametrize('form', FORMS)
def test_the_order_of_degradation_tokens_only_orders_their_outputs(form):
    block, (x, xi, xd) = fusion(form), tokens()
    order = [3, 0, 4, 2, 1]
    out_x, out_xi, out_xd = block(x, xi, xd)
    got_x, got_xi, got_xd = block(x, xi, xd[:, order])
    torch.testing.assert_close(got_x, out_x)
    torch.testing.assert_close(got_xi, out_xi)
    torch.testing.assert_close(got_xd, out_xd[:, order])


def test_attn_ratio_narrows_queries_and_keys_on_pairs_only():
    block = fusion('residual', attn_ratio=0.5, mlp_ratio=2)
    assert (block.attn.q.out_features, block.attn.k.out_features, block.attn.v.out_features) == (24, 24, 48)
    assert block.mlp.fc1.out_features == 96
    assert [out.shape[1] for out in block(*tokens())] == [35, 1, 5]


@pytest.mark.parametrize(
    ('argument', 'dim', 'heads', 'kwargs'),
    [
        ('fusion_num_heads', 50, 6, {}),
        ('fusion_num_heads', 48, 0, {}),
        ('fusion_attn_ratio', 48, 6, {'attn_ratio': 0.1}),
        ('fusion_mlp_ratio', 48, 6, {'mlp_ratio': 0}),
        ('fusion', 48, 6, {'form': 'film'}),
    ],
)
def test_a_wrong_argument_is_named_in_one_line(argument, dim, heads, kwargs):
    with pytest.raises(ValueError, match=rf'^{argument}: expected .*, got .*; .+$'):
        CrossModalFusion(dim, heads, **kwargs)


def test_modulation_scales_and_shifts_each_channel_by_the_prior():
    torch.manual_seed(0)
    fusion = PriorModulation(8)
    x, xi, xd = torch.rand(2, 9, 8), torch.rand(2, 1, 8), torch.rand(2, 5, 8)
    assert torch.equal(fusion(x, xi, xd)[0], x)  # at first
    torch.nn.init.normal_(fusion.out.weight)
    out, *passed = fusion(x, xi, xd)
    assert all(map(torch.equal, passed, (xi, xd)))
    gain, shift = ((fusion(torch.full_like(x, value), xi, xd)[0]) for value in (1.0, 0.0))
    torch.testing.assert_close(out, x * (gain - shift) + shift)
    assert torch.equal(gain, gain[:, :1].expand_as(gain))  # the same for all pixels
    assert not torch.allclose(gain[0], gain[1])


def test_modulation_distinguishes_the_degradation_types():
    fusion = PriorModulation(8)
    torch.nn.init.normal_(fusion.out.weight)
    x, xi, xd = torch.rand(1, 9, 8), torch.rand(1, 1, 8), torch.rand(1, 5, 8)
    assert not torch.allclose(fusion(x, xi, xd)[0], fusion(x, xi, xd.flip(1))[0])


@pytest.mark.parametrize(
    ('content', 'degradation', 'reason'),
    [(2, 5, 'got 2 and 5; take fusion: residual'), (1, 6, 'got 1 and 6; set network_g.num_degradation_types: 6')],
)
def test_modulation_expects_one_content_token_and_one_for_each_degradation_type(content, degradation, reason):
    expected = '^prior: expected 1 content and 5 degradation tokens with fusion: film, '
    with pytest.raises(ValueError, match=expected + reason):
        PriorModulation(8)(torch.rand(1, 9, 8), torch.rand(1, content, 8), torch.rand(1, degradation, 8))


def test_modulation_takes_as_many_degradation_types_as_it_is_built_for():
    fusion = PriorModulation(8, num_degradation_types=6)
    assert fusion(torch.rand(1, 9, 8), torch.rand(1, 1, 8), torch.rand(1, 6, 8))[0].shape == (1, 9, 8)
