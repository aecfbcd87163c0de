"""The two attentions of DAT, each joined to a depth-wise convolution by adaptive interaction.

Source: Chen et al., Dual Aggregation Transformer for Image Super-Resolution, ICCV 2023 (sections 3.2 and 3.3).
Parameter names are the published ones, so that public weights load.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deplsr_arch import windows
from deplsr_arch.recompute import Recompute, computed_again, is_recomputed
from deplsr_arch.window_attention import ComputedNotStored, WindowAttention
from deplsr_arch.windows import Size

EPS = 1e-12  # smallest norm by which is divided, as in F.normalize


def to_image(tokens: Tensor, size: Size) -> Tensor:
    """Views tokens as an image: (B, H * W, C) -> (B, C, H, W), channels last in memory."""
    # Strides as of a channels_last image also in a batch of one, without which a depth-wise convolution is 10x slower.
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


def to_tokens(image: Tensor) -> Tensor:
    """Views an image as tokens: (B, C, H, W) -> (B, H * W, C)."""
    return image.permute(0, 2, 3, 1).flatten(1, 2)


def linear_part(layer: nn.Linear, x: Tensor, start: int, end: int) -> Tensor:
    """Computes outputs ``start`` to ``end`` of a linear layer, contiguous in memory."""
    return F.linear(x, layer.weight[start:end], None if layer.bias is None else layer.bias[start:end])


def normalised(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """A convolution and its batch norm, in evaluation as one convolution."""
    if norm.training:
        return norm(conv(x))
    conv, norm = cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight * torch.rsqrt(variance + norm.eps)
    shift = -mean if conv.bias is None else conv.bias - mean
    weight, bias = conv.weight * gain.view(-1, 1, 1, 1), torch.addcmul(norm.bias, shift, gain)
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)


def weighted_sum(x: Tensor, x_gate: Tensor, y: Tensor, y_gate: Tensor) -> Tensor:
    """Returns x * x_gate + y * y_gate; overwrites x if no gradients are needed."""
    if torch.is_grad_enabled():
        return torch.addcmul(x * x_gate, y, y_gate)
    return x.mul_(x_gate).addcmul_(y, y_gate)


def run_all(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Runs layers one after the other."""
    for layer in layers:
        x = layer(x)
    return x


