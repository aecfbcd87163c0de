"""The published form of DAT, written plainly: the baseline that speed is compared with, and an oracle of outputs.

As in the authors' code a bias and a mask for each window are added to logits that are kept, position biases are
gathered by index in every forward pass, and tokens and images are separate copies in memory. Parameters are those of
this project's network, whose modules get other forward methods.

Source: Chen et al., Dual Aggregation Transformer for Image Super-Resolution, ICCV 2023.
"""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deplsr_arch.attention import AdaptiveChannelAttention, AdaptiveSpatialAttention
from deplsr_arch.dat_blocks import DATBlock, SpatialGateFeedForward
from deplsr_arch.window_attention import WindowAttention
from deplsr_arch.windows import Size

STORED_SIZE = (64, 64)  # the published network keeps the masks of its training size


def as_published(net: nn.Module) -> None:
    """Replaces the forward methods of a DAT's blocks, attentions and feed-forward networks."""
    forms = {
        DATBlock: _block,
        SpatialGateFeedForward: _feed_forward,
        AdaptiveSpatialAttention: _spatial,
        AdaptiveChannelAttention: _channel,
    }
    for module in net.modules():
        if type(module) in forms:
            module.forward = MethodType(forms[type(module)], module)  # type: ignore[method-assign]


def _block(self: DATBlock, x: Tensor, size: Size) -> Tensor:
    for branch in (lambda x: self.attn(self.norm1(x), size), lambda x: self.ffn(self.norm2(x), size)):
        added = branch(x)
        rate = self.drop_path.rate
        if self.training and rate > 0:
            kept = x.new_empty(x.shape[0], 1, 1).bernoulli_(1 - rate)
            added = added * kept.div_(1 - rate)
        x = x + added
    return x


def _image(tokens: Tensor, size: Size) -> Tensor:
    return tokens.transpose(1, 2).contiguous().view(tokens.shape[0], tokens.shape[2], *size)


def _feed_forward(self: SpatialGateFeedForward, x: Tensor, size: Size) -> Tensor:
    kept, gate = self.drop(self.act(self.fc1(x))).chunk(2, dim=-1)
    gate = self.sg.conv(_image(self.sg.norm(gate), size)).flatten(2).transpose(-1, -2).contiguous()
    return self.drop(self.fc2(self.drop(kept * gate)))


def _interaction(
    self: AdaptiveSpatialAttention | AdaptiveChannelAttention, far: Tensor, v: Tensor, size: Size, spatial: bool
) -> Tensor:
    near = self.dwconv(v)
    batch, channels = v.shape[:2]
    if spatial:
        channel_map = self.channel_interaction(near).permute(0, 2, 3, 1).contiguous().view(batch, 1, channels)
        spatial_map = self.spatial_interaction(_image(far, size))
        far = far * torch.sigmoid(channel_map)
        near = (torch.sigmoid(spatial_map) * near).permute(0, 2, 3, 1).contiguous().view(batch, -1, channels)
    else:
        channel_map = self.channel_interaction(_image(far, size))
        spatial_map = self.spatial_interaction(near).permute(0, 2, 3, 1).contiguous().view(batch, -1, 1)
        far = far * torch.sigmoid(spatial_map)
        near = (near * torch.sigmoid(channel_map)).permute(0, 2, 3, 1).contiguous().view(batch, -1, channels)
    return self.proj_drop(self.proj(far + near))


