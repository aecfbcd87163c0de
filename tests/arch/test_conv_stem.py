"""The convolutions that replace the patch embedding of the control tower."""

from __future__ import annotations

import pytest
import torch

from basicsr_plugin.errors import UserError
from deplsr_arch import DegradationAdaptor
from deplsr_arch.conv_stem import conv_stem

CLIP = {
    'embed_dim': 16,
    'vision_cfg': {'image_size': 32, 'patch_size': 8, 'width': 16, 'layers': 2, 'head_width': 8},
    'text_cfg': {'context_length': 16, 'vocab_size': 100, 'width': 16, 'heads': 2, 'layers': 1},
}


@pytest.mark.parametrize('patch', [2, 4, 8, 32])
def test_the_stem_returns_the_grid_of_the_patch_embedding(patch):
    assert conv_stem(24, patch)(torch.rand(2, 3, 64, 64)).shape == (2, 24, 64 // patch, 64 // patch)


def test_a_patch_size_that_is_no_power_of_two_is_refused():
    with pytest.raises(UserError, match=r'^patch_size: expected a power of 2, at least 2, got 14; take 8, 16 or 32$'):
        conv_stem(24, 14)


def test_with_the_stem_the_content_of_step_0_is_still_that_of_clip():
    net = DegradationAdaptor(CLIP, stem='conv').eval()
    plain = DegradationAdaptor(CLIP, stem='patch').eval()
    plain.clip.load_state_dict(net.clip.state_dict())
    lq = torch.rand(2, 3, 32, 32)
    assert torch.allclose(net(lq).content, plain(lq).content, atol=1e-6)


def test_the_stem_is_trained_and_the_frozen_tower_keeps_its_patches():
    net = DegradationAdaptor(CLIP, stem='conv')
    net(torch.rand(2, 3, 32, 32)).fine_degradation.square().sum().backward()
    assert all(p.grad is not None for p in net.visual_control.conv1.parameters())
    assert isinstance(net.clip.visual.conv1, torch.nn.Conv2d)
    assert net.clip.visual.conv1.weight.grad is None


def test_the_stem_has_two_convolutions_at_half_scale():
    sides = []
    stem = conv_stem(24, 8)
    for layer in stem:
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, out: sides.append(out.shape[-1]))
    stem(torch.rand(1, 3, 64, 64))
    assert sides == [64, 32, 32, 16, 8, 8]
