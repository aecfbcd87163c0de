"""The two attentions of DAT, each joined to a depth-wise convolution by adaptive interaction.

Source: Chen et al., Dual Aggregation Transformer for Image Super-Resolution, ICCV 2023 (sections 3.2 and 3.3).
Parameter names are the published ones, so that public weights load.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deplsr_arch import windows
from deplsr_arch.windows import Size


def to_image(tokens: Tensor, size: Size) -> Tensor:
    """Views tokens as an image: (B, H * W, C) -> (B, C, H, W), channels last in memory."""
    return tokens.transpose(1, 2).unflatten(2, size)


def to_tokens(image: Tensor) -> Tensor:
    """Views an image as tokens: (B, C, H, W) -> (B, H * W, C)."""
    return image.flatten(2).transpose(1, 2)


class ComputedNotStored(nn.Module):
    """A module that computes what the published code keeps in its state dict.

    Entries named in ``computed`` are skipped when a checkpoint is loaded, strictly or not, so published files load
    with and without them. All other unknown entries are still refused.
    """

    computed: ClassVar[tuple[str, ...]] = ()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        for name in self.computed:
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)


class PositionBias(nn.Module):
    """Computes a bias per head from the offset between two positions (a small MLP without skip connections).

    Args:
        width: Hidden width. With 1 its LayerNorm sees one value and the bias is the same for all offsets (as in the
            published light network); with 0 the bias is the last layer's (published rule at ``embed_dim`` below 32).
        num_heads: Number of biases per offset.

    Shape:
        - offsets: (..., 2), in positions; returns (..., num_heads).
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, width)
        self.pos1 = self._layer(width, width)
        self.pos2 = self._layer(width, width)
        self.pos3 = self._layer(width, num_heads)

    @staticmethod
    def _layer(width: int, width_out: int) -> nn.Sequential:
        return nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width_out))

    def forward(self, offsets: Tensor) -> Tensor:
        """Maps offsets (..., 2) to biases (..., num_heads)."""
        return self.pos3(self.pos2(self.pos1(self.pos_proj(offsets))))


