"""Attention with a bias per pair of positions on the CPU, forward and backward without keeping the weights.

torch's fused kernel has no gradient for a bias: as soon as the bias is trained, ``scaled_dot_product_attention`` falls
back to separate operations, which keep several tensors of (windows, heads, L, L). Here the backward pass computes the
weights again, a few windows at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_CHUNK = 4  # windows whose weights are computed at once in the backward pass; measured: 1 to 4 alike, 16 slower

Gradients = tuple[Tensor, Tensor, Tensor, Tensor | None, None]


def attention_on_cpu(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Attention of each window.

    Without AMX the kernel is slower in bf16 than in float32 (by 1.3x at 10 and 1.9x at 30 channels of a head), so it
    computes in float32 there.

    Shape:
        - q, k, v: (windows, heads, L, d); returns the same shape.
        - bias: (1, heads or 1, L, L), -inf where attention is forbidden; None for no bias.
    """
    dtype = q.dtype
    if dtype.itemsize == 2 and not torch.cpu._is_amx_tile_supported():
        q, k, v = q.float(), k.float(), v.float()
    bias = None if bias is None else bias.to(q.dtype)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (q, k, v, bias)):
        out: Tensor = _Attention.apply(q, k, v, bias, scale)
    else:
        out = _forward(q, k, v, bias, scale)[0]
    return out.to(dtype)


def _forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Returns the output and the logarithm of each row's sum of exponentials (windows, heads, L)."""
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=bias, scale=scale)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        out, sums = _forward(q, k, v, bias, scale)
        ctx.save_for_backward(q, k, v, bias, out, sums)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        if ctx.needs_input_grad[3]:
            return _backward_with_bias(ctx, grad)
        q, k, v, bias, out, sums = ctx.saved_tensors
        grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad.contiguous(), q, k, v, out, sums, 0.0, False, attn_mask=bias, scale=ctx.scale
        )
        return (*grads, None, None)


def _backward_with_bias(ctx: FunctionCtx, grad: Tensor) -> Gradients:
    """The gradients, with that of the bias.

    With weights p = exp(scale q k^T + bias - sums) and D the row sums of grad * out, those of the logits are
    p * (grad v^T - D). Sums and D enter the matrix products as one more channel, which saves two passes.
    """
    q, k, v, bias, out, sums = ctx.saved_tensors  # type: ignore[attr-defined]
    scale: float = ctx.scale  # type: ignore[attr-defined]
    _, heads, length, _ = q.shape
    one = torch.ones_like(q[..., :1])
    q_one = torch.cat([q * scale, -sums.unsqueeze(-1).to(q.dtype)], dim=-1)
    k_one, v_one = torch.cat([k, one], dim=-1), torch.cat([v, one], dim=-1)
    grad_one = torch.cat([grad, -(grad * out).sum(dim=-1, keepdim=True)], dim=-1)
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype) for x in (q, k, v))
    dbias = torch.zeros(heads, length, length, dtype=q.dtype)
    for chunk in (slice(start, start + _CHUNK) for start in range(0, len(q), _CHUNK)):
        weights = bias.expand(len(q[chunk]), heads, -1, -1).flatten(0, 1)
        weights = torch.baddbmm(weights, _flat(q_one, chunk), _flat(k_one, chunk).transpose(1, 2)).exp_()
        torch.bmm(weights.transpose(1, 2), _flat(grad, chunk), out=_flat(dv, chunk))
        logits = torch.bmm(_flat(grad_one, chunk), _flat(v_one, chunk).transpose(1, 2)).mul_(weights)
        dbias += logits.unflatten(0, (-1, heads)).sum(dim=0)
        torch.bmm(logits, _flat(k, chunk), out=_flat(dq, chunk))
        torch.bmm(logits.transpose(1, 2), _flat(q, chunk), out=_flat(dk, chunk))
    if bias.shape[1] == 1:
        dbias = dbias.sum(dim=0, keepdim=True)
    return dq.mul_(scale), dk.mul_(scale), dv, dbias.unsqueeze(0), None


def _flat(x: Tensor, chunk: slice) -> Tensor:
    """Windows and heads as one axis."""
    return x[chunk].flatten(0, 1)
