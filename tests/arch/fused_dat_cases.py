"""Reference cases of DAT and FusedDAT in golden/fused_dat/, and small networks for other tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import torch

from deplsr_arch import DAT, FusedDAT

GOLDEN = Path(__file__).parent / 'golden' / 'fused_dat'
SMALL = {
    'embed_dim': 32,
    'split_size': [4, 8],
    'depth': [3, 2],
    'num_heads': [2, 4],
    'expansion_factor': 2,
    'drop_path_rate': 0.0,
}


def case_names(network):
    """Names of the cases of one network that are a plain forward pass."""
    sidecars = {path.stem: read_json(path.name) for path in sorted(GOLDEN.glob('*.json'))}
    return [name for name, case in sidecars.items() if case.get('network') == network and case['mode'] == 'eval']


def read_json(name):
    return json.loads((GOLDEN / name).read_text())


def read_case(name):
    """The sidecar of a case and its arrays as tensors."""
    with np.load(GOLDEN / f'{name}.npz') as arrays:
        return read_json(f'{name}.json'), {key: torch.from_numpy(array) for key, array in arrays.items()}


def read_layouts():
    """Published state dicts: variant -> constructor arguments, number of parameters, key -> (shape, dtype)."""
    return json.loads(gzip.decompress((GOLDEN / 'state_dict_layouts.json.gz').read_bytes()))


def build(case, **changed):
    """The network of a case. Its fusion has no dropout, so the published names for that are left out."""
    kwargs = {key: value for key, value in case['constructor_kwargs'].items() if not _is_fusion_dropout(key)}
    if case['network'] == 'DAT':
        return DAT(**kwargs | changed)
    return FusedDAT(**{'fusion': 'paper'} | kwargs | changed)


def _is_fusion_dropout(key):
    return (key.startswith('fusion_') and key.endswith('drop_rate')) or key == 'fusion_drop_path_rate'


def inputs(arrays, dtype=torch.float32):
    return [arrays[name].to(dtype) for name in ('x', 'xi', 'xd') if name in arrays]


def published_file(layout, is_wanted=lambda key: True):
    """A state dict as in a published file; zeros that take no memory."""
    return {
        key: torch.zeros((), dtype=getattr(torch, dtype)).expand(shape)
        for key, (shape, dtype) in layout['state_dict'].items()
        if is_wanted(key)
    }


def assert_matches(got, want, tolerance):
    np.testing.assert_allclose(got.numpy(), want.numpy(), atol=tolerance['atol'], rtol=tolerance['rtol'])
