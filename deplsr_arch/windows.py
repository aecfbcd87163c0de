"""Windows of attention as pure functions: cut, shift, attend, merge.

A window is described by its (height, width); L = height * width is its number of positions. After a cyclic shift only
the windows in the last row and the last column of the grid hold positions from opposite borders of the image. The
published code computes them like the others and forbids attention across the border with a mask per window; here their
parts are windows of their own, which needs no masks and fewer logits (0.70 of them at 64 x 64, 0.85 at 128 x 128).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from deplsr_arch.cpu_attention import attention_on_cpu

Size = tuple[int, int]

#: Fused attention on a GPU takes heads of so many channels, or multiples; others are computed by separate operations.
GPU_MULTIPLE = 8


def pad_to_multiple(x: Tensor, side: int) -> Tensor:
    """Pads with zeros at the bottom and the right to a multiple of ``side``: (B, H, W, ...) -> (B, H', W', ...)."""
    below, right = -x.shape[1] % side, -x.shape[2] % side
    inner = [0, 0] * (x.ndim - 3)
    return F.pad(x, (*inner, 0, right, 0, below)) if below or right else x


def common_side(window: Size) -> int:
    """The smallest side that windows of both orientations divide; the larger side in every published network."""
    return math.lcm(*window)


def partition(x: Tensor, window: Size) -> Tensor:
    """Cuts images into windows, by head: (B, H, W, n, heads, d) -> (n, windows, heads, L, d).

    The windows are those of the first image row by row, then those of the next. On a GPU the channels of a head are
    filled up with zeros to a multiple of :data:`GPU_MULTIPLE`.
    """
    height, width = window
    x = x.unflatten(2, (-1, width)).unflatten(1, (-1, height))  # (B, rows, height, columns, width, n, heads, d)
    x = x.permute(5, 0, 1, 3, 6, 2, 4, 7)
    missing = -x.shape[-1] % GPU_MULTIPLE
    if missing and x.device.type != 'cpu':
        x = F.pad(x, (0, missing))  # in the same pass as the copy that flatten needs
    return x.flatten(5, 6).flatten(1, 3)


def merge(windows: Tensor, window: Size, grid: Size) -> Tensor:
    """Merges windows of a grid (rows, columns): (windows, heads, L, d) -> (B, H, W, heads, d)."""
    x = windows.unflatten(2, window).unflatten(0, (-1, *grid))  # (B, rows, columns, heads, height, width, d)
    return x.permute(0, 1, 4, 2, 5, 3, 6).flatten(3, 4).flatten(1, 2)


def offset_grid(window: Size) -> Tensor:
    """All offsets between two positions of a window, the most negative first: (2 height - 1, 2 width - 1, 2)."""
    axes = [torch.arange(1.0 - side, side) for side in window]
    return torch.stack(torch.meshgrid(*axes, indexing='ij'), dim=-1)


def bias_between_positions(table: Tensor, window: Size) -> Tensor:
    """Expands a bias per offset to all pairs of positions.

    Entry (i, j) of the result is the table's value at the offset of position i from position j. Both sides of the table
    are slid over, which needs no stored index (2.5x faster than gathering by one, forward, 8 x 32, one core).

    Shape:
        - table: (heads, 2 height - 1, 2 width - 1); returns (heads, L, L).
    """
    height, width = window
    pairs = table.unfold(1, height, 1).unfold(2, width, 1)  # (heads, i rows, i columns, reversed j rows, j columns)
    return pairs.flip(-2, -1).flatten(3, 4).flatten(1, 2)


def pieces(window: Size, shift: Size) -> list[Size]:
    """Sizes of the windows that :func:`attend` cuts an image with a (shifted) grid into, in its order.

    A cyclic shift brings positions from opposite borders of the image into one window, where they must not attend to
    each other: along each axis such a window is two smaller ones.
    """
    rows, columns = (_piece_sides(*axis) for axis in zip(window, shift, strict=True))
    return [(height, width) for height in rows for width in columns]


def _piece_sides(side: int, shift: int) -> tuple[int, ...]:
    if not shift:
        return (side,)
    return (side, shift) if side == 2 * shift else (side, side - shift, shift)


def biases_of_pieces(table: Tensor, window: Size, shift: Size) -> list[Tensor]:
    """Expands a bias per offset in a window for each of :func:`pieces`.

    Shape:
        - table: (heads, 2 height - 1, 2 width - 1); returns a (1, heads, L, L) each.
    """
    biases = []
    for height, width in pieces(window, shift):
        top, left = window[0] - height, window[1] - width  # offsets that only larger windows have
        own = table[:, top : table.shape[1] - top, left : table.shape[2] - left]
        biases.append(bias_between_positions(own, (height, width)).unsqueeze(0))
    return biases


def attend(
    qk: Tensor,
    v: Tensor,
    window: Size,
    shift: Size,
    biases: Sequence[Tensor | None],
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """Attention inside each window of images whose sides are multiples of the window's.

    Shape:
        - qk: (B, H, W, 2, heads, d); v: (B, H, W, 1, heads, d); returns (B, H, W, heads, d).
        - shift: Cyclic shift (down, right) of the grid.
        - biases: one for each of :func:`pieces`, (1, heads or 1, L, L) or None.
    """
    # torch.roll copies everything once per axis: here only the windows across a border are cut out.
    left = iter(zip(pieces(window, shift), biases, strict=True))
    strips = []
    for qk_strip, v_strip in zip(*(_cut(x, window[0], shift[0], 1) for x in (qk, v)), strict=True):
        columns = zip(*(_cut(x, window[1], shift[1], 2) for x in (qk_strip, v_strip)), strict=True)
        parts = [_attend_equal(qk_part, v_part, *next(left), scale, dropout) for qk_part, v_part in columns]
        strips.append(_put_back(parts, shift[1], 2))
    return _put_back(strips, shift[0], 1)


def _cut(x: Tensor, side: int, shift: int, dim: int) -> tuple[Tensor, ...]:
    """Cuts images into the inner windows of a shifted grid and the pieces at the borders, along one axis."""
    if not shift:
        return (x,)
    first, inner, last = x.split((shift, x.shape[dim] - side, side - shift), dim)
    if side == 2 * shift:  # equal pieces are computed together
        return inner, torch.cat([first, last], dim)
    return inner, last, first


def _put_back(parts: Sequence[Tensor], shift: int, dim: int) -> Tensor:
    """The inverse of :func:`_cut`."""
    if not shift:
        return parts[0]
    inner, *border = parts
    last, first = border if len(border) == 2 else reversed(border[0].split(shift, dim))
    return torch.cat([first, inner, last], dim)


def _attend_equal(qk: Tensor, v: Tensor, window: Size, bias: Tensor | None, scale: float, dropout: float) -> Tensor:
    """Attention in windows with the same bias, of images that they fill."""
    if v.numel() == 0:
        return v.squeeze(3)
    grid = (v.shape[1] // window[0], v.shape[2] // window[1])
    q, k = partition(qk, window).unbind(0)
    out = _attention(q, k, partition(v, window).squeeze(0), bias, scale, dropout)
    return merge(out[..., : v.shape[-1]], window, grid)


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, dropout: float) -> Tensor:
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if q.device.type == 'cpu' and not dropout and not traced:
        return attention_on_cpu(q, k, v, bias, scale)
    bias = None if bias is None else bias.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=scale)
