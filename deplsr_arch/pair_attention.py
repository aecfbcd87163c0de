"""The attentions of the Cross-Modal Fusion Module: prior on image, and image on pairs of prior tokens.

Source: Real-world super-resolution with VLM-based degradation prior learning, Scientific Reports 15, 28837 (2025).
Parameter names are those of the authors' code, so that their weights load.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def split_heads(tokens: Tensor, num_heads: int) -> Tensor:
    """Splits channels into heads: (B, N, C) -> (B, heads, N, C / heads)."""
    return tokens.unflatten(2, (num_heads, -1)).transpose(1, 2)


def join_heads(tokens: Tensor) -> Tensor:
    """The inverse of :func:`split_heads`: (B, heads, N, d) -> (B, N, heads * d)."""
    return tokens.transpose(1, 2).flatten(2)


def all_pairs(content: Tensor, degradation: Tensor) -> Tensor:
    """Joins every content token to every degradation token: (B, n, C), (B, m, C) -> (B, n * m, 2 C)."""
    content, degradation = torch.broadcast_tensors(content.unsqueeze(2), degradation.unsqueeze(1))  # (B, n, m, C)
    return torch.cat([content, degradation], dim=-1).flatten(1, 2)


class CrossAttention(nn.Module):
    """Lets the tokens of a prior attend to the tokens of the image.

    Shape:
        - query: (B, n, C), context: (B, N, C); returns (B, n, C).
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Attends from query to context."""
        q, k, v = (split_heads(x, self.num_heads) for x in (self.q(query), *self.kv(context).chunk(2, dim=-1)))
        return self.proj(join_heads(F.scaled_dot_product_attention(q, k, v)))


class PairAttention(nn.Module):
    """Lets the tokens of the image attend to all pairs of a content and a degradation token (dense interaction).

    Also holds the two cross attentions of the prior, only because the published parameter names have them here.

    Shape:
        - x: (B, N, C), content: (B, n, C), degradation: (B, m, C); returns (B, N, C).
    """

    def __init__(self, dim: int, num_heads: int, attn_ratio: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5  # of the full width, whatever attn_ratio is: as published
        narrowed = int(dim * attn_ratio)
        self.attn_i = CrossAttention(dim, num_heads)
        self.attn_d = CrossAttention(dim, num_heads)
        self.q = nn.Linear(dim, narrowed)
        self.k = nn.Linear(2 * dim, narrowed)
        self.v = nn.Linear(2 * dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, content: Tensor, degradation: Tensor) -> Tensor:
        """Attends from the image to the n * m pairs."""
        pairs = all_pairs(content, degradation)
        q, k, v = (split_heads(y, self.num_heads) for y in (self.q(x), self.k(pairs), self.v(pairs)))
        return self.proj(join_heads(F.scaled_dot_product_attention(q, k, v, scale=self.scale)))


class FeedForward(nn.Module):
    """Two linear layers with a GELU between: (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps each token."""
        return self.fc2(self.act(self.fc1(x)))
