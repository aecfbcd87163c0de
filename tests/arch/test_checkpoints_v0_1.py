"""Checkpoints that version 0.1 trained load strictly into today's networks and return the same outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deplsr_arch import DegradationAdaptor, Fused, FusedDAT, FusedRRDBNet, LevelRegressor
from deplsr_model.checkpoint import load_into

V0_1 = Path(__file__).parents[1] / 'golden' / 'v0_1'
CLIP = {
    'embed_dim': 16,
    'vision_cfg': {'image_size': 32, 'layers': 2, 'width': 32, 'head_width': 16, 'patch_size': 8},
    'text_cfg': {'context_length': 24, 'vocab_size': 300, 'width': 16, 'heads': 2, 'layers': 1},
}
DAT = {'embed_dim': 16, 'depth': [2], 'num_heads': [2], 'split_size': [4, 8], 'img_size': 16, 'upscale': 2}
DAT |= {'upsampler': 'pixelshuffledirect', 'expansion_factor': 2, 'prior_dim': 16, 'fusion_num_heads': 2}
SRRESNET = {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 2, 'upscale': 2}
SR_NETWORKS = {
    'dat_film': lambda: FusedDAT(**DAT, fusion='film'),
    'dat_residual': lambda: FusedDAT(**DAT, fusion='residual'),
    'dat_paper': lambda: FusedDAT(**DAT, fusion='paper'),
    'fused': lambda: Fused(backbone=SRRESNET, fuse_at=['body.0'], prior_dim=16),
    'rrdb': lambda: FusedRRDBNet(num_feat=8, num_block=2, num_grow_ch=4, scale=2, prior_dim=16, fuse_every=1),
}


@pytest.fixture(scope='module')
def stored():
    with np.load(V0_1 / 'outputs.npz') as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def loaded(network, name):
    """The network with the weights of a checkpoint; none of its own may be left."""
    torch.nn.init.constant_(next(network.parameters()), torch.nan)
    assert load_into(network, V0_1 / f'{name}.pth').kept == []
    return network.eval()


def same(got, expected):
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize('name', SR_NETWORKS)
def test_a_super_resolution_network_of_version_0_1_returns_the_same_images(name, stored):
    network = loaded(SR_NETWORKS[name](), name)
    same(network(stored['y'], stored['xi'], stored['xd']), stored[f'{name}.out'])


@torch.no_grad()
def test_a_level_regressor_of_version_0_1_estimates_the_same_levels(stored):
    same(loaded(LevelRegressor(prior_dim=16, num_feat=8), 'regressor')(stored['x']), stored['regressor.out'])


@torch.no_grad()
def test_an_adaptor_of_version_0_1_loads_into_the_default_one_and_returns_the_same_embeddings(stored):
    adaptor = loaded(DegradationAdaptor(CLIP), 'adaptor')
    output = adaptor(stored['x'])
    same(output.content, stored['adaptor.content'])
    same(output.global_degradation, stored['adaptor.degradation'])
    same(output.fine_degradation, stored['adaptor.fine'])
    same(adaptor.encode_text(torch.arange(24)[None] + 100), stored['adaptor.text'])
