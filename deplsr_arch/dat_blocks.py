"""Blocks and residual groups of DAT.

Source: Chen et al., Dual Aggregation Transformer for Image Super-Resolution, ICCV 2023 (section 3.1, Eq. 1 to 3; the
spatial-gate feed-forward network: section 3.4). Parameter names are the published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from deplsr_arch.attention import AdaptiveAttention, linear_part, to_image, to_tokens
from deplsr_arch.recompute import Recompute, computed_again, is_recomputed
from deplsr_arch.windows import Size

UseCheckpoint = bool | Literal['auto', 'cheap']
ResiConnection = Literal['1conv', '3conv']


class PixelsToTokens(nn.Module):
    """Reshapes an image (B, C, H, W) to tokens (B, H * W, C)."""

    def forward(self, image: Tensor) -> Tensor:
        """Returns the pixels row by row."""
        return to_tokens(image)


class DropPath(nn.Module):
    """Adds a residual branch, which it drops for some samples of a training batch (stochastic depth).

    Source: Huang et al., Deep Networks with Stochastic Depth, ECCV 2016.

    Args:
        rate: Share of the samples, 0 <= rate < 1; what is kept is scaled up by 1 / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """Adds a residual branch to x, dropped for samples along the first axis."""
        if self.training and self.rate:
            kept = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(1 - self.rate) / (1 - self.rate)
            return torch.addcmul(x, branch.to(x.dtype), kept)
        # In place: no layer in front of this one needs its output for the backward pass.
        return branch.add_(x) if branch.dtype == x.dtype else x + branch


class SpatialGate(nn.Module):
    """Multiplies half of the channels with a depth-wise convolution of the other half.

    Shape:
        - kept, gate: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, kept: Tensor, gate: Tensor, size: Size) -> Tensor:
        """Gates the first half of the channels by the second."""
        factor = to_tokens(self.conv(to_image(self.norm(gate), size)))
        return kept * factor if torch.is_grad_enabled() else factor.mul_(kept)


class SpatialGateFeedForward(nn.Module):
    """Feed-forward network with a spatial gate between its two linear layers (SGFN).

    Args:
        dim: Channels C.
        hidden: Outputs of the first layer, even; the gate halves them.
        drop_rate: Dropout rate after each of the three steps.
        recompute: Whether the backward pass computes what is between the linear layers again; 'auto': on the CPU only.

    Shape:
        - x: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(self, dim: int, hidden: int, drop_rate: float = 0.0, recompute: Recompute = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.sg = SpatialGate(hidden // 2)
        self.fc2 = nn.Linear(hidden // 2, dim)
        self.drop = nn.Dropout(drop_rate)
        self.recompute = recompute

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Maps tokens (B, H * W, C) to the same shape."""
        half = self.fc2.in_features
        parts = (linear_part(self.fc1, x, 0, half), linear_part(self.fc1, x, half, 2 * half), size)
        again, draws = is_recomputed(self.recompute, x), self.drop.p > 0
        gated = computed_again(self._gate, self, *parts, draws=draws) if again else self._gate(*parts)
        return self.drop(self.fc2(gated))

    def _gate(self, kept: Tensor, gate: Tensor, size: Size) -> Tensor:
        kept, gate = (self.drop(self.act(part)) for part in (kept, gate))
        return self.drop(self.sg(kept, gate, size))


class DATBlock(nn.Module):
    """A transformer block: attention, then the feed-forward network, each on normalised tokens and with a residual.

    Args:
        dim: Channels C.
        attn: Its attention, spatial or channel.
        hidden: Outputs of the first feed-forward layer, even.
        drop_rate: Dropout rate of the feed-forward network.
        drop_path_rate: Share of the samples for which a branch is dropped in training.
        recompute: As in :class:`SpatialGateFeedForward`.

    Shape:
        - x: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(
        self,
        dim: int,
        attn: AdaptiveAttention,
        hidden: int,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        recompute: Recompute = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = SpatialGateFeedForward(dim, hidden, drop_rate, recompute)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Maps tokens (B, H * W, C) to the same shape."""
        x = self.drop_path(x, self.attn(self.norm1(x), size))
        return self.drop_path(x, self.ffn(self.norm2(x), size))


class ResidualGroup(nn.Module):
    """A sequence of blocks and a convolution, with a residual connection around all of it.

    Args:
        dim: Channels C.
        blocks: The blocks.
        resi_connection: Convolution at the end, one of 3 x 3 or a bottleneck of three.
        use_chk: True to keep only the inputs of blocks for the backward pass and compute the rest again.

    Shape:
        - x: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(
        self, dim: int, blocks: Sequence[DATBlock], resi_connection: ResiConnection, use_chk: UseCheckpoint = False
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.conv = body_conv(dim, resi_connection)
        self.use_chk = use_chk

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Maps tokens (B, H * W, C) to the same shape."""
        out = x
        for block in self.blocks:
            out = computed_again(block, block, out, size) if self.use_chk is True else block(out, size)
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
