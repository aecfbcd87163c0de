"""Any registered super-resolution network, with the Cross-Modal Fusion Module before some of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from basicsr_plugin.checks import check_arguments
from basicsr_plugin.errors import OptionError
from basicsr_plugin.options import nearest
from deplsr_arch.checks import expect, expect_counts
from deplsr_arch.fusion import (
    FUSION_PREFIXES,
    Fusion,
    FusionInit,
    PriorProjection,
    build_fusion,
    expect_prior,
)

__all__ = ['Fused']

_PROBE_SIZE = 48


class _Pass:
    """One forward pass: the fusions and the prior as the last of them left it."""

    def __init__(self, fusions: nn.ModuleDict, xi: Tensor, xd: Tensor) -> None:
        self.fusions = fusions
        self.xi, self.xd = xi, xd

    def fuse(self, key: str, features: Tensor) -> Tensor:
        """Fuses a map (B, C, h, w) or tokens (B, N, C)."""
        tokens = features.flatten(2).transpose(1, 2) if features.ndim == 4 else features
        tokens, self.xi, self.xd = self.fusions[key](tokens, self.xi, self.xd)
        if features.ndim == 4:
            tokens = tokens.transpose(1, 2).reshape(features.shape)
        return tokens.to(features.dtype)


# Not an attribute of the network: replicas in other threads and copies share its hooks, but never their passes.
_current: ContextVar[_Pass | None] = ContextVar('current_pass', default=None)


@ARCH_REGISTRY.register()
class Fused(nn.Module):
    """A network of any plug-in that attends to a content and a degradation prior.

    A fusion stands before each named part and acts on the part's first argument; the prior goes on from one to the next
    as the published network passes it. The state dict holds the network's parameters under ``backbone.``;
    :meth:`own_names` gives those of a plain backbone's checkpoint these names, so that it loads without conversion.
    Images are mirrored beyond their borders where the backbone needs whole windows (SwinIR) or even sides (RRDBNet
    at x2).

    Args:
        backbone: Block with ``type``, a registered network, and that network's arguments.
        fuse_at: Names of parts of the backbone, such as ``body.0``; each must get a map (B, C, h, w) or tokens
            (B, N, C), all with the same C, once in a forward pass.
        prior_dim: Width D of the prior's embeddings, 512 for ViT-B/32.
        fusion: 'film' (:class:`PriorModulation`), 'residual' or 'paper' (:class:`CrossModalFusion`, as published).
        fusion_init: 'identity': at first the output is exactly the backbone's. 'paper': as published. None: 'paper' for
            the published fusion, 'identity' else.
        fusion_num_heads: Heads of the fusion's attentions, a divisor of C.
        fusion_attn_ratio: Width of queries and keys in the attention on pairs, in multiples of C.
        fusion_mlp_ratio: Hidden width of the fusion's MLP, in multiples of C.

    Shape:
        - x: (B, 3, h, w). xi: (B, n, D) content, n = 1 in the paper. xd: (B, m, D) degradation, m = 5.
        - returns what the backbone does, (B, 3, scale h, scale w).

    Raises:
        OptionError: An argument is wrong, or nothing can be fused at a place in ``fuse_at``.
    """

    fusion_prefixes = FUSION_PREFIXES

    def __init__(
        self,
        *,
        backbone: Mapping[str, Any],
        fuse_at: Sequence[str],
        prior_dim: int = 512,
        fusion: Fusion = 'film',
        fusion_init: FusionInit | None = None,
        fusion_num_heads: int = 4,
        fusion_attn_ratio: float = 1.0,
        fusion_mlp_ratio: float = 1.0,
    ) -> None:
        super().__init__()
        expect_counts(prior_dim=prior_dim)
        self.prior_dim = prior_dim
        self.backbone = _build(backbone)
        parts = _find_parts(self.backbone, fuse_at)
        self._multiple = _side_multiple(self.backbone)
        dim, self.scale = self._probe(parts)
        make = partial(
            build_fusion, attn_ratio=fusion_attn_ratio, mlp_ratio=fusion_mlp_ratio, form=fusion, init=fusion_init
        )
        self.fusion_blocks = nn.ModuleDict({str(i): make(dim, fusion_num_heads) for i in range(len(parts))})
        self.adaptive_feat_channels = PriorProjection(prior_dim, dim, fusion)
        for key, part in zip(self.fusion_blocks, parts.values(), strict=True):
            part.register_forward_pre_hook(partial(_fuse, key))

    def forward(self, x: Tensor, xi: Tensor, xd: Tensor) -> Tensor:
        """Enlarges images x (B, 3, h, w) with the prior xi (B, n, D), xd (B, m, D)."""
        for name, prior in (('xi', xi), ('xd', xd)):
            expect_prior(name, prior, x.shape[0], self.prior_dim)
        project = self.adaptive_feat_channels
        token = _current.set(_Pass(self.fusion_blocks, project(xi), project(xd)))
        try:
            out = self.backbone(_padded(x, self._multiple))
        finally:
            _current.reset(token)
        return out[..., : self.scale * x.shape[-2], : self.scale * x.shape[-1]]

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Gives a backbone's state dict the names it has here; one of this network passes unchanged."""
        if any(key.startswith('backbone.') for key in state):
            return dict(state)
        prefixes = self.fusion_prefixes
        return {key if key.startswith(prefixes) else f'backbone.{key}': value for key, value in state.items()}

    @torch.no_grad()
    def _probe(self, parts: Mapping[str, nn.Module]) -> tuple[int, int]:
        """Runs a small black image through and gives the width at all parts, and the scale."""
        seen: dict[str, list[Any]] = {name: [] for name in parts}

        def look(name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen[name].append(inputs[0] if inputs else None)

        handles = [part.register_forward_pre_hook(partial(look, name)) for name, part in parts.items()]
        size = -(-_PROBE_SIZE // self._multiple) * self._multiple
        training = self.backbone.training
        try:
            out = self.backbone.eval()(torch.zeros(1, 3, size, size))
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            reason = str(error).strip().split('\n')[0]
            name = type(self.backbone).__name__
            raise OptionError(
                f'network_g.backbone: {name} fails on a image of 3 x {size} x {size}: {reason}'
            ) from error
        for handle in handles:
            handle.remove()
        self.backbone.train(training)
        widths = {name: _width(name, inputs) for name, inputs in seen.items()}
        hint = 'name parts with equal widths'
        expect(len(set(widths.values())) == 1, 'fuse_at', 'parts that all have as many channels', widths, hint)
        return next(iter(widths.values())), out.shape[-1] // size


def _fuse(key: str, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Fuses the first input of a part; a backbone that runs by itself is left alone."""
    current = _current.get()
    return None if current is None else (current.fuse(key, inputs[0]), *inputs[1:])


def _build(backbone: Mapping[str, Any]) -> nn.Module:
    check_arguments(ARCH_REGISTRY, backbone, 'network_g.backbone')
    arguments = {key: value for key, value in backbone.items() if key != 'type'}
    return ARCH_REGISTRY.get(backbone['type'])(**arguments)


def _find_parts(backbone: nn.Module, fuse_at: Sequence[str]) -> dict[str, nn.Module]:
    listed = isinstance(fuse_at, (list, tuple)) and len(fuse_at) > 0 and len(set(fuse_at)) == len(fuse_at)
    expect(listed, 'fuse_at', 'a list of names, each once', fuse_at, 'such as [body.0, body.8]')
    known = dict(backbone.named_modules())
    for name in fuse_at:
        if not name or name not in known:
            short = [one for one in known if one and one.count('.') < 2]
            hint = nearest(str(name), [one for one in known if one]) or f'; it has {", ".join(short[:12])}, ...'
            raise OptionError(f"fuse_at: {type(backbone).__name__} has no part '{name}'{hint}")
        for end in range(len(name.split('.'))):
            outer = '.'.join(name.split('.')[:end])
            again = bool(getattr(known[outer], 'use_checkpoint', False))
            hint = f"switch use_checkpoint off, or fuse before '{outer}' as a whole"
            expect(not again, 'fuse_at', 'a part that is not computed anew in the backward pass', name, hint)
    return {name: known[name] for name in fuse_at}


def _width(name: str, inputs: list[Any]) -> int:
    """Returns the channels at a part from all the first inputs it got."""
    where = f"fuse_at '{name}'"
    expect(len(inputs) == 1, where, 'a part that runs once in a forward pass', f'{len(inputs)} runs', 'name another')
    fits = isinstance(inputs[0], Tensor) and inputs[0].is_floating_point() and inputs[0].ndim in (3, 4)
    got = tuple(inputs[0].shape) if isinstance(inputs[0], Tensor) else type(inputs[0]).__name__
    expect(fits, where, 'a part whose first input is a map (B, C, h, w) or tokens (B, N, C)', got, 'name another')
    return int(inputs[0].shape[1 if inputs[0].ndim == 4 else 2])


def _side_multiple(backbone: nn.Module) -> int:
    """Returns what the sides of a image must be multiples of."""
    if isinstance(backbone, RRDBNet):
        return {2: 2, 1: 4}.get(backbone.scale, 1)
    windows = (getattr(module, 'window_size', 1) for module in backbone.modules())
    return max(size for size in windows if isinstance(size, int))


def _padded(x: Tensor, multiple: int) -> Tensor:
    """Mirrors images beyond their lower and right border to a multiple of pixels."""
    missing = [-side % multiple for side in x.shape[-2:]]
    if not any(missing):
        return x
    mode = 'reflect' if all(lack < side for lack, side in zip(missing, x.shape[-2:], strict=True)) else 'replicate'
    return F.pad(x, (0, missing[1], 0, missing[0]), mode=mode)
