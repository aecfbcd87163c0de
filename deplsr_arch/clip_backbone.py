"""An open_clip model as the frozen backbone of the degradation adaptor: build, load, prepare its input.

A backbone is built in three separate steps: a model name or an inline mapping becomes a checked config, the config
becomes a plain ``open_clip.CLIP``, and a tag or a local file becomes weights that must fit it exactly. Nothing is
fetched unless the user names a tag of open_clip's own table.

The image towers are driven block by block through their public parts, because the adaptor needs every block's output.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_plugin.errors import UserError, first_line
from basicsr_plugin.names import nearest
from basicsr_plugin.signatures import check_values
from deplsr_arch.checks import expect_counts
from deplsr_arch.clip_weights import find_weights, load_strictly
from deplsr_arch.grid import starts

if TYPE_CHECKING:  # imported where it is used: it takes half as long as torch
    import open_clip
    from open_clip.transformer import VisionTransformer

__all__ = [
    'JPEG_BLOCK',
    'MAX_CROPS_PER_SIDE',
    'Backbone',
    'ClipConfig',
    'View',
    'build_backbone',
    'check_tokenizer',
    'clip_views',
    'embed_patches',
    'freeze',
    'pool_tokens',
    'read_config',
    'vision_sizes',
]

View = Literal['resize', 'native']
#: A config as open_clip stores them: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and optional keys.
ClipConfig = Mapping[str, Any]

#: Crops along one side in view 'native'; nine at most, so that a large photo costs at most nine forward passes.
MAX_CROPS_PER_SIDE = 3

#: Side in pixels of a JPEG block (MCU) with 4:2:0 chroma subsampling.
JPEG_BLOCK = 16

_CONFIG_KEYS = ('embed_dim', 'vision_cfg', 'text_cfg')
_COUNTS = ('layers', 'width', 'heads', 'head_width', 'patch_size', 'image_size', 'context_length', 'vocab_size')
_OPTIONAL_KEYS = ('quick_gelu', 'init_logit_scale', 'init_logit_bias', 'custom_text')


class Backbone(NamedTuple):
    """A CLIP and the pixel statistics its image tower was trained with.

    Attributes:
        clip: The model, image and text tower, in float32 on the CPU.
        mean: Mean of R, G, B for pixels in 0..1.
        std: Standard deviation of R, G, B for pixels in 0..1.
    """

    clip: open_clip.CLIP
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def build_backbone(clip: str | ClipConfig, pretrained: str | None = None) -> Backbone:
    """Builds a CLIP with a ViT image tower and loads its weights.

    Patch dropout is always off: the control tower must see the same tokens as the frozen tower it is added to.

    Args:
        clip: A name of ``open_clip.list_models()``, or a mapping like one of open_clip's model configs: ``embed_dim``,
            ``vision_cfg``, ``text_cfg`` and, where wanted, ``quick_gelu``, ``init_logit_scale``, ``init_logit_bias``.
            ``custom_text`` is read and ignored: the plain layout, text tower at the top level, is always built.
        pretrained: A tag of open_clip for that name (downloaded or taken from the cache), the path of a local file
            (``.safetensors``, or a torch file of plain tensors), or None for random weights.

    Returns:
        The model with its pixel statistics: those of the tag, else OpenAI CLIP's.

    Raises:
        UserError: Unknown name, key or tag; a tower that is no ViT with class token or average pooling; a missing or
            unreadable file; weights that do not fit.
    """
    name = clip if isinstance(clip, str) else None
    config = read_config(clip)
    weights = find_weights(name, pretrained, quick_gelu=config.get('quick_gelu', False))
    model = _build(config)
    if weights.path is not None:
        load_strictly(model, weights.path)
    elif name is not None:
        _warn_random(name)
    return Backbone(model, weights.mean, weights.std)


def read_config(clip: str | ClipConfig) -> ClipConfig:
    """Returns the checked config of a model of open_clip, by name or inline; see :func:`build_backbone`.

    Raises:
        UserError: Unknown name or key, or a tower that is no ViT with class token or average pooling.
    """
    config = _named_config(clip) if isinstance(clip, str) else _inline_config(clip)
    _check_towers(config, clip if isinstance(clip, str) else 'inline config')
    return config


def vision_sizes(config: ClipConfig) -> tuple[int, int]:
    """Returns the side of a patch and of the input of the image tower, as the config states them."""
    import open_clip

    vision, defaults = config['vision_cfg'], open_clip.CLIPVisionCfg
    patch_size = vision.get('patch_size', defaults.patch_size)
    image_size = vision.get('image_size', defaults.image_size)
    return patch_size, image_size[0] if isinstance(image_size, (list, tuple)) else image_size


def check_tokenizer(name: str) -> None:
    """Refuses a tokenizer that is not named after a model of open_clip (or of a hub, such as ``hf-hub:...``).

    Raises:
        UserError: One line with the nearest name.
    """
    import open_clip

    known = open_clip.list_models()
    if ':' not in name and name not in known:
        hint = nearest(name, known) or '; see open_clip.list_models()'
        raise UserError(f"tokenizer: expected a model name of open_clip, got '{name}'{hint}")


def freeze(module: nn.Module) -> None:
    """Puts ``module`` in eval mode and switches the gradients of its parameters off."""
    module.eval().requires_grad_(False)


def embed_patches(visual: VisionTransformer, image: Tensor) -> Tensor:
    """Everything of a ViT image tower before its first block.

    Shape:
        - image: (B, 3, S, S), S the tower's image size; the positional embedding fits no other.
        - returns tokens (B, 1 + N, W), class token first, or (1 + N, B, W) where the blocks take the sequence first.
    """
    patches = visual.conv1(image).flatten(2).transpose(1, 2)  # (B, N, W)
    class_token = visual.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)  # (B, 1, W)
    tokens = torch.cat([class_token, patches], dim=1) + visual.positional_embedding.to(patches.dtype)
    return _swap_unless_batch_first(visual, visual.ln_pre(visual.patch_dropout(tokens)))


def pool_tokens(visual: VisionTransformer, tokens: Tensor) -> Tensor:
    """Everything of a ViT image tower after its last block: norm, class token or average, projection.

    Shape:
        - tokens: as the blocks return them, see :func:`embed_patches`.
        - returns (B, D), not normalised.
    """
    tokens = _swap_unless_batch_first(visual, tokens)  # (B, 1 + N, W)
    if not visual.final_ln_after_pool:
        tokens = visual.ln_post(tokens)
    pooled = tokens[:, 0] if visual.pool_type == 'tok' else tokens[:, 1:].mean(dim=1)  # (B, W)
    if visual.final_ln_after_pool:
        pooled = visual.ln_post(pooled)
    return pooled @ visual.proj


def clip_views(lq: Tensor, size: int, view: View) -> Tensor:
    """Converts images of any size to CLIP's input.

    ``'resize'`` resizes the entire image without keeping the aspect ratio, bilinear without antialiasing, as the
    published code does: noise keeps its strength, shapes are distorted. ``'native'`` keeps the image's own scale: it
    cuts crops on a grid from border to border, each aligned with the JPEG blocks of a photo that was not cropped after
    compression; a side shorter than ``size`` is mirrored until it is as long. Towers that were trained on complete
    blocks estimate JPEG wrongly in crops that are not aligned (docs/prior_nominal.md).

    Shape:
        - lq: (B, C, h, w).
        - returns (B, K, C, size, size), K = 1 for ``'resize'``, 1 to ``MAX_CROPS_PER_SIDE ** 2`` for ``'native'``.
    """
    if view == 'resize':
        return _resize(lq, size, size).unsqueeze(1)
    lq = _mirrored(_mirrored(lq, size, dim=-2), size, dim=-1)
    crops = [
        lq[..., top : top + size, left : left + size]
        for top in starts(lq.shape[-2], size, step=JPEG_BLOCK, max_count=MAX_CROPS_PER_SIDE)
        for left in starts(lq.shape[-1], size, step=JPEG_BLOCK, max_count=MAX_CROPS_PER_SIDE)
    ]
    return torch.stack(crops, dim=1)


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    if tuple(image.shape[-2:]) == (height, width):
        return image
    return F.interpolate(image, (height, width), mode='bilinear', align_corners=False, antialias=False)


def _mirrored(image: Tensor, size: int, dim: int) -> Tensor:
    """Mirrors an image, border pixel included, until it has ``size``, so that JPEG blocks stay complete."""
    while image.shape[dim] < size:
        added = min(image.shape[dim], size - image.shape[dim])
        image = torch.cat([image, image.flip(dim).narrow(dim, 0, added)], dim)
    return image


def _swap_unless_batch_first(visual: VisionTransformer, tokens: Tensor) -> Tensor:
    """Changes between (B, N, W) and (N, B, W) where the tower's blocks take the sequence first."""
    return tokens if getattr(visual.transformer, 'batch_first', True) else tokens.transpose(0, 1)