class WindowAttention(ComputedNotStored):
    """Attention inside windows of one orientation, with a bias by relative position.

    Args:
        window: Height and width of a window.
        shift: Cyclic shift (down, right) of the window grid, smaller than the window; (0, 0) for none.
        num_heads: Attention heads.
        pos_dim: Hidden width of the position bias.
        scale: Factor of the logits.
        attn_drop_rate: Dropout rate on the attention weights.

    Shape:
        - qkv: (B, H, W, 3, heads, d), H and W multiples of the window's sides; returns (B, H, W, heads * d).
    """

    computed = ('relative_position_index', 'rpe_biases')
    offsets: Tensor
    masks: Tensor | None

    def __init__(
        self, window: Size, shift: Size, num_heads: int, pos_dim: int, scale: float, attn_drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.window, self.shift, self.scale, self.attn_drop_rate = window, shift, scale, attn_drop_rate
        self.pos = PositionBias(pos_dim, num_heads)
        self.register_buffer('offsets', windows.offset_grid(window), persistent=False)
        masks = windows.shift_masks(window, shift) if any(shift) else None
        self.register_buffer('masks', masks, persistent=False)

    def forward(self, qkv: Tensor) -> Tensor:
        """Attends inside the windows of the (shifted) grid."""
        down, right = self.shift
        shifted = any(self.shift)
        if shifted:
            qkv = qkv.roll((-down, -right), dims=(1, 2))
        q, k, v = windows.partition(qkv, self.window).transpose(3, 5).unbind(4)  # each (B, rows, columns, heads, L, d)
        dropout = self.attn_drop_rate if self.training else 0.0
        out = windows.attend(q, k, v, self._bias(), self.scale, dropout)
        out = windows.merge(out.transpose(3, 4).flatten(4), self.window)  # (B, H, W, heads * d)
        return out.roll((down, right), dims=(1, 2)) if shifted else out

    def _bias(self) -> Tensor:
        """Bias by position, with the masks of a shifted grid: (1 or 4, heads, L, L)."""
        table = self.pos(self.offsets).movedim(-1, 0)
        bias = windows.bias_between_positions(table, self.window).unsqueeze(0)
        if self.masks is None:
            return bias
        return bias + bias.new_zeros(()).masked_fill(self.masks.unsqueeze(1), windows.FORBIDDEN)


class AdaptiveAttention(ComputedNotStored, ABC):
    """Attention in parallel with a depth-wise convolution of the values, each gated by the other (AIM).

    The far branch (attention) and the near branch (convolution) are added after each has been weighted by a gate made
    from the other one: one gate per channel, one per pixel. Subclasses define the attention and which gate applies to
    which branch.

    Args:
        dim: Channels C, at least 16.
        qkv_bias: Whether the projection to q, k, v has a bias.
        drop_rate: Dropout rate after the last projection.

    Shape:
        - x: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(self, dim: int, qkv_bias: bool = True, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop_rate)
        self.dwconv = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.BatchNorm2d(dim), nn.GELU())
        self.channel_interaction = nn.Sequential(nn.AdaptiveAvgPool2d(1), *self._bottleneck(dim, dim // 8, dim))
        self.spatial_interaction = nn.Sequential(*self._bottleneck(dim, dim // 16, 1))

    @staticmethod
    def _bottleneck(dim: int, hidden: int, dim_out: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(dim, hidden, 1), nn.BatchNorm2d(hidden), nn.GELU(), nn.Conv2d(hidden, dim_out, 1)

    @abstractmethod
    def attend(self, qkv: Tensor, size: Size) -> Tensor:
        """Attends: qkv (B, H * W, 3 C) -> (B, H * W, C)."""

    @abstractmethod
    def interact(self, far: Tensor, near: Tensor) -> Tensor:
        """Joins the two branches, each (B, C, H, W)."""

    def channel_gate(self, image: Tensor) -> Tensor:
        """One weight in 0..1 per channel: (B, C, H, W) -> (B, C, 1, 1)."""
        return self.channel_interaction(image).sigmoid()

    def spatial_gate(self, image: Tensor) -> Tensor:
        """One weight in 0..1 per pixel: (B, C, H, W) -> (B, 1, H, W)."""
        return self.spatial_interaction(image).sigmoid()

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Runs both branches on tokens (B, H * W, C)."""
        qkv = self.qkv(x)
        near = self.dwconv(to_image(qkv.chunk(3, dim=-1)[2], size))
        far = to_image(self.attend(qkv, size), size)
        return self.proj_drop(self.proj(to_tokens(self.interact(far, near))))


class AdaptiveSpatialAttention(AdaptiveAttention):
    """Adaptive spatial self-attention (AS-SA): half of the heads in windows of each orientation.

    q, k and v are padded with zeros at the bottom and the right; padded positions take part in the softmax, as
    published.

    Args:
        dim: Channels C.
        num_heads: Heads of both orientations together, even.
        window: Sides of the windows; the second half of the heads has them swapped.
        shifted: Whether the window grids are shifted by half a window.
        pos_dim: Hidden width of the position bias.
        qk_scale: Factor of the logits; None for (C / heads) ** -0.5.
        qkv_bias: Whether the projection to q, k, v has a bias.
        drop_rate: Dropout rate after the last projection.
        attn_drop_rate: Dropout rate on the attention weights.

    Shape:
        - x: (B, H * W, C), size: (H, W), any size; returns (B, H * W, C).
    """

    computed = ('attn_mask_0', 'attn_mask_1')

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window: Size,
        shifted: bool,
        pos_dim: int,
        qk_scale: float | None = None,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
    ) -> None:
        super().__init__(dim, qkv_bias, drop_rate)
        self.num_heads = num_heads
        self.pad_side = windows.common_side(window)
        scale = qk_scale or (dim // num_heads) ** -0.5
        shift = (window[0] // 2, window[1] // 2) if shifted else (0, 0)
        self.attns = nn.ModuleList(
            WindowAttention(sides, steps, num_heads // 2, pos_dim, scale, attn_drop_rate)
            for sides, steps in ((window, shift), (window[::-1], shift[::-1]))
        )

    def attend(self, qkv: Tensor, size: Size) -> Tensor:
        """Attends in windows of both orientations."""
        height, width = size
        qkv = windows.pad_to_multiple(qkv.unflatten(1, size), self.pad_side)  # (B, H', W', 3 C)
        halves = qkv.unflatten(3, (3, 2, self.num_heads // 2, -1)).unbind(4)  # each (B, H', W', 3, heads / 2, d)
        out = [attn(half)[:, :height, :width] for attn, half in zip(self.attns, halves, strict=True)]
        return torch.cat(out, dim=-1).flatten(1, 2)

    def interact(self, far: Tensor, near: Tensor) -> Tensor:
        """Attention takes its channel weights from the convolution, which takes its pixel weights from attention."""
        return far * self.channel_gate(near) + near * self.spatial_gate(far)


class AdaptiveChannelAttention(AdaptiveAttention):
    """Adaptive channel self-attention (AC-SA): channels of a head attend to each other over all positions.

    Args:
        dim: Channels C.
        num_heads: Attention heads.
        qkv_bias: Whether the projection to q, k, v has a bias.
        drop_rate: Dropout rate after the last projection.
        attn_drop_rate: Dropout rate on the attention weights.

    Shape:
        - x: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(
        self, dim: int, num_heads: int, *, qkv_bias: bool = True, drop_rate: float = 0.0, attn_drop_rate: float = 0.0
    ) -> None:
        super().__init__(dim, qkv_bias, drop_rate)
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.attn_drop = nn.Dropout(attn_drop_rate)

    def attend(self, qkv: Tensor, size: Size) -> Tensor:
        """Attends between channels; ``size`` is not used."""
        q, k, v = qkv.transpose(1, 2).unflatten(1, (3, self.num_heads, -1)).unbind(1)  # each (B, heads, d, N)
        # Normalised before the product, not after: sums over thousands of positions leave the range of half precision.
        weights = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)  # (B, heads, d, d)
        weights = self.attn_drop((weights * self.temperature).softmax(dim=-1))
        return (weights @ v).flatten(1, 2).transpose(1, 2)

    def interact(self, far: Tensor, near: Tensor) -> Tensor:
        """Attention takes its pixel weights from the convolution, which takes its channel weights from attention."""
        return far * self.spatial_gate(near) + near * self.channel_gate(far)