def _spatial(self: AdaptiveSpatialAttention, x: Tensor, size: Size) -> Tensor:
    batch, length, channels = x.shape
    qkv = self.qkv(x).reshape(batch, length, 3, channels).permute(2, 0, 1, 3)
    v = _image(qkv[2], size)
    below, right = (-side % self.pad_side for side in size)
    qkv = F.pad(qkv.reshape(3 * batch, *size, channels), (0, 0, 0, right, 0, below))
    qkv = qkv.view(3, batch, *qkv.shape[1:])
    far = []
    for index, attn in enumerate(self.attns):
        half = qkv[..., index * channels // 2 : (index + 1) * channels // 2]
        down, aside = attn.shift
        if down:
            half = torch.roll(half, (-down, -aside), (2, 3))
        out = _windows(attn, half, self.num_heads // 2)
        far.append((torch.roll(out, (down, aside), (1, 2)) if down else out)[:, : size[0], : size[1]])
    return _interaction(self, torch.cat(far, dim=3).reshape(batch, length, channels), v, size, True)


def _windows(attn: WindowAttention, qkv: Tensor, heads: int) -> Tensor:
    _, batch, height, width, channels = qkv.shape
    high, wide = attn.window

    def cut(x: Tensor) -> Tensor:
        x = x.view(batch, height // high, high, width // wide, wide, channels).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(-1, high * wide, heads, channels // heads).permute(0, 2, 1, 3).contiguous()

    q, k, v = (cut(part.contiguous()) for part in qkv)
    logits = (q * attn.scale) @ k.transpose(-2, -1)
    table = attn.pos(attn.offsets.flatten(0, 1))
    bias = table[_index(attn)].view(high * wide, high * wide, heads).permute(2, 0, 1).contiguous()
    logits = logits + bias.unsqueeze(0)
    if any(attn.shift):
        mask = _masks(attn, (height, width), x_device=qkv.device)
        logits = logits.view(batch, len(mask), *logits.shape[1:]) + mask.unsqueeze(1).unsqueeze(0)
        logits = logits.view(-1, *logits.shape[2:])
    out = (logits.softmax(dim=-1, dtype=logits.dtype) @ v).transpose(1, 2).reshape(-1, high * wide, channels)
    out = out.view(batch, height // high, width // wide, high, wide, channels)
    return out.permute(0, 1, 3, 2, 4, 5).contiguous().view(batch, height, width, channels)


def _index(attn: WindowAttention) -> Tensor:
    """Number of the offset of each pair of positions; the published code keeps it."""
    if not hasattr(attn, 'plain_index'):
        high, wide = attn.window
        at = torch.stack(torch.meshgrid(torch.arange(high), torch.arange(wide), indexing='ij')).flatten(1)
        rows, columns = (at[:, :, None] - at[:, None, :]) + torch.tensor([high - 1, wide - 1])[:, None, None]
        attn.plain_index = (rows * (2 * wide - 1) + columns).flatten().to(attn.offsets.device)  # type: ignore[assignment]
    return attn.plain_index  # type: ignore[return-value]


def _masks(attn: WindowAttention, size: Size, x_device: torch.device) -> Tensor:
    """Masks of all windows (windows, L, L), computed in each pass except for the training size."""
    if size == STORED_SIZE and hasattr(attn, 'plain_masks'):
        return attn.plain_masks  # type: ignore[return-value]
    (high, wide), (down, aside) = attn.window, attn.shift
    region = torch.zeros(size, device=x_device)
    rows = (slice(0, -high), slice(-high, -down), slice(-down, None))
    columns = (slice(0, -wide), slice(-wide, -aside), slice(-aside, None))
    for number, (row, column) in enumerate((row, column) for row in rows for column in columns):
        region[row, column] = number
    cut = region.view(size[0] // high, high, size[1] // wide, wide).permute(0, 2, 1, 3).reshape(-1, high * wide)
    mask = torch.zeros(len(cut), high * wide, high * wide, device=x_device)
    mask = mask.masked_fill(cut.unsqueeze(1) != cut.unsqueeze(2), -100.0)
    if size == STORED_SIZE:
        attn.plain_masks = mask  # type: ignore[assignment]
    return mask


def _channel(self: AdaptiveChannelAttention, x: Tensor, size: Size) -> Tensor:
    batch, length, channels = x.shape
    qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, channels // self.num_heads).permute(2, 0, 3, 1, 4)
    q, k, v = (part.transpose(-2, -1) for part in qkv)
    near = v.reshape(batch, channels, length).contiguous().view(batch, channels, *size)
    logits = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)) * self.temperature
    far = (self.attn_drop(logits.softmax(dim=-1)) @ v).permute(0, 3, 1, 2).reshape(batch, length, channels)
    return _interaction(self, far, near, size, False)