def _warn_random(name: str) -> None:
    logging.getLogger('basicsr').warning(
        'CLIP %s has random weights until a checkpoint is loaded; to start from trained ones, set `pretrained` to a '
        'file or to a tag of open_clip.list_pretrained_tags_by_model(%r).',
        name,
        name,
    )


def _named_config(name: str) -> ClipConfig:
    import open_clip

    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        hint = nearest(name, open_clip.list_models()) or '; see open_clip.list_models()'
        raise UserError(f"clip: expected a model name of open_clip, got '{name}'{hint}")
    return config


def _inline_config(config: ClipConfig) -> ClipConfig:
    """Returns the inline config as plain dicts, with its keys checked against open_clip's own config classes."""
    import open_clip

    _check_keys('clip', config, (*_CONFIG_KEYS, *_OPTIONAL_KEYS))
    for key in _CONFIG_KEYS:
        if key not in config:
            raise UserError(f"clip: missing key '{key}'; expected embed_dim, vision_cfg and text_cfg as in open_clip")
    for key, config_class in (('vision_cfg', open_clip.CLIPVisionCfg), ('text_cfg', open_clip.CLIPTextCfg)):
        if not isinstance(config[key], Mapping):
            raise UserError(f'clip.{key}: expected a mapping, got {config[key]!r}; see a model config of open_clip')
        _check_keys(f'clip.{key}', config[key], [field.name for field in dataclasses.fields(config_class)])
        check_values(config_class, config[key], f'clip.{key}')
        counts = {f'clip.{key}.{name}': config[key][name] for name in _COUNTS if name in config[key]}
        expect_counts(**{name: value for name, value in counts.items() if not isinstance(value, (list, tuple))})
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}


