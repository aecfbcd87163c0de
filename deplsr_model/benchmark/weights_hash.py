"""Hashes of weights, which name a network whatever file it comes from."""

from __future__ import annotations

import hashlib

from torch import nn

__all__ = ['hash_of_weights']


def hash_of_weights(net: nn.Module) -> str:
    """Returns the SHA-256 of a network's parameters and buffers, by name."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        array = value.detach().cpu().float().contiguous().numpy()
        digest.update(f'{name}{array.shape}'.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
