"""Window attention as one operator of a compiled network, for images of any size.

Traced with sizes as variables, cutting and padding windows makes expressions on which torch.compile spends minutes, and
conditions that hold for some sizes only, so that it compiles again for others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deplsr_arch import windows

__all__ = ['in_windows']


@torch.library.custom_op('deplsr::in_windows', mutates_args=())
def in_windows(
    qk: Tensor,
    v: Tensor,
    biases: Sequence[Tensor | None],
    window: Sequence[int],
    shift: Sequence[int],
    pad_side: int,
    scale: float,
) -> Tensor:
    """Attention as :func:`deplsr_arch.windows.attend` for images of any size, without dropout or gradients.

    Shape:
        - qk: (B, H, W, 2, heads, d); v: (B, H, W, 1, heads, d); returns (B, H, W, heads, d), contiguous.
    """
    height, width = v.shape[1:3]
    qk, v = (windows.pad_to_multiple(x, pad_side) for x in (qk, v))
    out = windows.attend(qk, v, (window[0], window[1]), (shift[0], shift[1]), biases, scale)
    return out[:, :height, :width].contiguous()


@in_windows.register_fake
def _(qk: Tensor, v: Tensor, *_: object) -> Tensor:
    return v.new_empty(*v.shape[:3], *v.shape[4:])
