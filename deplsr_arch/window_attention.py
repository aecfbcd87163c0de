"""Attention of DAT inside windows, with a bias by relative position.

Source: Chen et al., Dual Aggregation Transformer for Image Super-Resolution, ICCV 2023 (section 3.2). Parameter names
are the published ones, so that public weights load.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deplsr_arch import windows
from deplsr_arch.compiled_windows import in_windows
from deplsr_arch.windows import Size

Biases = list[Tensor | None]


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

    Attributes:
        is_constant: Whether the bias is the same for all offsets, whatever the parameters are.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, width)
        self.pos1 = self._layer(width, width)
        self.pos2 = self._layer(width, width)
        self.pos3 = self._layer(width, num_heads)
        self.is_constant = width <= 1

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

    In evaluation, without gradients, the biases are computed once for all images. They are computed again after
    ``train()``, ``eval()`` or a change of the parameters.

    Shape:
        - qk: (B, H, W, 2, heads, d); v: (B, H, W, 1, heads, d); H and W multiples of the window's sides.
        - returns (B, H, W, heads, d).
    """

    computed = ('relative_position_index', 'rpe_biases')
    offsets: Tensor

    def __init__(
        self, window: Size, shift: Size, num_heads: int, pos_dim: int, scale: float, attn_drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.window, self.shift, self.scale, self.attn_drop_rate = window, shift, scale, attn_drop_rate
        self.pos = PositionBias(pos_dim, num_heads)
        self.register_buffer('offsets', windows.offset_grid(window), persistent=False)
        self._kept: tuple[object, Biases] | None = None

    def forward(self, qk: Tensor, v: Tensor) -> Tensor:
        """Attends inside the windows of the (shifted) grid."""
        dropout = self.attn_drop_rate if self.training else 0.0
        out = windows.attend(qk, v, self.window, self.shift, self.biases(), self.scale, dropout)
        if self.pos.is_constant and torch.is_grad_enabled():
            out = _WithoutEffect.apply(out, *self.pos.parameters())
        return out

    def of_any_size(self, qk: Tensor, v: Tensor, pad_side: int) -> Tensor:
        """As :meth:`forward` for images of any size, without gradients, in a compiled network."""
        return in_windows(qk, v, self.biases(), self.window, self.shift, pad_side, self.scale)

    def biases(self) -> Biases:
        """Returns biases for :func:`~deplsr_arch.windows.attend`, kept in evaluation."""
        parameters = list(self.pos.parameters())
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if self.training or torch.is_grad_enabled() or traced or any(p.is_inference() for p in parameters):
            return self._compute_biases()
        state = [(p.data_ptr(), p._version, p.dtype, p.device) for p in parameters]
        if self._kept is None or self._kept[0] != state:
            self._kept = (state, self._compute_biases())
        return self._kept[1]

    def _compute_biases(self) -> Biases:
        if self.pos.is_constant:  # softmax ignores what is added to all logits of a row
            return [None] * len(windows.pieces(self.window, self.shift))
        # float32 also in mixed precision: the table is small
        with torch.autocast(self.offsets.device.type, enabled=False):
            table = self.pos(self.offsets).movedim(-1, 0)
        return [*windows.biases_of_pieces(table, self.window, self.shift)]

    def train(self, mode: bool = True) -> WindowAttention:
        """Sets the mode; also forgets the kept biases, since averages of weights are often written unnoticed."""
        self._kept = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the kept biases out of copies and files."""
        return {key: value for key, value in self.__dict__.items() if key != '_compiled_call_impl'} | {'_kept': None}


class _WithoutEffect(torch.autograd.Function):
    """Returns x; parameters that x does not depend on get gradients of zero, which distributed training waits for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return grad, *(torch.zeros_like(parameter) for parameter in ctx.saved_tensors)
