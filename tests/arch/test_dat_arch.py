"""DAT against the published network's numbers, layout and parameter counts, and what ours must do beyond them."""

from __future__ import annotations

import copy

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
    read_layouts,
)
from torch import nn
from weight_rule import fill

from deplsr_arch import DAT
from deplsr_arch.attention import AdaptiveChannelAttention, AdaptiveSpatialAttention
from deplsr_arch.dat_arch import is_shifted
from deplsr_arch.dat_blocks import DropPath
from deplsr_arch.window_attention import PositionBias

COMPUTED = ('relative_position_index', 'rpe_biases', 'attn_mask_0', 'attn_mask_1')


def is_stored(key):
    return not key.endswith(COMPUTED)


@pytest.mark.filterwarnings('ignore:Initializing zero-element tensors')
@pytest.mark.parametrize('name', case_names('DAT'))
def test_dat_returns_the_published_output(name):
    case, arrays = read_case(name)
    network = build(case).eval()
    assert fill(network) == case['state_dict_keys_filled']
    with torch.no_grad():
        assert_matches(network(*inputs(arrays)), arrays['out'], case['tolerance']['float32'])
        if 'out_f64' in arrays:
            got = network.double()(*inputs(arrays, torch.float64))
            assert_matches(got, arrays['out_f64'], case['tolerance']['float64'])


def test_published_dat_weights_load_strictly_with_and_without_stored_masks():
    layout = read_layouts()['dat']
    network = build(layout)
    network.load_state_dict(published_file(layout), strict=True, assign=True)
    network.load_state_dict(published_file(layout, is_stored), strict=True, assign=True)
    assert set(network.state_dict()) == {key for key in layout['state_dict'] if is_stored(key)}


def test_a_stored_mask_changes_nothing():
    network, other = DAT(**SMALL).eval(), DAT(**SMALL).eval()
    stored = network.state_dict()
    stored['layers.0.blocks.2.attn.attn_mask_0'] = torch.full((8, 32, 32), torch.nan)
    stored['layers.0.blocks.2.attn.attns.1.rpe_biases'] = torch.full((105, 2), torch.nan)
    other.load_state_dict(stored, strict=True)
    assert 'layers.0.blocks.2.attn.attn_mask_0' in stored
    x = torch.rand(1, 3, 9, 13)
    assert torch.equal(network(x), other(x))


@pytest.mark.parametrize('key', ['attn_mask_0', 'layers.0.blocks.1.attn.attn_mask_0', 'layers.0.blocks.2.attn.mask'])
def test_an_unknown_entry_elsewhere_is_still_refused(key):
    network = DAT(**SMALL)
    with pytest.raises(RuntimeError, match=f'Unexpected key.*{key}'):
        network.load_state_dict(network.state_dict() | {key: torch.zeros(1)}, strict=True)


def test_the_defaults_are_the_papers_settings_at_x4():
    layout, network = read_layouts()['dat'], DAT()
    assert network.upscale == 4
    assert sum(p.numel() for p in network.parameters()) == layout['num_parameters']
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == {
        key: shape for key, (shape, _) in layout['state_dict'].items() if is_stored(key)
    }


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (7, 3), (8, 8), (17, 5)])
@pytest.mark.parametrize(
    'tail',
    [
        {'upscale': 2, 'upsampler': 'pixelshuffle'},
        {'upscale': 3, 'upsampler': 'pixelshuffle', 'resi_connection': '3conv'},
        {'upscale': 5, 'upsampler': 'pixelshuffledirect', 'split_size': [2, 3]},
        {'upscale': 1, 'upsampler': 'pixelshuffle', 'in_chans': 1},
    ],
)
def test_any_input_size_comes_out_enlarged(size, tail):
    network = DAT(**SMALL | tail).eval()
    with torch.no_grad():
        out = network(torch.rand(2, tail.get('in_chans', 3), *size))
    assert out.shape == (2, tail.get('in_chans', 3), tail['upscale'] * size[0], tail['upscale'] * size[1])
    assert out.isfinite().all()


def test_blocks_are_shifted_as_published():
    shifted = {(group, block) for group in range(2) for block in range(0, 8, 2) if is_shifted(group, block)}
    assert shifted == {(0, 2), (0, 6), (1, 0), (1, 4)}


def test_img_range_scales_the_input_but_not_the_output():
    torch.manual_seed(1)
    network = DAT(**SMALL).eval()
    scaled = DAT(**SMALL, img_range=255.0).eval()
    scaled.load_state_dict(network.state_dict())
    x = torch.rand(1, 3, 6, 6)
    shallow = network.conv_first((x - network.mean) * 255)
    assert torch.equal(scaled.embed(x)[0], shallow)
    zeros = torch.zeros_like(shallow)
    tokens = torch.zeros(1, 36, SMALL['embed_dim'])
    want = (network.reconstruct(zeros, tokens, (6, 6)) - network.mean) / 255 + network.mean
    torch.testing.assert_close(scaled.reconstruct(zeros, tokens, (6, 6)), want)


