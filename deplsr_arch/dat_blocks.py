"""Blocks and residual groups of DAT.

Source: Chen et al., Dual Aggregation Transformer for Image Super-Resolution, ICCV 2023 (section 3.1, Eq. 1 to 3; the
spatial-gate feed-forward network: section 3.4). Parameter names are the published ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deplsr_arch.attention import AdaptiveAttention, to_image, to_tokens
from deplsr_arch.windows import Size

ResiConnection = Literal['1conv', '3conv']


class PixelsToTokens(nn.Module):
    """Reshapes an image (B, C, H, W) to tokens (B, H * W, C)."""

    def forward(self, image: Tensor) -> Tensor:
        """Returns the pixels row by row."""
        return to_tokens(image)


class SpatialGate(nn.Module):
    """Multiplies half of the channels with a depth-wise convolution of the other half.

    Shape:
        - x: (B, H * W, 2 C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Gates the first half of the channels by the second."""
        kept, gate = x.chunk(2, dim=-1)
        return kept * to_tokens(self.conv(to_image(self.norm(gate), size)))


class SpatialGateFeedForward(nn.Module):
    """Feed-forward network with a spatial gate between its two linear layers (SGFN).

    Args:
        dim: Channels C.
        hidden: Outputs of the first layer, even; the gate halves them.
        drop_rate: Dropout rate after each of the three steps.

    Shape:
        - x: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(self, dim: int, hidden: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.sg = SpatialGate(hidden // 2)
        self.fc2 = nn.Linear(hidden // 2, dim)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Maps tokens (B, H * W, C) to the same shape."""
        x = self.drop(self.act(self.fc1(x)))
        return self.drop(self.fc2(self.drop(self.sg(x, size))))


class DATBlock(nn.Module):
    """A transformer block: attention, then the feed-forward network, each on normalised tokens and with a residual.

    Args:
        dim: Channels C.
        attn: Its attention, spatial or channel.
        hidden: Outputs of the first feed-forward layer, even.
        drop_rate: Dropout rate of the feed-forward network.
        drop_path_rate: Share of the samples for which a branch is dropped in training.

    Shape:
        - x: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(
        self, dim: int, attn: AdaptiveAttention, hidden: int, drop_rate: float = 0.0, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        from timm.layers import DropPath  # here, since importing timm takes a sixth as long as importing torch

        self.norm1 = nn.LayerNorm(dim)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = SpatialGateFeedForward(dim, hidden, drop_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Maps tokens (B, H * W, C) to the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.ffn(self.norm2(x), size))


class ResidualGroup(nn.Module):
    """A sequence of blocks and a convolution, with a residual connection around all of it.

    Args:
        dim: Channels C.
        blocks: The blocks.
        resi_connection: Convolution at the end, one of 3 x 3 or a bottleneck of three.
        use_chk: Whether to keep only the inputs of blocks for the backward pass and compute the rest again.

    Shape:
        - x: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(
        self, dim: int, blocks: Sequence[DATBlock], resi_connection: ResiConnection, use_chk: bool = False
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.conv = body_conv(dim, resi_connection)
        self.use_chk = use_chk

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Maps tokens (B, H * W, C) to the same shape."""
        out = x
        for block in self.blocks:
            out = run_checkpointed(block, out, size) if self.use_chk else block(out, size)
        return x + to_tokens(self.conv(to_image(out, size)))


def body_conv(dim: int, resi_connection: ResiConnection) -> nn.Module:
    """The convolution at the end of a group and of the body, keeping ``dim`` channels."""
    if resi_connection == '1conv':
        return nn.Conv2d(dim, dim, 3, padding=1)
    narrow = dim // 4
    return nn.Sequential(
        nn.Conv2d(dim, narrow, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(narrow, narrow, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(narrow, dim, 3, padding=1),
    )


def run_checkpointed(block: nn.Module, x: Tensor, size: Size) -> Tensor:
    """Runs a block so that the backward pass computes its inner tensors again instead of keeping them."""
    if not torch.is_grad_enabled():
        return block(x, size)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), running_statistics_kept(block)

    return checkpoint(block, x, size, use_reentrant=False, context_fn=contexts)


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Keeps batch norms from counting a batch again while its forward pass is repeated for the backward pass."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, num_batches_tracked) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches_tracked