class AdaptiveAttention(ComputedNotStored, ABC):
    """Attention in parallel with a depth-wise convolution of the values, each gated by the other (AIM).

    The far branch (attention) and the near branch (convolution) are added after each has been weighted by a gate made
    from the other one: one gate per channel, one per pixel. Subclasses define the attention and which gate applies to
    which branch.

    Args:
        dim: Channels C, at least 16.
        qkv_bias: Whether the projection to q, k, v has a bias.
        drop_rate: Dropout rate after the last projection.
        recompute: Whether the backward pass computes convolution, gates and interaction again, which are cheap; 'auto':
            on the CPU only.

    Shape:
        - x: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    def __init__(self, dim: int, qkv_bias: bool = True, drop_rate: float = 0.0, recompute: Recompute = False) -> None:
        super().__init__()
        self.recompute = recompute
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
    def attend(self, qk: Tensor, v: Tensor, size: Size) -> Tensor:
        """Attends: qk (B, H * W, 2 C), v (B, H * W, C) -> (B, H * W, C)."""

    @abstractmethod
    def interact(self, far: Tensor, near: Tensor) -> Tensor:
        """Joins the two branches, each (B, C, H, W); without gradients ``far`` may be overwritten."""

    def channel_gate(self, image: Tensor) -> Tensor:
        """One weight in 0..1 per channel: (B, C, H, W) -> (B, C, 1, 1)."""
        pool, conv, norm, *rest = self.channel_interaction
        return run_all(rest, normalised(conv, norm, pool(image))).sigmoid()

    def spatial_gate(self, image: Tensor) -> Tensor:
        """One weight in 0..1 per pixel: (B, C, H, W) -> (B, 1, H, W)."""
        conv, norm, *rest = self.spatial_interaction
        return run_all(rest, normalised(conv, norm, image)).sigmoid()

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Runs both branches on tokens (B, H * W, C)."""
        dim = x.shape[-1]
        qk, v = linear_part(self.qkv, x, 0, 2 * dim), linear_part(self.qkv, x, 2 * dim, 3 * dim)
        far = self.attend(qk, v, size)
        parts = (far, v, size)
        again = is_recomputed(self.recompute, x)
        joined = computed_again(self._join, self, *parts, draws=False) if again else self._join(*parts)
        return self.proj_drop(self.proj(joined))

    def _join(self, far: Tensor, v: Tensor, size: Size) -> Tensor:
        conv, norm, activation = self.dwconv
        near = activation(normalised(conv, norm, to_image(v, size)))
        return to_tokens(self.interact(to_image(far, size), near))


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
        recompute: As in :class:`AdaptiveAttention`.

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
        recompute: Recompute = False,
    ) -> None:
        super().__init__(dim, qkv_bias, drop_rate, recompute)
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.pad_side = windows.common_side(window)
        scale = qk_scale or (dim // num_heads) ** -0.5
        shift = (window[0] // 2, window[1] // 2) if shifted else (0, 0)
        self.attns = nn.ModuleList(
            WindowAttention(sides, steps, num_heads // 2, pos_dim, scale, attn_drop_rate)
            for sides, steps in ((window, shift), (window[::-1], shift[::-1]))
        )

    def attend(self, qk: Tensor, v: Tensor, size: Size) -> Tensor:
        """Attends in windows of both orientations."""
        height, width = size
        qk, v = (x.unflatten(1, size) for x in (qk, v))
        any_size = torch.compiler.is_dynamo_compiling() and not torch.is_grad_enabled() and not self.training
        if not any_size:
            qk, v = (windows.pad_to_multiple(x, self.pad_side) for x in (qk, v))
        halves = (x.unflatten(3, (-1, 2, self.num_heads // 2, self.head_dim)).unbind(4) for x in (qk, v))
        if any_size:
            out = [attn.of_any_size(*half, self.pad_side) for attn, *half in zip(self.attns, *halves, strict=True)]
        else:
            out = [attn(*half)[:, :height, :width] for attn, *half in zip(self.attns, *halves, strict=True)]
        return torch.cat(out, dim=3).flatten(3).flatten(1, 2)

    def interact(self, far: Tensor, near: Tensor) -> Tensor:
        """Attention takes its channel weights from the convolution, which takes its pixel weights from attention."""
        return weighted_sum(far, self.channel_gate(near), near, self.spatial_gate(far))


class AdaptiveChannelAttention(AdaptiveAttention):
    """Adaptive channel self-attention (AC-SA): channels of a head attend to each other over all positions.

    Args:
        dim: Channels C.
        num_heads: Attention heads.
        qkv_bias: Whether the projection to q, k, v has a bias.
        drop_rate: Dropout rate after the last projection.
        attn_drop_rate: Dropout rate on the attention weights.
        recompute: As in :class:`AdaptiveAttention`.

    Shape:
        - x: (B, H * W, C), size: (H, W); returns (B, H * W, C).
    """

    other_heads: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        recompute: Recompute = False,
    ) -> None:
        super().__init__(dim, qkv_bias, drop_rate, recompute)
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        head = torch.arange(dim) // (dim // num_heads)
        self.register_buffer('other_heads', head[:, None] != head[None, :], persistent=False)
        self.attn_drop = nn.Dropout(attn_drop_rate)

    def attend(self, qk: Tensor, v: Tensor, size: Size) -> Tensor:
        """Attends between channels; ``size`` is not used.

        All heads share one matrix product, in which other heads are masked: their tokens are not copied apart.
        """
        q, k = qk.chunk(2, dim=-1)
        if q.dtype.itemsize > 2:
            logits = q.transpose(1, 2) @ k  # (B, C, C)
            norms = qk.square().sum(dim=1).sqrt().clamp_min(EPS).chunk(2, dim=-1)
            logits = logits / (norms[0].unsqueeze(2) * norms[1].unsqueeze(1))
        else:  # normalised before the product: sums over thousands of positions leave the range of half precision
            logits = F.normalize(q, dim=1).transpose(1, 2) @ F.normalize(k, dim=1)
        temperature = self.temperature.view(-1).repeat_interleave(logits.shape[-1] // self.num_heads)
        logits = (logits * temperature.unsqueeze(-1)).masked_fill(self.other_heads, -torch.inf)
        return v @ self.attn_drop(logits.softmax(dim=-1)).transpose(1, 2).to(v.dtype)

    def interact(self, far: Tensor, near: Tensor) -> Tensor:
        """Attention takes its pixel weights from the convolution, which takes its channel weights from attention."""
        return weighted_sum(far, self.spatial_gate(near), near, self.channel_gate(far))
