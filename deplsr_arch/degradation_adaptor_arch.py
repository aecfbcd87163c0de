"""The degradation adaptor of stage 1: a photo's content and degradations as embeddings in CLIP's space.

Source: "Real-world super-resolution with VLM-based degradation prior learning", Sci. Rep. 15, 28837 (2025),
Degradation Adaptor (SRCLIP in the authors' code); the reversed injection follows DA-CLIP.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from basicsr_plugin.errors import OptionError, UserError
from deplsr_arch.checks import expect, expect_choice, expect_counts, is_power_of_two
from deplsr_arch.clip_backbone import (
    ClipConfig,
    View,
    build_backbone,
    check_tokenizer,
    clip_views,
    embed_patches,
    freeze,
    pool_tokens,
    read_config,
    vision_sizes,
)
from deplsr_arch.conv_stem import conv_stem
from deplsr_arch.degradation_types import NUM_DEGRADATION_TYPES
from deplsr_arch.published_adaptor import rename_published

__all__ = ['AdaptorOutput', 'DegradationAdaptor', 'LogitInit', 'Stem']

LogitInit = Literal['clip', 'siglip']
Stem = Literal['patch', 'conv']

_SIGLIP_SCALE, _SIGLIP_BIAS = 10.0, -10.0
_INLINE_TOKENIZER = 'ViT-B-32'


class AdaptorOutput(NamedTuple):
    """What the adaptor estimates from a batch of photos.

    Attributes:
        content: (B, D), embedding of the content, as if the photo were clean.
        global_degradation: (B, D), all degradations together.
        fine_degradation: (B, K, D), one row for each degradation type. The published order: blur, gaussian noise,
            poisson noise, jpeg, ringing.
    """

    content: Tensor
    global_degradation: Tensor
    fine_degradation: Tensor


@ARCH_REGISTRY.register()
class DegradationAdaptor(nn.Module):
    """Estimates content and degradations of a photo as embeddings in the space of a frozen CLIP.

    A trainable copy of CLIP's image tower, the control tower, computes the degradation embeddings. The output of each
    of its blocks also passes through a zero-initialised layer and corrects the frozen tower, last block first, so that
    the content embedding of a bad photo can come close to that of the clean one. Before training nothing is corrected:
    the content embedding is exactly CLIP's. The control tower is a deep copy, so every parameter starts from the one of
    its name (the published code walks two parameter lists of different length and misses this).

    The defaults are what measures best (docs/prior_nominal.md). The published form is ``view='resize'``,
    ``stem='patch'``, ``logit_init='siglip'`` (options/paper).

    The state dict holds the frozen CLIP and its pixel statistics too, so a checkpoint needs no other file; set
    ``pretrained`` only to start a training. :meth:`load_state_dict` takes the authors' SRCLIP files as they are.

    Args:
        clip: A model name of open_clip (a ViT), or an inline config with ``embed_dim``, ``vision_cfg``, ``text_cfg``.
        pretrained: A tag of open_clip or a local weights file; None for random weights.
        clip_normalize: Normalise pixels as CLIP was trained; False for the authors' weights, which expect plain 0..1.
        view: How a photo is brought to CLIP's input size. ``'native'`` averages over crops at the photo's own scale;
            ``'resize'`` (published) resizes it without keeping the aspect ratio.
        stem: First layers of the control tower. ``'conv'``: convolutions on the same grid as the patches, for a patch
            size that is a power of 2 (see :func:`conv_stem`). ``'patch'`` (published): CLIP's patch embedding.
        logit_init: Start of the losses' scale and bias. ``'clip'``: CLIP's scale and no bias (softmax loss).
            ``'siglip'`` (published): 10 and -10 (sigmoid loss).
        tokenizer: open_clip model whose tokenizer the captions go through; None: the model that ``clip`` names, or
            ViT-B-32 for an inline config.
        num_degradation_types: Number K of degradation types, one fine embedding for each.

    Shape:
        - lq: (B, 3, h, w) RGB, or (B, 1, h, w) grey, in 0..1, of any size.
        - returns :class:`AdaptorOutput`, each embedding of unit length.

    Raises:
        UserError: ``clip`` or ``pretrained`` cannot be used (see :func:`build_backbone`), an unknown choice or
            tokenizer, or a patch size that does not suit ``stem``.
    """

    image_mean: Tensor
    image_std: Tensor
    logit_scale: nn.Parameter
    logit_bias: nn.Parameter | None

    def __init__(
        self,
        clip: str | ClipConfig,
        pretrained: str | None = None,
        clip_normalize: bool = True,
        view: View = 'native',
        stem: Stem = 'conv',
        logit_init: LogitInit = 'clip',
        *,
        tokenizer: str | None = None,
        num_degradation_types: int = NUM_DEGRADATION_TYPES,
    ) -> None:
        super().__init__()
        expect_choice('view', view, get_args(View))
        expect_choice('stem', stem, get_args(Stem))
        expect_choice('logit_init', logit_init, get_args(LogitInit))
        expect_counts(num_degradation_types=num_degradation_types)
        config = read_config(clip)
        self.tokenizer: str = tokenizer or (clip if isinstance(clip, str) else _INLINE_TOKENIZER)
        check_tokenizer(self.tokenizer)
        if stem == 'conv':
            _expect_grid_for_conv(config)  # before any weights are fetched
        backbone = build_backbone(clip, pretrained)
        visual = backbone.clip.visual
        self.clip_normalize = clip_normalize
        self.view: View = view
        self.num_degradation_types = num_degradation_types
        self.embed_dim: int = visual.output_dim
        self.image_size: int = visual.image_size[0]
        self.context_length: int = backbone.clip.context_length
        # kept with the weights: some tags were trained with other statistics, which a checkpoint must not lose
        self.register_buffer('image_mean', torch.tensor(backbone.mean))
        self.register_buffer('image_std', torch.tensor(backbone.std))

        self.visual_control = copy.deepcopy(visual)
        self.clip = backbone.clip
        freeze(self.clip)
        width = visual.conv1.out_channels
        if stem == 'conv':
            self.visual_control.conv1 = conv_stem(width, visual.conv1.kernel_size[0])
        self.zero_modules = nn.ModuleList(_zero_linear(width) for _ in visual.transformer.resblocks)
        self.out_linear = nn.Linear(self.embed_dim, num_degradation_types * self.embed_dim)
        self._init_logits(logit_init)

    def forward(self, lq: Tensor) -> AdaptorOutput:
        """Embeds photos; see the class for shapes."""
        return self.embed_views(clip_views(lq.expand(-1, 3, -1, -1), self.image_size, self.view))

    def embed_views(self, views: Tensor, weights: Tensor | None = None) -> AdaptorOutput:
        """Embeds photos of which views (B, K, 3, S, S) in 0..1 are given, S = ``image_size``, with weights (K,)."""
        views = self._normalised(views)
        per_view = self.embed(views.flatten(0, 1))  # each (B K, ...)
        return AdaptorOutput(*(_mean_of_views(value, views, weights) for value in per_view))

    def clip_embedding(self, lq: Tensor) -> Tensor:
        """Embeds photos (B, 3, h, w) with the frozen CLIP alone, uncorrected: (B, D) of unit length."""
        views = self._views(lq)
        return _mean_of_views(self.clip.encode_image(views.flatten(0, 1)), views)

    def embed(self, image: Tensor) -> AdaptorOutput:
        """Embeds images that are CLIP input already; the embeddings are not normalised.

        Shape:
            - image: (B, 3, S, S), S = ``image_size``, pixels normalised or not as the weights expect it.
            - returns :class:`AdaptorOutput`, each embedding of the length that the towers compute.
        """
        degradation, corrections = self._control(image)
        fine = self.out_linear(degradation).unflatten(-1, (self.num_degradation_types, self.embed_dim))  # (B, K, D)
        return AdaptorOutput(self._content(image, corrections), degradation, fine)

    def prior(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """The condition of the SR network: content (B, 1, D) and fine degradations (B, K, D) of ``lq``, unit length."""
        output = self(lq)
        return output.content.unsqueeze(1), output.fine_degradation

    @torch.no_grad()
    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embeds texts with the frozen text tower.

        Shape:
            - tokens: (N, L) integers of CLIP's tokenizer, L = ``context_length``.
            - returns (N, D) of unit length, without gradient.

        Raises:
            UserError: ``tokens`` has another length.
        """
        if tokens.ndim != 2 or tokens.shape[1] != self.context_length:
            raise UserError(
                f'tokens: expected (N, {self.context_length}), got {tuple(tokens.shape)}; '
                f'tokenize with context_length {self.context_length} of the text tower'
            )
        return _unit(self.clip.encode_text(tokens))

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """Everything except the frozen CLIP: control tower, zero layers, out_linear, logit_scale, logit_bias."""
        return (value for name, value in self.named_parameters() if not name.startswith('clip.'))

    def train(self, mode: bool = True) -> DegradationAdaptor:
        """As in torch, but the frozen CLIP stays in eval mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in torch; also takes what :meth:`own_names` does."""
        return super().load_state_dict(self.own_names(state_dict), strict=strict, assign=assign)

    def own_names(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Renames the authors' SRCLIP layout, with or without its aliases and a ``module.`` prefix.

        Pixel statistics and ``logit_bias`` keep their values where the file has none; a bias that this adaptor was
        built without is skipped. Estimates do not depend on a bias.
        """
        state = rename_published(state)
        own = self.state_dict()
        for key in ('image_mean', 'image_std', 'logit_bias'):
            if key in own:
                state.setdefault(key, own[key])
        for key in ('logit_bias', 'clip.logit_bias'):
            if key not in own:
                state.pop(key, None)
        return state

    def _views(self, lq: Tensor) -> Tensor:
        """Images as the towers take them: (B, K, 3, S, S)."""
        return self._normalised(clip_views(lq.expand(-1, 3, -1, -1), self.image_size, self.view))

    def _normalised(self, views: Tensor) -> Tensor:
        if not self.clip_normalize:
            return views
        return (views - self.image_mean.view(3, 1, 1)) / self.image_std.view(3, 1, 1)

    def _init_logits(self, logit_init: LogitInit) -> None:
        if logit_init == 'siglip':
            self.logit_scale = nn.Parameter(torch.tensor(math.log(_SIGLIP_SCALE)))
            self.logit_bias = nn.Parameter(torch.tensor(_SIGLIP_BIAS))
        else:
            self.logit_scale = nn.Parameter(self.clip.logit_scale.detach().clone())
            self.register_parameter('logit_bias', None)

    def _control(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The degradation embedding (B, D) and each block's correction (B, 1 + N, W) for the frozen tower."""
        tokens = embed_patches(self.visual_control, image)
        corrections = []
        for block, zero_module in zip(self.visual_control.transformer.resblocks, self.zero_modules, strict=True):
            tokens = block(tokens)
            corrections.append(zero_module(tokens))
        return pool_tokens(self.visual_control, tokens), corrections

    def _content(self, image: Tensor, corrections: list[Tensor]) -> Tensor:
        """The content embedding (B, D): after the frozen block k comes the correction of control block L - 1 - k."""
        # gradients must pass through the frozen blocks to reach the corrections, so there is no no_grad here
        visual = self.clip.visual
        tokens = embed_patches(visual, image)
        for block, correction in zip(visual.transformer.resblocks, reversed(corrections), strict=True):
            tokens = block(tokens) + correction
        return pool_tokens(visual, tokens)


def _unit(embedding: Tensor) -> Tensor:
    """Unit length along the last axis, in float32 at least: half precision would be off by some 1e-3."""
    return F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=-1)


def _mean_of_views(value: Tensor, views: Tensor, weights: Tensor | None = None) -> Tensor:
    """Averages embeddings (B K, ...) over the K views of each photo, to unit length."""
    each = _unit(value).unflatten(0, views.shape[:2])
    return _unit(each.mean(dim=1) if weights is None else (each.movedim(1, -1) * weights).sum(dim=-1))


def _zero_linear(width: int) -> nn.Linear:
    layer = nn.Linear(width, width)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _expect_grid_for_conv(config: ClipConfig) -> None:
    """Refuses stem 'conv' where convolutions of stride 2 do not end on the grid of the patches."""
    patch_size, image_size = vision_sizes(config)
    if not is_power_of_two(patch_size):
        raise OptionError(
            f"stem: expected 'patch' for a clip with patches of {patch_size} pixels, got 'conv', which needs a power "
            f'of 2; set stem: patch'
        )
    hint = f'set stem: patch, or an image_size that is a multiple of {patch_size}'
    expect(image_size % patch_size == 0, 'stem', f"'patch' for a clip with an image_size of {image_size}", 'conv', hint)