def _check_keys(where: str, given: ClipConfig, known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'{nearest(str(key), known)}")


def _check_towers(config: ClipConfig, name: str) -> None:
    """Refuses, before anything is built, towers that the adaptor cannot copy or inject into."""
    import open_clip

    vision, text = config['vision_cfg'], config['text_cfg']
    size = vision.get('image_size', open_clip.CLIPVisionCfg.image_size)
    reasons = {
        'an image tower of timm': vision.get('timm_model_name'),
        'a ResNet image tower': isinstance(vision.get('layers'), (list, tuple)),
        'attentional pooling': vision.get('attentional_pool'),
        'no pooling': vision.get('pool_type') == 'none',
        'a caption decoder (CoCa)': 'multimodal_cfg' in config,
        'a text tower of transformers': text.get('hf_model_name'),
        'a class token in the text tower': text.get('embed_cls'),
        f'an oblong input {size}': isinstance(size, (list, tuple)) and len(set(size)) != 1,
    }
    for reason, found in reasons.items():
        if found:
            raise UserError(
                f"clip: expected open_clip's own ViT with class token or average pooling and a square input, got "
                f"'{name}' with {reason}; take a plain ViT such as ViT-B-32"
            )


def _build(config: ClipConfig) -> open_clip.CLIP:
    import open_clip

    arguments = {key: value for key, value in config.items() if key != 'custom_text'}
    arguments['vision_cfg'] = {**config['vision_cfg'], 'patch_dropout': 0.0, 'output_tokens': False}
    try:
        return open_clip.CLIP(**arguments)
    except (AssertionError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f'clip: expected sizes that open_clip can build, got {first_line(error)}; '
            f'check widths against heads, image_size against patch_size'
        ) from error
