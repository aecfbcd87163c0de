"""A small CLIP config, and the error that building a backbone raises."""

from __future__ import annotations

import pytest

from basicsr_plugin.errors import UserError
from deplsr_arch.clip_backbone import build_backbone


def config(**vision):
    """A CLIP of two blocks; arguments change its image tower."""
    return {
        'embed_dim': 24,
        'vision_cfg': {'image_size': 48, 'layers': 2, 'width': 32, 'head_width': 16, 'patch_size': 16, **vision},
        'text_cfg': {'context_length': 8, 'vocab_size': 50, 'width': 16, 'heads': 2, 'layers': 1},
    }


def refusal(clip, pretrained=None):
    """The one line with which a config or its weights are refused."""
    with pytest.raises(UserError) as caught:
        build_backbone(clip, pretrained)
    message = str(caught.value)
    assert '\n' not in message
    return message
