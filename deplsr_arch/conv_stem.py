"""Convolutional first layers for a ViT that is trained from scratch on little data."""

from __future__ import annotations

from torch import nn

from deplsr_arch.checks import expect, is_power_of_two

__all__ = ['conv_stem']


def conv_stem(width: int, patch_size: int, argument: str = 'patch_size') -> nn.Sequential:
    """Builds strided 3 x 3 convolutions with batch norm that replace the patch embedding, on the same grid.

    Noise and block borders extend over a few pixels only, and their strength is a square, which one linear layer over a
    patch cannot compute. Measured from scratch on 64 x 64 LR crops: Spearman correlation of estimated with true level
    is 0.79 / 0.94 / 0.98 for blur / noise / JPEG with this stem, 0.60 / 0.90 / 0.94 without, 0.80 / 0.94 / 0.98 for a
    plain CNN. The second convolution at half scale, where the width of an edge can still be seen, is worth more than a
    block of the tower that takes as long (docs/prior_nominal.md).

    Args:
        width: Channels of a token.
        patch_size: Side of a patch; a power of 2, at least 2.
        argument: Name of the argument that sets ``patch_size``, for the error.

    Shape:
        - (B, 3, S, S) to (B, width, S / patch_size, S / patch_size).

    Raises:
        OptionError: ``patch_size`` is not a power of 2.
    """
    expect(is_power_of_two(patch_size), argument, 'a power of 2, at least 2', patch_size, 'take 8, 16 or 32')
    channels, layers = 32, _layer(3, 32, 1)
    for stage in range(patch_size.bit_length() - 1):
        out = min(32 * 2**stage, width)
        layers += _layer(channels, out, 2)
        if not stage:
            layers += _layer(out, out, 1)
        channels = out
    return nn.Sequential(*layers, nn.Conv2d(channels, width, 1))


def _layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.GELU()]
