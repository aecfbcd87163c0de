"""Any registered super-resolution network with fusion before some of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal, get_args

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from basicsr_plugin.checks import check_arguments
from basicsr_plugin.errors import OptionError, first_line
from basicsr_plugin.names import nearest
from deplsr_arch.checks import expect, expect_choice, expect_counts
from deplsr_arch.degradation_types import NUM_DEGRADATION_TYPES
from deplsr_arch.dynamic_kernels import DynamicKernels
from deplsr_arch.fusion import (
    FUSION_PREFIXES,
    FusionInit,
    PriorProjection,
    build_fusion,
    expect_prior,
)
from deplsr_arch.image_sides import mirrored, side_multiple

__all__ = ['Fused']

MapFusion = Literal['film', 'kernels', 'residual', 'paper']

_PROBE_SIZE = 48


class _Pass:
    """One forward pass: the fusions, and the prior as the latest of them returned it."""

    def __init__(self, fusions: nn.ModuleDict, xi: Tensor, xd: Tensor) -> None:
        self.fusions = fusions
        self.xi, self.xd = xi, xd

    def fuse(self, key: str, features: Tensor) -> Tensor:
        """Fuses a map (B, C, h, w) or tokens (B, N, C)."""
        fusion = self.fusions[key]
        if isinstance(fusion, DynamicKernels):
            fused, self.xi, self.xd = fusion(features, self.xi, self.xd)
            return fused
        # views also of channels_last maps, so that nothing is copied
        tokens = features.permute(0, 2, 3, 1).flatten(1, 2) if features.ndim == 4 else features
        tokens, self.xi, self.xd = fusion(tokens, self.xi, self.xd)
        if features.ndim == 4:
            tokens = tokens.unflatten(1, features.shape[2:]).permute(0, 3, 1, 2)
        return tokens.to(features.dtype)


# Not an attribute of the network: copies, and replicas in other threads, share its hooks but must not share a pass.
_current: ContextVar[_Pass | None] = ContextVar('current_pass', default=None)


@ARCH_REGISTRY.register()
class Fused(nn.Module):
    """Any registered network, conditioned on a content and a degradation prior.

    A fusion before each named part acts on the part's first argument; the prior passes from one fusion to the next as
    in the published network. The state dict holds the network's parameters under ``backbone.``; :meth:`own_names`
    renames those of a plain backbone's checkpoint, so that it loads without conversion. Images are mirrored beyond
    their borders where the backbone needs complete windows (SwinIR) or even sides (RRDBNet at x2).

    Args:
        backbone: Block with ``type``, a registered network, and that network's arguments.
        fuse_at: Names of parts of the backbone, such as ``body.0``; each must take a map (B, C, h, w) or tokens
            (B, N, C), all with the same C, once in a forward pass.
        prior_dim: Width D of the prior's embeddings, 512 for ViT-B/32.
        fusion: 'film' (:class:`PriorModulation`), 'kernels' (:class:`DynamicKernels`, for maps), 'residual' or 'paper'
            (:class:`CrossModalFusion`, as published).
        fusion_init: 'identity': at first the output is exactly the backbone's. 'paper': as published. None: 'paper' for
            the published fusion, 'identity' otherwise.
        fusion_num_heads: Heads of the fusion's attentions, a divisor of C.
        fusion_attn_ratio: Width of queries and keys in the attention on pairs, in multiples of C.
        fusion_mlp_ratio: Hidden width of the fusion's MLP, in multiples of C.
        num_degradation_types: Number K of degradation tokens; that of network_da.

    Shape:
        - x: (B, 3, h, w). xi: (B, 1, D) content. xd: (B, K, D) degradation; with attention, any number of either.
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
        fusion: MapFusion = 'film',
        fusion_init: FusionInit | None = None,
        fusion_num_heads: int = 4,
        fusion_attn_ratio: float = 1.0,
        fusion_mlp_ratio: float = 1.0,
        num_degradation_types: int = NUM_DEGRADATION_TYPES,
    ) -> None:
        super().__init__()
        expect_counts(prior_dim=prior_dim, num_degradation_types=num_degradation_types)
        self.prior_dim = prior_dim
        self.num_degradation_types = num_degradation_types
        self.backbone = _build(backbone)
        parts = _find_parts(self.backbone, fuse_at)
        self._multiple = side_multiple(self.backbone)
        dim, self.scale = self._probe(parts, maps=fusion == 'kernels')
        arguments = {'attn_ratio': fusion_attn_ratio, 'mlp_ratio': fusion_mlp_ratio, 'init': fusion_init}
        self.fusion_blocks = nn.ModuleDict(
            {
                str(i): _build_fusion(fusion, dim, fusion_num_heads, num_degradation_types, arguments)
                for i in range(len(parts))
            }
        )
        self.adaptive_feat_channels = PriorProjection(prior_dim, dim, 'film' if fusion == 'kernels' else fusion)
        for key, part in zip(self.fusion_blocks, parts.values(), strict=True):
            part.register_forward_pre_hook(partial(_fuse, key))

    def forward(self, x: Tensor, xi: Tensor, xd: Tensor) -> Tensor:
        """Enlarges images x (B, 3, h, w), conditioned on the prior xi (B, 1, D), xd (B, K, D)."""
        for name, prior in (('xi', xi), ('xd', xd)):
            expect_prior(name, prior, x.shape[0], self.prior_dim)
        project = self.adaptive_feat_channels
        token = _current.set(_Pass(self.fusion_blocks, project(xi), project(xd)))
        try:
            out = self.backbone(mirrored(x, self._multiple))
        finally:
            _current.reset(token)
        return out[..., : self.scale * x.shape[-2], : self.scale * x.shape[-1]]

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Renames a plain backbone's state dict to the names it has here; one of this network passes unchanged."""
        if any(key.startswith('backbone.') for key in state):
            return dict(state)
        prefixes = self.fusion_prefixes
        return {key if key.startswith(prefixes) else f'backbone.{key}': value for key, value in state.items()}

    @torch.no_grad()
    def _probe(self, parts: Mapping[str, nn.Module], maps: bool) -> tuple[int, int]:
        """Returns the channels at all parts and the scale, found by running a small black image.

        ``maps``: refuses parts that take tokens.
        """
        seen: dict[str, list[object]] = {name: [] for name in parts}

        def record(name: str, _: nn.Module, inputs: tuple[object, ...]) -> None:
            seen[name].append(inputs[0] if inputs else None)

        handles = [part.register_forward_pre_hook(partial(record, name)) for name, part in parts.items()]
        size = -(-_PROBE_SIZE // self._multiple) * self._multiple
        training = self.backbone.training
        try:
            out = self.backbone.eval()(torch.zeros(1, 3, size, size))
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            name = type(self.backbone).__name__
            raise OptionError(
                f'network_g.backbone: {name} fails on an image of 3 x {size} x {size}: {first_line(error)}'
            ) from error
        for handle in handles:
            handle.remove()
        self.backbone.train(training)
        widths = {name: _width(name, inputs, maps) for name, inputs in seen.items()}
        hint = 'name parts of equal width'
        expect(len(set(widths.values())) == 1, 'fuse_at', 'parts with the same number of channels', widths, hint)
        return next(iter(widths.values())), out.shape[-1] // size


def _build_fusion(form: MapFusion, dim: int, heads: int, types: int, arguments: Mapping[str, Any]) -> nn.Module:
    expect_choice('fusion', form, get_args(MapFusion))
    if form != 'kernels':
        return build_fusion(dim, heads, form=form, num_degradation_types=types, **arguments)
    init, hint = arguments['init'], 'kernels start as identity; leave fusion_init out'
    expect(init in (None, 'identity'), 'fusion_init', "'identity' with fusion: kernels", init, hint)
    return DynamicKernels(dim, types)


def _fuse(key: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Fuses the first input of a part; changes nothing where the backbone is run by itself."""
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
            short = [part for part in known if part and part.count('.') < 2]
            hint = nearest(str(name), [part for part in known if part]) or f'; it has {", ".join(short[:12])}, ...'
            raise OptionError(f"fuse_at: {type(backbone).__name__} has no part '{name}'{hint}")
        for end in range(len(name.split('.'))):
            outer = '.'.join(name.split('.')[:end])
            repeated = bool(getattr(known[outer], 'use_checkpoint', False))
            hint = f"switch use_checkpoint off, or fuse before '{outer}' itself"
            expect(not repeated, 'fuse_at', 'a part that is not computed again in the backward pass', name, hint)
    return {name: known[name] for name in fuse_at}


def _width(name: str, inputs: list[object], maps: bool) -> int:
    """Returns the number of channels at a part, from the first input of each of its runs; ``maps``: not of tokens."""
    where = f"fuse_at '{name}'"
    expect(len(inputs) == 1, where, 'a part that runs once in a forward pass', f'{len(inputs)} runs', 'name another')
    features = inputs[0]
    if isinstance(features, Tensor) and features.is_floating_point() and features.ndim in (3, 4):
        is_map, shape = features.ndim == 4, tuple(features.shape)
        expect(is_map or not maps, where, 'a map (B, C, h, w) with fusion: kernels', shape, 'take fusion: film')
        return features.shape[1 if features.ndim == 4 else 2]
    got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
    raise OptionError(
        f'{where}: expected a part whose first input is a map (B, C, h, w) or tokens (B, N, C), got {got!r}; '
        'name another'
    )
