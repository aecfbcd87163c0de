"""Attention with a bias per pair of positions on the CPU, forward and backward without keeping the weights.

torch's fused kernel takes 1.5 times as long as matrix products and one pass of exp over logits that stay in the cache.
That pass does not subtract the largest logit, so it is used only if the sums show that nothing was lost.

torch's fused kernel has no gradient for a bias: as soon as the bias is trained, ``scaled_dot_product_attention`` falls
back to separate operations, which keep several tensors of (windows, heads, L, L). Here the backward pass computes the
weights again, a few windows at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

_CHUNK = 4  # windows whose weights are computed at once in the backward pass; measured: 1 to 4 alike, 16 slower

_CACHED = 2**18  # weights of so many pairs of positions fit in the cache of a core
_LARGEST_SUM = 1e25  # of exponentials, and its inverse the smallest: logits around 57, far from the limits of float32

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
    small = q.shape[1] * q.shape[2] ** 2 <= _CACHED and torch.backends.mkl.is_available()
    if small and q.dtype == torch.float32:
        out, sums = _without_maximum(q, k, v, bias, scale)
        least, most = sums.aminmax()
        if least > 1 / _LARGEST_SUM and most < _LARGEST_SUM:  # false for NaN
            return out, sums.log()
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=bias, scale=scale)


def _without_maximum(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Returns the output and each row's sum of exponentials, without subtracting the largest logit first.

    All is transposed, (L of k, L of q), which makes the second product 1.4x faster. A channel of ones in v makes it
    return the sums as well.
    """
    heads, length, channels = q.shape[1:]
    step = heads * max(1, torch.get_num_threads() * _CACHED // (heads * length**2))
    q, k, v = q.flatten(0, 1).transpose(1, 2), k.flatten(0, 1), F.pad(v, (0, 1), value=1.0).flatten(0, 1)
    v = v.transpose(1, 2)
    weights = q.new_empty(min(step, len(q)), length, length)
    out = torch.empty_like(v, memory_format=torch.contiguous_format)
    bias = None if bias is None else bias.expand(1, heads, -1, -1).transpose(2, 3).contiguous()
    for start in range(0, len(q), step):
        chunk = slice(start, start + step)
        part = weights[: len(q) - start]
        if bias is not None:
            part.unflatten(0, (-1, heads)).copy_(bias)
        torch.baddbmm(part, k[chunk], q[chunk], beta=0 if bias is None else 1, alpha=scale, out=part)
        torch.bmm(v[chunk], part.exp_(), out=out[chunk])
    out = out.unflatten(0, (-1, heads))
    sums = out[:, :, channels:]
    return (out[:, :, :channels] / sums).transpose(2, 3), sums.squeeze(2)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        out, sums = _forward(q, k, v, bias, scale)
        out = out.contiguous()  # the backward kernel takes no other
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
