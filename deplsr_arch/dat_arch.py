"""DAT, the Dual Aggregation Transformer.

Source: Chen et al., Dual Aggregation Transformer for Image Super-Resolution, ICCV 2023, https://arxiv.org/abs/2308.03364.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import get_args

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from deplsr_arch.attention import AdaptiveAttention, AdaptiveChannelAttention, AdaptiveSpatialAttention, to_image
from deplsr_arch.checks import (
    are_counts,
    expect,
    expect_choice,
    expect_counts,
    expect_flags,
    expect_positive,
    expect_rates,
    is_count,
)
from deplsr_arch.dat_blocks import DATBlock, PixelsToTokens, ResiConnection, ResidualGroup, UseCheckpoint, body_conv
from deplsr_arch.initialise import initialise
from deplsr_arch.recompute import Recompute
from deplsr_arch.upsample import Upsampler, upsample_at_once, upsample_in_steps
from deplsr_arch.windows import Size

__all__ = ['DAT']

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, as published
TAIL_CHANNELS = 64
MIN_EMBED_DIM = 16  # the gate per pixel narrows to a sixteenth of the channels


def published_pos_dim(embed_dim: int) -> int:
    """Hidden width of the position bias in the published code: 5 at ``embed_dim`` 180, 1 at 60, 0 below 32."""
    return embed_dim // 2 // 4 // 4


def is_shifted(group: int, block: int) -> bool:
    """Returns whether the spatial block at an even position of a group has shifted windows: every other one has."""
    return block % 4 == (0 if group % 2 else 2)


@ARCH_REGISTRY.register()
class DAT(nn.Module):
    """Super-resolution by alternating spatial-window and channel attention. The defaults are the DePLSR paper's at x4.

    Public DAT checkpoints load strictly: names and shapes are the published ones, and the computed tables and masks in
    such files are skipped.

    Args:
        img_size: LR patch size of the training. Kept so that published options can be read; nothing depends on it.
        in_chans: Channels of input and output. With 3, DIV2K's mean colour is subtracted first and added last.
        embed_dim: Channels C of a token, at least 16 and a multiple of every entry of ``num_heads``.
        split_size: Sides of the attention windows, each at least 2; half of the heads has them swapped.
        depth: Blocks of each residual group; even positions are spatial, odd ones channel attention.
        num_heads: Attention heads of each residual group, even.
        expansion_factor: Hidden width of the feed-forward networks, in multiples of C.
        qkv_bias: Whether projections to q, k, v have a bias.
        qk_scale: Factor of the logits in spatial attention; None for (C / heads) ** -0.5.
        drop_rate: Dropout rate after projections and in feed-forward networks.
        attn_drop_rate: Dropout rate on attention weights.
        drop_path_rate: Stochastic depth rate of the last block; it rises linearly from 0 at the first.
        use_chk: What the backward pass computes again instead of keeping it: 'cheap', depth-wise convolutions, gates
            and activations; true, complete blocks, which costs a forward pass; false, nothing. 'auto' is 'cheap' on
            the CPU and false on a GPU, where 'cheap' saves memory and costs time.
        upscale: Scale: 3 or a power of two; any whole number with 'pixelshuffledirect'.
        img_range: Largest value of the input; 1.0 for images in 0..1.
        resi_connection: '1conv' or '3conv', the convolution at the end of every group and of the body.
        upsampler: 'pixelshuffle' (in steps, 64 channels) or 'pixelshuffledirect' (one convolution, small).
        pos_dim: Hidden width of the position bias. None is the published ``embed_dim // 2 // 4 // 4``, which is only 1
            at ``embed_dim`` 60 and makes the bias the same for all offsets; set about 8 in small models of your own.

    Shape:
        - x: (B, in_chans, h, w), any h and w from 1 upwards; returns (B, in_chans, upscale h, upscale w).

    Raises:
        ValueError: an argument is wrong, or a batch in training has one sample only (batch norm needs two).
    """

    #: Samples in a batch of training: batch norm needs two.
    least_training_batch = 2
    mean: Tensor

    def __init__(
        self,
        *,
        img_size: int = 64,
        in_chans: int = 3,
        embed_dim: int = 180,
        split_size: Sequence[int] = (8, 32),
        depth: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        expansion_factor: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        use_chk: UseCheckpoint = 'auto',
        upscale: int = 4,
        img_range: float = 1.0,
        resi_connection: ResiConnection = '1conv',
        upsampler: Upsampler = 'pixelshuffle',
        pos_dim: int | None = None,
    ) -> None:
        super().__init__()
        expect_counts(img_size=img_size, in_chans=in_chans, upscale=upscale)
        expect_positive(img_range=img_range, qk_scale=1.0 if qk_scale is None else qk_scale)
        expect_rates(drop_rate=drop_rate, attn_drop_rate=attn_drop_rate, drop_path_rate=drop_path_rate)
        expect_flags(qkv_bias=qkv_bias)
        checkpointed = isinstance(use_chk, bool) or use_chk in ('auto', 'cheap')
        expect(checkpointed, 'use_chk', "'auto', 'cheap', true or false", use_chk, "the default is 'auto'")
        recompute: Recompute = 'auto' if use_chk == 'auto' else use_chk == 'cheap'
        expect_choice('resi_connection', resi_connection, get_args(ResiConnection))
        expect_choice('upsampler', upsampler, get_args(Upsampler))
        _check_widths(embed_dim, split_size, expansion_factor, pos_dim)
        _check_groups(embed_dim, depth, num_heads)

        self.in_chans, self.upscale, self.img_range, self.upsampler = in_chans, upscale, img_range, upsampler
        mean = RGB_MEAN if in_chans == 3 else (0.0,)
        self.register_buffer('mean', torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(in_chans, embed_dim, 3, padding=1)
        self.before_RG = nn.Sequential(PixelsToTokens(), nn.LayerNorm(embed_dim))
        position_width = published_pos_dim(embed_dim) if pos_dim is None else pos_dim
        hidden = int(embed_dim * expansion_factor)
        drop_paths = (drop_path_rate * index / max(1, sum(depth) - 1) for index in range(sum(depth)))
        channel = partial(
            AdaptiveChannelAttention,
            qkv_bias=qkv_bias,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            recompute=recompute,
        )
        spatial = partial(
            AdaptiveSpatialAttention,
            window=(split_size[0], split_size[1]),
            pos_dim=position_width,
            qk_scale=qk_scale,
            qkv_bias=qkv_bias,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            recompute=recompute,
        )

        def make_attention(group: int, block: int) -> AdaptiveAttention:
            if block % 2:
                return channel(embed_dim, num_heads[group])
            return spatial(embed_dim, num_heads[group], shifted=is_shifted(group, block))

        def make_group(group: int, blocks: int) -> ResidualGroup:
            attentions = [make_attention(group, block) for block in range(blocks)]
            made = [DATBlock(embed_dim, attn, hidden, drop_rate, next(drop_paths), recompute) for attn in attentions]
            return ResidualGroup(embed_dim, made, resi_connection, use_chk)

        self.layers = nn.ModuleList(make_group(group, blocks) for group, blocks in enumerate(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = body_conv(embed_dim, resi_connection)
        self._add_tail(embed_dim)
        self.apply(initialise)

    def _add_tail(self, embed_dim: int) -> None:
        """Adds the layers that enlarge features (B, C, h, w) to images."""
        if self.upsampler == 'pixelshuffle':
            self.conv_before_upsample = nn.Sequential(nn.Conv2d(embed_dim, TAIL_CHANNELS, 3, padding=1), nn.LeakyReLU())
            self.upsample = upsample_in_steps(self.upscale, TAIL_CHANNELS)
            self.conv_last = nn.Conv2d(TAIL_CHANNELS, self.in_chans, 3, padding=1)
        else:
            self.upsample = upsample_at_once(self.upscale, embed_dim, self.in_chans)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges images (B, in_chans, h, w) to (B, in_chans, upscale h, upscale w)."""
        shallow, tokens, size = self.embed(x)
        for group in self.layers:
            tokens = group(tokens, size)
        return self.reconstruct(shallow, tokens, size)

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor, Size]:
        """Returns shallow features (B, C, h, w), their tokens (B, h * w, C), and the size (h, w)."""
        images = x.ndim == 4 and x.shape[1] == self.in_chans and x.numel() > 0
        expect(images, 'x', f'(B, {self.in_chans}, h, w)', tuple(x.shape), 'pass a batch of images, not empty')
        sampled = not self.training or x.shape[0] > 1
        expect(sampled, 'x', 'two samples or more in training', x.shape[0], 'use larger batches, or eval() mode')
        shallow = self.conv_first((x - self.mean) * self.img_range)
        return shallow, self.before_RG(shallow), (x.shape[2], x.shape[3])

    def reconstruct(self, shallow: Tensor, tokens: Tensor, size: Size) -> Tensor:
        """Returns the enlarged images of shallow features (B, C, h, w) and the tokens after the last group."""
        features = self.conv_after_body(to_image(self.norm(tokens), size)) + shallow
        if self.upsampler == 'pixelshuffle':
            features = self.conv_last(self.upsample(self.conv_before_upsample(features)))
        else:
            features = self.upsample(features)
        return features / self.img_range + self.mean


