"""Recognises stock networks from the names and shapes of their weights, with the arguments to build them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ['RECOGNISED', 'recognise']

State = Mapping[str, Tensor]
Block = dict[str, Any]

RECOGNISED = ('RRDBNet', 'SRVGGNetCompact', 'MSRResNet', 'SwinIR', 'DAT')


def recognise(state: State) -> Block | None:
    """Returns the block ``network_g`` of a stock network, ``type`` and arguments; None if the weights are of another.

    What weights do not show is taken at the value of the published networks: images in 0..1.
    """
    for rule in (_rrdbnet, _compact, _srresnet, _swinir, _dat):
        try:
            block = rule(state)
        except (LookupError, ValueError, ArithmeticError, TypeError):
            continue  # some of its names, but shapes of another network
        if block is not None:
            return block
    return None


def _count(state: State, pattern: str) -> int:
    """Returns how many indices there are where a pattern has its group."""
    return len({match[1] for match in map(re.compile(pattern).match, state) if match})


def _has(state: State, *keys: str) -> bool:
    return all(key in state for key in keys)


def _rrdbnet(state: State) -> Block | None:
    if not _has(state, 'conv_first.weight', 'body.0.rdb1.conv1.weight', 'conv_up2.weight', 'conv_last.weight'):
        return None
    channels_out, channels_in = state['conv_last.weight'].shape[0], state['conv_first.weight'].shape[1]
    packed = {1: 4, 4: 2, 16: 1}  # pixels that are packed into channels first, and the scale
    return {
        'type': 'RRDBNet',
        'num_in_ch': channels_out,
        'num_out_ch': channels_out,
        'scale': packed.get(channels_in // channels_out, 4),
        'num_feat': state['conv_first.weight'].shape[0],
        'num_block': _count(state, r'body\.(\d+)\.'),
        'num_grow_ch': state['body.0.rdb1.conv1.weight'].shape[0],
    }


def _compact(state: State) -> Block | None:
    indices = sorted(int(key.split('.')[1]) for key in state if re.fullmatch(r'body\.\d+\.weight', key))
    if not indices or len(state) != len([key for key in state if key.startswith('body.')]):
        return None
    first, last = state['body.0.weight'], state[f'body.{indices[-1]}.weight']
    if first.ndim != 4 or last.ndim != 4 or state.get('body.1.weight', first).ndim != 1:
        return None  # without PReLU nothing shows which activation it has
    scale = math.isqrt(last.shape[0] // first.shape[1])
    return {
        'type': 'SRVGGNetCompact',
        'num_in_ch': first.shape[1],
        'num_out_ch': last.shape[0] // scale**2,
        'num_feat': first.shape[0],
        'num_conv': indices[-1] // 2 - 1,
        'upscale': scale,
        'act_type': 'prelu',
    }


def _srresnet(state: State) -> Block | None:
    if not _has(state, 'conv_first.weight', 'body.0.conv1.weight', 'upconv1.weight', 'conv_hr.weight'):
        return None
    width = state['conv_first.weight'].shape[0]
    return {
        'type': 'MSRResNet',
        'num_in_ch': state['conv_first.weight'].shape[1],
        'num_out_ch': state['conv_last.weight'].shape[0],
        'num_feat': width,
        'num_block': _count(state, r'body\.(\d+)\.'),
        'upscale': 4 if 'upconv2.weight' in state else math.isqrt(state['upconv1.weight'].shape[0] // width),
    }


def _swinir(state: State) -> Block | None:
    table = 'layers.{}.residual_group.blocks.0.attn.relative_position_bias_table'
    if not _has(state, 'conv_first.weight', table.format(0), 'layers.0.residual_group.blocks.0.mlp.fc1.weight'):
        return None
    groups = _count(state, r'layers\.(\d+)\.')
    width, channels = state['conv_first.weight'].shape[:2]
    window = (math.isqrt(state[table.format(0)].shape[0]) + 1) // 2
    masks = state.get('layers.0.residual_group.blocks.1.attn_mask')
    upsampler, scale = _tail(state, channels)
    return {
        'type': 'SwinIR',
        'img_size': window if masks is None else math.isqrt(masks.shape[0]) * window,
        'in_chans': channels,
        'embed_dim': width,
        'depths': [_count(state, rf'layers\.{index}\.residual_group\.blocks\.(\d+)\.') for index in range(groups)],
        'num_heads': [state[table.format(index)].shape[1] for index in range(groups)],
        'window_size': window,
        'mlp_ratio': state['layers.0.residual_group.blocks.0.mlp.fc1.weight'].shape[0] / width,
        'upscale': scale,
        'img_range': 1.0,
        'upsampler': upsampler,
        'resi_connection': '1conv' if 'conv_after_body.weight' in state else '3conv',
    }


def _tail(state: State, channels: int) -> tuple[str, int]:
    """Returns the upsampler of SwinIR and DAT and its scale."""
    if 'conv_up1.weight' in state:
        return 'nearest+conv', 4
    if 'conv_before_upsample.0.weight' in state:
        steps = [value.shape for key, value in state.items() if re.fullmatch(r'upsample\.\d+\.weight', key)]
        return 'pixelshuffle', math.prod(math.isqrt(shape[0] // shape[1]) for shape in steps)
    if 'upsample.0.weight' in state:
        return 'pixelshuffledirect', math.isqrt(state['upsample.0.weight'].shape[0] // channels)
    return '', 1


def _dat(state: State) -> Block | None:
    first = 'layers.0.blocks.0.attn.'
    heads = 'layers.{}.blocks.0.attn.attns.0.pos.pos3.2.weight'
    biases = state.get(f'{first}attns.0.rpe_biases')
    if not _has(state, 'before_RG.1.weight', heads.format(0)) or biases is None:
        return None  # without the stored tables nothing shows the sides of the windows
    if any(key.startswith(('fusion_blocks.', 'adaptive_feat_channels.')) for key in state):
        return None
    groups = _count(state, r'layers\.(\d+)\.')
    width, channels = state['conv_first.weight'].shape[:2]
    upsampler, scale = _tail(state, channels)
    return {
        'type': 'DAT',
        'in_chans': channels,
        'embed_dim': width,
        'split_size': [round(float(side)) + 1 for side in biases.float().amax(dim=0)],
        'depth': [_count(state, rf'layers\.{index}\.blocks\.(\d+)\.') for index in range(groups)],
        'num_heads': [2 * state[heads.format(index)].shape[0] for index in range(groups)],
        'expansion_factor': state['layers.0.blocks.0.ffn.fc1.weight'].shape[0] / width,
        'qkv_bias': f'{first}qkv.bias' in state,
        'upscale': scale,
        'resi_connection': '1conv' if 'conv_after_body.weight' in state else '3conv',
        'upsampler': upsampler,
        'pos_dim': state[f'{first}attns.0.pos.pos_proj.weight'].shape[0],
    }
