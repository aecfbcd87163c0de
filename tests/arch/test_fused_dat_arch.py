"""FusedDAT against the published network's numbers, layout, gradients, and what ours must do beyond them."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from fused_dat_cases import (
    SMALL,
    assert_matches,
    build,
    case_names,
    inputs,
    published_file,
    read_case,
    read_json,
    read_layouts,
)
from torch.nn import functional as F
from weight_rule import fill, probe

from deplsr_arch import DAT, FusedDAT
from deplsr_arch.fused_dat_arch import parse_fusion_layers
from deplsr_arch.fusion import PriorModulation

COMPUTED = ('relative_position_index', 'rpe_biases', 'attn_mask_0', 'attn_mask_1')
SMALL_FUSED = SMALL | {'fusion_num_heads': 4, 'prior_dim': 24}
FORMS = ['residual', 'paper']


def is_stored(key):
    return not key.endswith(COMPUTED)


def prior(batch=2, dim=24):
    return tuple(F.normalize(torch.randn(batch, count, dim), dim=-1) for count in (1, 5))


@pytest.mark.parametrize('name', case_names('FusedDAT'))
def test_fused_dat_returns_the_published_output(name):
    case, arrays = read_case(name)
    network = build(case).eval()
    assert fill(network) == case['state_dict_keys_filled']
    assert sum(p.numel() for p in network.parameters()) == case['num_parameters']
    with torch.no_grad():
        assert_matches(network(*inputs(arrays)), arrays['out'], case['tolerance']['float32'])
        if 'out_f64' in arrays:
            got = network.double()(*inputs(arrays, torch.float64))
            assert_matches(got, arrays['out_f64'], case['tolerance']['float64'])


def test_every_part_returns_the_published_intermediate_tensors():
    case, arrays = read_case('fused_all_x2_b2_11x13_mid')
    network, seen = build(case).eval(), {}
    fill(network)

    def watch(name, part):
        part.register_forward_hook(lambda *call: seen.setdefault(name, []).append(call[2]))

    for name in ('conv_first', 'before_RG', 'norm', 'conv_after_body', 'adaptive_feat_channels'):
        watch(name, getattr(network, name))
    for i, group in enumerate(network.layers):
        watch(f'fusion{i}', network.fusion_blocks[str(i)])
        watch(f'layer{i}', group)
        for j, block in enumerate(group.blocks):
            watch(f'layer{i}_block{j}', block)
    with torch.no_grad():
        network(*inputs(arrays))

    got = {name: calls[0] for name, calls in seen.items() if 'fusion' not in name and 'feat' not in name}
    got['proj_xi'], got['proj_xd'] = seen['adaptive_feat_channels']
    for i in range(2):
        got |= {f'fusion{i}_{name}': out for name, out in zip(('x', 'xi', 'xd'), seen[f'fusion{i}'][0], strict=True)}
    assert {f'mid_{name}' for name in got} == set(case['mid'])
    for name, tensor in got.items():
        tensor = tensor[:1, :32] if tensor.ndim == 4 else tensor[:1, :, :32]
        assert_matches(tensor, arrays[f'mid_{name}'], {'atol': 1e-4, 'rtol': 0})


def assert_same_sums(named, stored, norm_rtol):
    """Compares tensors with their stored norms and probes."""
    for key, want in stored.items():
        norm = float(named[key].norm())
        np.testing.assert_allclose(norm, want['norm'], rtol=norm_rtol, err_msg=key)
        atol = 5 * norm_rtol * want['norm']
        np.testing.assert_allclose(probe(key, named[key]), want['probe'], rtol=0, atol=atol, err_msg=key)


@pytest.mark.parametrize(('dtype', 'tiny'), [(torch.float32, 1e-6), (torch.float64, 1e-10)], ids=['float32', 'float64'])
def test_a_training_step_has_the_published_gradients_and_statistics(dtype, tiny):
    case, arrays = read_case('grad_fused_x2')
    network = build(case)
    fill(network)
    network.to(dtype).train()
    leaves = dict(zip(('x', 'xi', 'xd'), inputs(arrays, dtype), strict=True))
    out = network(*(leaf.requires_grad_() for leaf in leaves.values()))
    loss = (out - arrays['target'].to(dtype)).abs().mean()
    loss.backward()

    tolerance = case['tolerance'][str(dtype).removeprefix('torch.')]
    assert loss.item() == pytest.approx(case['loss'], rel=tolerance['loss_rtol'])
    assert_matches(out.detach().float(), arrays['out'], {'atol': case['tolerance']['float32']['out_atol'], 'rtol': 0})
    gradients = {key: p.grad for key, p in network.named_parameters()}
    assert set(gradients) == set(case['parameters'])
    zero = case['zero_gradient_keys']['keys']
    assert all(gradients[key].norm() < tiny for key in zero)
    stored = {key: want for key, want in case['parameters'].items() if key not in zero}
    assert_same_sums(gradients, stored, tolerance['norm_rtol'])
    total = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert total.item() == pytest.approx(case['total_grad_norm'], rel=tolerance['norm_rtol'])
    assert_same_sums({key: leaf.grad for key, leaf in leaves.items()}, case['inputs_grad'], tolerance['norm_rtol'])
    statistics = case['running_stats_after_one_forward']['values']
    assert_same_sums(network.state_dict(), statistics, tolerance['norm_rtol'])


@pytest.mark.parametrize('variant', ['paper', 's', 'light'])
def test_published_weights_load_strictly_with_and_without_stored_masks(variant):
    layout = read_layouts()[variant]
    network = build(layout)
    network.load_state_dict(published_file(layout), strict=True, assign=True)
    network.load_state_dict(published_file(layout, is_stored), strict=True, assign=True)
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == {
        key: shape for key, (shape, _) in layout['state_dict'].items() if is_stored(key)
    }
    assert sum(p.numel() for p in network.parameters()) == layout['num_parameters']


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('variant', ['paper', 's', 'light'])
def test_parameter_counts_are_the_published_ones(variant, scale):
    published = read_json('param_counts.json')
    want = published['counts'][variant][f'x{scale}']
    network = FusedDAT(**published['variants'][variant], upscale=scale, fusion='paper')
    count = sum(p.numel() for p in network.parameters())
    fusion = sum(p.numel() for p in network.fusion_blocks.parameters())
    projection = sum(p.numel() for p in network.adaptive_feat_channels.parameters())
    got = {'FusedDAT': count, 'FusedDAT_fusion_none': count - fusion, 'DAT': count - fusion - projection}
    assert got == {name: want[name] for name in got}


def test_the_papers_network_is_the_default_except_for_the_form_of_fusion():
    assert sum(p.numel() for p in FusedDAT(fusion='paper').parameters()) == 18_061_131
    assert {type(block) for block in FusedDAT().fusion_blocks.values()} == {PriorModulation}


def test_arguments_shared_with_dat_have_the_same_defaults():
    own, shared = (inspect.signature(network).parameters for network in (FusedDAT, DAT))
    assert {name: own[name].default for name in shared} == {name: p.default for name, p in shared.items()}


@pytest.mark.parametrize('fusion', FORMS)
def test_without_fusion_the_output_is_that_of_dat(fusion):
    fused = FusedDAT(**SMALL_FUSED, fusion_layers='none', fusion=fusion).eval()
    plain = DAT(**SMALL).eval()
    fill(fused)
    fill(plain)
    x = torch.rand(2, 3, 9, 7)
    assert torch.equal(fused(x, *prior()), plain(x))


@pytest.mark.parametrize('fusion', FORMS)
def test_the_output_depends_on_both_priors_and_not_on_the_order_of_degradations(fusion):
    network = FusedDAT(**SMALL_FUSED, fusion=fusion, fusion_init='paper').eval()
    fill(network)
    x, (xi, xd) = torch.rand(2, 3, 9, 7), prior()
    with torch.no_grad():
        out = network(x, xi, xd)
        torch.testing.assert_close(network(x, xi, xd[:, [4, 2, 0, 1, 3]]), out)
        assert (network(x, -xi, xd) - out).abs().max() > 1e-3
        assert (network(x, xi, -xd) - out).abs().max() > 1e-3


@pytest.mark.parametrize('fusion', FORMS)
def test_gradients_reach_the_prior(fusion):
    network = FusedDAT(**SMALL_FUSED, fusion=fusion, fusion_init='paper').train()
    fill(network)
    xi, xd = (leaf.requires_grad_() for leaf in prior())
    network(torch.rand(2, 3, 9, 7), xi, xd).square().mean().backward()
    assert xi.grad.norm() > 1e-5
    assert xd.grad.norm() > 1e-5
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize('size', [(1, 1), (3, 10), (19, 8)])
def test_any_input_size_comes_out_enlarged(size):
    network = FusedDAT(**SMALL_FUSED, upscale=3, fusion='residual').eval()
    out = network(torch.rand(2, 3, *size), *prior())
    assert out.shape == (2, 3, 3 * size[0], 3 * size[1])


def test_it_is_built_for_another_number_of_degradation_types():
    network = FusedDAT(**SMALL_FUSED, num_degradation_types=6).eval()
    assert network.num_degradation_types == 6
    x, content, degradation = torch.rand(1, 3, 4, 4), torch.rand(1, 1, 24), torch.rand(1, 6, 24)
    assert network(x, content, degradation).shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match=r'got 1 and 5; set network_g\.num_degradation_types: 5$'):
        network(x, content, degradation[:, :5])


def test_attention_takes_any_number_of_prior_tokens():
    network = FusedDAT(**SMALL_FUSED, fusion='residual').eval()
    assert network(torch.rand(1, 3, 4, 4), torch.rand(1, 2, 24), torch.rand(1, 7, 24)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ('fusion_layers', 'groups'),
    [('all', (0, 1, 2, 3)), ('none', ()), ('0-2', (0, 2)), ('3', (3,)), (0, (0,)), (2, (2,))],
)
def test_fusion_layers_name_the_groups(fusion_layers, groups):
    assert parse_fusion_layers(fusion_layers, 4) == groups


@pytest.mark.parametrize('fusion_layers', ['', 'some', '4', '0-4', '2-0', '1-1', '0,2', -1, True, None, [0, 2]])
def test_wrong_fusion_layers_are_refused_in_one_line(fusion_layers):
    with pytest.raises(ValueError, match=r"^fusion_layers: expected 'all', .*; there are 4 groups, counted from 0$"):
        parse_fusion_layers(fusion_layers, 4)


@pytest.mark.parametrize(
    ('argument', 'value'),
    [('prior_dim', 0), ('fusion', 'flim'), ('fusion_num_heads', 5), ('fusion_mlp_ratio', 0), ('embed_dim', 8)],
)
def test_a_wrong_argument_is_named_in_one_line(argument, value):
    with pytest.raises(ValueError, match=rf'^{argument}: expected .*, got .*; .+$'):
        FusedDAT(**SMALL_FUSED | {'fusion': 'residual', argument: value})


@pytest.mark.parametrize(
    ('name', 'xi', 'xd'),
    [('xi', (2, 24), (2, 5, 24)), ('xi', (1, 1, 24), (2, 5, 24)), ('xd', (2, 1, 24), (2, 5, 512))],
)
def test_a_wrong_prior_is_refused_in_one_line(name, xi, xd):
    with pytest.raises(ValueError, match=rf'^{name}: expected \(2, n, 24\), got .*; pass one prior for each image'):
        FusedDAT(**SMALL_FUSED).eval()(torch.rand(2, 3, 4, 4), torch.rand(xi), torch.rand(xd))
