"""The protocols hold for the networks of this package and for any class with the same members."""

from __future__ import annotations

import pytest

from deplsr_arch import DAT, DegradationAdaptor, FusedDAT, LevelRegressor
from deplsr_arch.protocols import is_conditioned, is_estimator, is_text_estimator

CLIP = {
    'embed_dim': 16,
    'vision_cfg': {'image_size': 32, 'patch_size': 8, 'width': 16, 'layers': 1, 'head_width': 8},
    'text_cfg': {'context_length': 16, 'vocab_size': 100, 'width': 16, 'heads': 2, 'layers': 1},
}
DAT_SIZES = {'embed_dim': 16, 'split_size': [4, 8], 'depth': [2], 'num_heads': [2], 'expansion_factor': 2}
MEMBERS = {
    'adaptor': (lambda: DegradationAdaptor(CLIP), (True, True, False)),
    'level regressor': (lambda: LevelRegressor(prior_dim=16, num_feat=8), (True, False, False)),
    'DAT': (lambda: DAT(**DAT_SIZES), (False, False, False)),
    'FusedDAT': (lambda: FusedDAT(**DAT_SIZES, prior_dim=16), (False, False, True)),
}


@pytest.mark.parametrize('name', MEMBERS)
def test_each_network_is_recognised_by_what_it_can_do(name):
    build, expected = MEMBERS[name]
    network = build()
    assert (is_estimator(network), is_text_estimator(network), is_conditioned(network)) == expected