def train_step(network, x, seed=0):
    torch.manual_seed(seed)
    network.train()
    loss = (network(x) ** 2).mean()
    loss.backward()
    statistics = {key: value for key, value in network.state_dict().items() if 'running' in key or 'tracked' in key}
    return loss, {name: p.grad for name, p in network.named_parameters()}, statistics


@pytest.mark.parametrize('use_chk', [True, 'cheap', 'auto'])
def test_checkpointing_changes_neither_gradients_nor_running_statistics(use_chk):
    rates = {'drop_path_rate': 0.4, 'drop_rate': 0.1, 'attn_drop_rate': 0.1}
    network = DAT(**SMALL | rates, use_chk=False)
    checkpointed = DAT(**SMALL | rates, use_chk=use_chk)
    checkpointed.load_state_dict(network.state_dict())
    x = torch.rand(4, 3, 9, 11)
    for got, want in zip(train_step(checkpointed, x), train_step(network, x), strict=True):
        torch.testing.assert_close(got, want)
    assert all(part.momentum == 0.1 for part in checkpointed.modules() if isinstance(part, nn.BatchNorm2d))


def kept(use_chk, device='cpu'):
    return kept_by(DAT(**SMALL, use_chk=use_chk).to(device), device)


def kept_by(network, device):
    """Returns the values that are kept for the backward pass."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        network(torch.rand(2, 3, 16, 16, device=device))
    return sum(sizes)


def test_checkpointing_keeps_fewer_tensors_for_the_backward_pass():
    assert kept(True) < kept('cheap') / 2
    assert kept('cheap') < 0.85 * kept(False)


def test_by_default_a_moved_network_computes_again_on_the_cpu_only():
    network = DAT(**SMALL)
    assert kept('cheap') == kept_by(network, 'cpu')
    assert kept(False, 'meta') == kept_by(network.to('meta'), 'meta')
    assert kept('cheap', 'meta') < kept(False, 'meta')


def test_biases_are_kept_in_evaluation_until_parameters_change():
    network, x = DAT(**SMALL, pos_dim=3).eval(), torch.rand(1, 3, 16, 16)
    fill(network)
    attn = network.layers[0].blocks[0].attn.attns[0]
    with torch.no_grad():
        before = network(x)
        assert attn.biases() is attn.biases()
        attn.pos.pos3[2].weight.mul_(3)
        after = network(x)
        attn.pos.pos3[2].weight.data.div_(3)  # as an average of weights is written, which torch does not notice
        again = network.eval()(x)
    assert (after - before).abs().max() > 1e-4
    torch.testing.assert_close(again, before)
    assert copy.deepcopy(attn)._kept is None
    assert attn.biases() is not attn.biases()  # with gradients


def test_evaluation_without_gradients_overwrites_neither_inputs_nor_weights():
    network, x = DAT(**SMALL, pos_dim=3).eval(), torch.rand(2, 3, 10, 20)
    fill(network)
    inputs, weights = x.clone(), copy.deepcopy(network.state_dict())
    want = network(x).detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            got = [network(x) for _ in range(2)]
        torch.testing.assert_close(got, [want, want])
    assert torch.equal(x, inputs)
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize('shifted', [False, True])
def test_an_attention_leaves_its_input_alone(shifted):
    torch.manual_seed(0)
    spatial = AdaptiveSpatialAttention(16, 2, window=(2, 4), shifted=shifted, pos_dim=3)
    for attention in (spatial, AdaptiveChannelAttention(16, 2)):
        x = torch.randn(2, 48, 16)
        given, want = x.clone(), attention.eval()(x, (6, 8)).detach()
        with torch.no_grad():
            torch.testing.assert_close(attention(x, (6, 8)), want)
        assert torch.equal(x, given)


@pytest.mark.parametrize('pos_dim', [1, 3])
def test_every_parameter_gets_a_gradient(pos_dim):
    network = DAT(**SMALL, pos_dim=pos_dim)
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_drop_path_draws_as_version_0_1_did():
    x = torch.rand(64, 2, 3)
    torch.manual_seed(0)
    kept = x.new_empty(64, 1, 1).bernoulli_(1 - 0.25)
    torch.manual_seed(0)
    torch.testing.assert_close(DropPath(0.25).train()(torch.zeros_like(x), x.clone()), x * kept / (1 - 0.25))


def test_drop_path_drops_whole_samples_in_training_only():
    path, x = DropPath(0.25), torch.ones(4000, 2, 3)
    out = path.train()(torch.zeros_like(x), x)
    assert (out == out[:, :1, :1]).all()
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert out.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(path.eval()(torch.zeros_like(x), x.clone()), x)


def test_stochastic_depth_rises_from_zero_to_its_rate():
    layers = DAT(**SMALL | {'drop_path_rate': 0.2}).layers
    rates = [block.drop_path.rate for group in layers for block in group.blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_mixed_precision_stays_close_to_full_precision():
    network, x = DAT(**SMALL), torch.rand(2, 3, 17, 9)
    fill(network.eval())
    full = network(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = network(x)
    assert (mixed.float() - full).abs().max() < 0.1
    mixed.float().mean().backward()
    assert network.to(torch.bfloat16)(x.to(torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(('width', 'varies'), [(0, False), (1, False), (8, True)])
@pytest.mark.filterwarnings('ignore:Initializing zero-element tensors')
def test_a_position_bias_of_width_one_is_the_same_for_all_offsets(width, varies):
    bias = PositionBias(width, 3)
    fill(bias)
    values = bias(torch.randint(-8, 8, (50, 2)).float())
    assert bool((values - values[0]).abs().max() > 1e-3) is varies


def test_pos_dim_sets_the_width_of_the_position_bias():
    with torch.device('meta'):
        light = {'embed_dim': 60, 'depth': [2], 'num_heads': [6]}
        widths = [
            DAT(**light, pos_dim=dim).layers[0].blocks[0].attn.attns[0].pos.pos_proj.out_features for dim in (None, 8)
        ]
    assert widths == [1, 8]


def test_qkv_bias_and_qk_scale_are_used():
    assert DAT(**SMALL, qkv_bias=False).layers[0].blocks[0].attn.qkv.bias is None
    flat, usual = DAT(**SMALL, qk_scale=1e-9).eval(), DAT(**SMALL).eval()
    fill(usual)
    flat.load_state_dict(usual.state_dict())
    x = torch.rand(1, 3, 8, 8)
    assert (flat(x) - usual(x)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('img_size', 0),
        ('in_chans', -1),
        ('embed_dim', 8),
        ('embed_dim', '180'),
        ('split_size', [8]),
        ('split_size', [1, 8]),
        ('split_size', 8),
        ('depth', []),
        ('depth', [2, 0]),
        ('num_heads', [2]),
        ('num_heads', [2, 3]),
        ('num_heads', [2, 6]),
        ('expansion_factor', 0),
        ('expansion_factor', 1.04),
        ('qkv_bias', 'no'),
        ('qk_scale', -1),
        ('drop_rate', 1.0),
        ('attn_drop_rate', -0.1),
        ('drop_path_rate', True),
        ('use_chk', 'all'),
        ('upscale', 6),
        ('upscale', 2.0),
        ('img_range', 0),
        ('resi_connection', '2conv'),
        ('upsampler', ''),
        ('pos_dim', 0),
    ],
)
def test_a_wrong_argument_is_named_in_one_line(argument, value):
    with pytest.raises(ValueError, match=rf'^{argument}: expected .*, got .*; .+$') as error:
        DAT(**SMALL | {argument: value})
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('shape', [(3, 8, 8), (1, 4, 8, 8), (1, 3, 0, 8)])
def test_a_wrong_input_is_refused_in_one_line(shape):
    with pytest.raises(ValueError, match=r'^x: expected \(B, 3, h, w\), got .*; pass a batch'):
        DAT(**SMALL).eval()(torch.rand(shape))


def test_a_training_batch_of_one_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r'^x: expected two samples or more in training, got 1; use larger batches'):
        DAT(**SMALL).train()(torch.rand(1, 3, 8, 8))


# Windows, channels, shifted windows. Images from 72 pixels on: below, the CPU runs convolutions in other ways.
COMPILED = {**SMALL, 'depth': [3], 'num_heads': [2], 'upsampler': 'pixelshuffledirect'}


@pytest.mark.slow
def test_a_compiled_network_is_not_compiled_again_for_another_size():
    from torch._dynamo.testing import CompileCounterWithBackend  # slow to import

    compiler = CompileCounterWithBackend('aot_eager')  # without code generation
    network = DAT(**COMPILED).eval()
    compiled = torch.compile(network, dynamic=True, backend=compiler)
    counts = []
    with torch.no_grad():
        for size in ((72, 88), (96, 104), (80, 73)):
            x = torch.rand(2, 3, *size)
            torch.testing.assert_close(compiled(x), network(x))
            counts.append(compiler.frame_count)
    assert counts == counts[:1] * 3


@pytest.mark.parametrize('use_chk', [pytest.param(True, marks=pytest.mark.slow), 'auto'])
def test_a_training_step_compiles_and_is_that_of_the_network(use_chk):
    torch.manual_seed(0)
    networks = [DAT(**COMPILED, use_chk=use_chk).train()]
    networks.append(copy.deepcopy(networks[0]))
    x = torch.rand(2, 3, 16, 24)
    compiled = torch.compile(networks[0], dynamic=False, backend='aot_eager', fullgraph=True)
    outputs = [compiled(x), networks[1](x)]
    torch.testing.assert_close(*outputs)
    for out in outputs:
        out.square().mean().backward()
    for (name, p), q in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-5, rtol=1e-4, msg=name)
    for (name, p), q in zip(networks[0].named_buffers(), networks[1].buffers(), strict=True):
        torch.testing.assert_close(p, q, msg=name)
