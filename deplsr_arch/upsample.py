"""Enlarging by sub-pixel convolutions (Shi et al., CVPR 2016)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from deplsr_arch.checks import expect, is_count

Upsampler = Literal['pixelshuffle', 'pixelshuffledirect']


def upsample_in_steps(scale: int, channels: int) -> nn.Sequential:
    """Enlarges a power of two in steps of 2, or 3 in one: (B, C, H, W) -> (B, C, scale H, scale W).

    Raises:
        ValueError: ``scale`` is neither 3 nor a power of two.
    """
    feasible = is_count(scale) and (scale == 3 or scale & (scale - 1) == 0)
    expect(feasible, 'upscale', '3 or a power of two', scale, "upsampler 'pixelshuffledirect' takes any whole number")
    steps = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    return nn.Sequential(*(layer for step in steps for layer in upsample_at_once(step, channels, channels)))


def upsample_at_once(scale: int, channels: int, channels_out: int) -> nn.Sequential:
    """Enlarges by one convolution and one shuffle: (B, C, H, W) -> (B, C_out, scale H, scale W)."""
    return nn.Sequential(nn.Conv2d(channels, channels_out * scale**2, 3, padding=1), nn.PixelShuffle(scale))