def _check_widths(embed_dim: int, split_size: Sequence[int], expansion_factor: float, pos_dim: int | None) -> None:
    """Refuses widths and windows that no block can be built with."""
    wide_enough = is_count(embed_dim) and embed_dim >= MIN_EMBED_DIM
    expect(wide_enough, 'embed_dim', f'a whole number from {MIN_EMBED_DIM} upwards', embed_dim, 'the paper has 180')
    sides = are_counts(split_size, 2) and min(split_size) >= 2
    expect(sides, 'split_size', 'two window sides from 2 upwards', split_size, 'the paper has [8, 32]')
    expect_positive(expansion_factor=expansion_factor)
    hidden = int(embed_dim * expansion_factor)
    hint = f'hidden width is {hidden}; take a factor that makes it even'
    expect(hidden >= 2 and hidden % 2 == 0, 'expansion_factor', 'an even hidden width', expansion_factor, hint)
    fits = pos_dim is None or is_count(pos_dim)
    expect(fits, 'pos_dim', 'None or a whole number from 1 upwards', pos_dim, 'None is the published width')


def _check_groups(embed_dim: int, depth: Sequence[int], num_heads: Sequence[int]) -> None:
    """Refuses residual groups whose blocks and heads do not fit."""
    expect(are_counts(depth), 'depth', 'blocks of each group, a list of counts', depth, 'the paper has six times 6')
    hint = f'depth has {len(depth)} groups; write the heads of each'
    expect(are_counts(num_heads, len(depth)), 'num_heads', 'heads of each group, a list of counts', num_heads, hint)
    for heads in num_heads:
        fits = heads % 2 == 0 and embed_dim % heads == 0
        expect(
            fits, 'num_heads', f'even divisors of embed_dim {embed_dim}', heads, 'half of the heads has swapped windows'
        )
