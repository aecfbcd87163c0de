from __future__ import annotations

import copy

import pytest
import torch
from basicsr.archs import build_network

from deplsr_model.upscaling.recognise import recognise

SWINIR = {'type': 'SwinIR', 'window_size': 4, 'embed_dim': 12, 'mlp_ratio': 2}
DAT = {'type': 'DAT', 'embed_dim': 16, 'depth': [2, 3], 'num_heads': [2, 4], 'split_size': [4, 8], 'pos_dim': 3}
STOCK = {
    **{
        f'RRDBNet x{scale}': {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': scale, 'num_feat': 8}
        | {'num_block': 2, 'num_grow_ch': 4}
        for scale in (1, 2, 4)
    },
    **{
        f'compact x{scale}': {'type': 'SRVGGNetCompact_basicsr', 'num_feat': 8, 'num_conv': 3, 'upscale': scale}
        for scale in (2, 3, 4)
    },
    **{
        f'MSRResNet x{scale}': {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 2, 'upscale': scale}
        for scale in (2, 3, 4)
    },
    'SwinIR real': {**SWINIR, 'img_size': 16, 'depths': [2, 4], 'num_heads': [2, 2], 'upscale': 4}
    | {'upsampler': 'nearest+conv'},
    'SwinIR classical': {**SWINIR, 'img_size': 24, 'depths': [2], 'num_heads': [3], 'upscale': 2}
    | {'upsampler': 'pixelshuffle', 'resi_connection': '3conv'},
    'SwinIR light': {**SWINIR, 'img_size': 8, 'depths': [2], 'num_heads': [2], 'upscale': 3}
    | {'upsampler': 'pixelshuffledirect'},
    'DAT': {**DAT, 'upscale': 4, 'upsampler': 'pixelshuffle', 'expansion_factor': 2.0},
    'DAT light': {**DAT, 'upscale': 3, 'upsampler': 'pixelshuffledirect', 'resi_connection': '3conv'},
}


def with_stored_tables(state, sides):
    """Adds what published DAT checkpoints store next to their weights."""
    height, width = sides
    rows, columns = torch.meshgrid(torch.arange(1 - height, height), torch.arange(1 - width, width), indexing='ij')
    return {**state, 'layers.0.blocks.0.attn.attns.0.rpe_biases': torch.stack([rows, columns]).flatten(1).T.float()}


@torch.no_grad()
@pytest.mark.parametrize('name', STOCK)
def test_a_stock_network_is_rebuilt_from_its_weights_alone(name):
    net = build_network(copy.deepcopy(STOCK[name])).eval()
    state = net.state_dict()
    found = recognise(with_stored_tables(state, (4, 8)) if name.startswith('DAT') else state)
    again = build_network(copy.deepcopy(found)).eval()
    again.load_state_dict(state)
    x = torch.rand(1, 3, 16, 24)
    assert torch.equal(again(x), net(x))


def test_what_weights_do_not_show_is_not_guessed():
    assert recognise(build_network(copy.deepcopy(STOCK['DAT'])).state_dict()) is None  # the sides of the windows
    leaky = {**STOCK['compact x2'], 'act_type': 'leakyrelu'}
    assert recognise(build_network(leaky).state_dict()) is None  # the activation
    assert recognise({'a.weight': torch.zeros(3)}) is None
