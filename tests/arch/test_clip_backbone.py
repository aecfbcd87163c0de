"""The open_clip backbone: what it builds and refuses, and how images are brought to its input size."""

from __future__ import annotations

import itertools
import logging

import pytest
import torch
import torch.nn.functional as F
from clip_cases import config, refusal
from open_clip.transformer import Transformer

from basicsr_plugin.errors import UserError
from deplsr_arch.clip_backbone import (
    MAX_CROPS_PER_SIDE,
    build_backbone,
    check_tokenizer,
    clip_views,
    embed_patches,
    freeze,
    pool_tokens,
)

TOWERS = {
    'patch 16': {},
    'patch 8': {'patch_size': 8},
    'patch not dividing the input': {'patch_size': 12},
    'wide': {'width': 96, 'head_width': 32, 'layers': 1},
    'layer scale': {'ls_init_value': 0.1},
    'custom attention': {'qk_norm': True, 'scale_fc': True},
    'average pooling, norm last': {'pool_type': 'avg', 'no_ln_pre': True, 'final_ln_after_pool': True},
    'average pooling, norm first': {'pool_type': 'avg'},
    'fixed positions': {'pos_embed_type': 'sin_cos_2d'},
    'dropout and output tokens': {'patch_dropout': 0.5, 'output_tokens': True},
}


def in_blocks(visual, image):
    tokens = embed_patches(visual, image)
    for block in visual.transformer.resblocks:
        tokens = block(tokens)
    return pool_tokens(visual, tokens)


@pytest.fixture
def log():
    """Messages of BasicSR's logger, which does not propagate them once BasicSR has set it up."""
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())

    handler, logger = Keep(), logging.getLogger('basicsr')
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.mark.parametrize('vision', TOWERS.values(), ids=TOWERS)
def test_a_tower_run_block_by_block_returns_the_embedding_of_open_clip(vision):
    clip = build_backbone(config(**vision)).clip.train()  # train mode: a patch dropout left on would show
    image = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(in_blocks(clip.visual, image), clip.encode_image(image), rtol=0, atol=1e-6)


def test_blocks_that_take_the_sequence_first_return_the_same_embedding():
    visual = build_backbone(config()).clip.visual
    image = torch.randn(2, 3, 48, 48)
    expected = visual(image)
    sequence_first = Transformer(32, 2, heads=2, batch_first=False)
    sequence_first.load_state_dict(visual.transformer.state_dict())
    visual.transformer = sequence_first
    assert embed_patches(visual, image).shape == (10, 2, 32)
    torch.testing.assert_close(in_blocks(visual, image), expected, rtol=0, atol=1e-6)


def test_quick_gelu_of_an_inline_config_reaches_both_towers():
    clip = build_backbone({**config(), 'quick_gelu': True}).clip
    names = [type(module).__name__ for module in clip.modules()]
    assert names.count('QuickGELU') == 3
    assert 'GELU' not in names


def test_building_leaves_the_inline_config_as_it_was():
    given = config(patch_dropout=0.5)
    build_backbone(given)
    assert given == config(patch_dropout=0.5)


def test_a_frozen_tower_is_in_eval_mode_and_takes_no_gradient():
    clip = build_backbone(config()).clip.train()
    freeze(clip)
    assert not any(module.training for module in clip.modules())
    assert not any(value.requires_grad for value in clip.parameters())


def test_the_error_for_an_unknown_model_name_suggests_the_nearest_one():
    assert "'ViT-B32'" in refusal('ViT-B32')
    assert 'did you mean' in refusal('ViT-B32')


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('RN50', 'a ResNet image tower'),
        ('convnext_base', 'an image tower of timm'),
        ('coca_ViT-B-32', 'attentional pooling'),
        ('coca_base', 'a caption decoder'),
        ('xlm-roberta-base-ViT-B-32', 'a text tower of transformers'),
    ],
)
def test_a_model_with_other_towers_is_refused_before_it_is_built(name, reason, offline):
    assert f"got '{name}' with {reason}" in refusal(name)


@pytest.mark.parametrize(
    ('vision', 'reason'),
    [
        ({'image_size': [48, 32]}, 'an oblong input'),
        ({'pool_type': 'none'}, 'no pooling'),
        ({'attentional_pool': True}, 'attentional pooling'),
    ],
)
def test_an_inline_tower_that_cannot_be_used_is_refused(vision, reason):
    assert reason in refusal(config(**vision))


def test_unknown_and_missing_keys_of_an_inline_config_are_named():
    assert refusal(config(widht=32)).startswith("clip.vision_cfg: unknown key 'widht'; did you mean 'width'")
    assert refusal({**config(), 'embed_dims': 24}).startswith(
        "clip: unknown key 'embed_dims'; did you mean 'embed_dim'"
    )
    assert refusal({'embed_dim': 24, 'vision_cfg': {}}).startswith("clip: missing key 'text_cfg'")
    assert refusal({**config(), 'text_cfg': 7}).startswith('clip.text_cfg: expected a mapping, got 7')


@pytest.mark.parametrize(
    ('vision', 'line'),
    [
        ({'patch_size': 0}, 'patch_size: expected a whole number from 1 upwards, got 0'),
        ({'layers': 'two'}, "layers: expected a list of 4 values or a whole number, got 'two'"),
        ({'layers': -1}, 'layers: expected a whole number from 1 upwards, got -1'),
        ({'layers': True}, 'layers: expected a list of 4 values or a whole number, got True'),
        ({'head_width': 8.5}, 'head_width: expected a whole number, got 8.5'),
        ({'width': 10**12}, 'width: expected a number up to 1000000, got 1000000000000'),
    ],
)
def test_a_size_of_another_type_or_out_of_range_is_named(vision, line):
    assert refusal(config(**vision)).startswith(f'clip.vision_cfg.{line}')


def test_a_text_tower_without_layers_is_refused():
    text = {**config()['text_cfg'], 'layers': 0}
    line = 'clip.text_cfg.layers: expected a whole number from 1 upwards, got 0'
    assert refusal({**config(), 'text_cfg': text}).startswith(line)


@pytest.mark.parametrize('vision', [{'width': 50}, {'head_width': 64}])
def test_sizes_that_cannot_be_built_are_refused_in_one_line(vision):
    assert refusal(config(**vision)).startswith('clip: expected sizes that open_clip can build')


def test_random_weights_of_a_named_model_are_logged_once_and_fetch_nothing(log, offline):
    with torch.device('meta'):
        build_backbone('ViT-B-32')
    assert len(log) == 1
    assert log[0].startswith('CLIP ViT-B-32 has random weights')
    assert 'set `pretrained`' in log[0]


def test_an_inline_config_is_random_without_a_log_message(log):
    build_backbone(config())
    assert log == []


def test_the_resize_view_is_bilinear_interpolation_without_antialiasing():
    image = torch.rand(2, 3, 100, 60)
    expected = F.interpolate(image, (32, 32), mode='bilinear', align_corners=False)
    torch.testing.assert_close(clip_views(image, 32, 'resize'), expected[:, None])


@pytest.mark.parametrize('shape', [(32, 32), (16, 32), (32, 9), (8, 8), (1, 1)])
def test_the_native_view_mirrors_a_small_image_pixel_for_pixel(shape):
    image = torch.rand(1, 3, *shape)
    view = clip_views(image, 32, 'native')[0, 0]
    rows, columns = ([(i // side % 2) * (side - 1 - 2 * (i % side)) + i % side for i in range(32)] for side in shape)
    assert torch.equal(view, image[0][:, rows][:, :, columns])


def test_an_image_of_exactly_the_input_size_is_unchanged():
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(clip_views(image, 32, 'resize')[:, 0], image)


@pytest.mark.parametrize('height', [8, 32, 33, 64, 65, 96, 97, 300])
@pytest.mark.parametrize('width', [8, 40, 95, 1000])
def test_native_crops_are_pieces_of_the_image_on_the_grid_of_jpeg(height, width):
    size = 32
    # each pixel carries its own place, so a crop shows where it was cut
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')).float()
    crops = clip_views(places[None], size, 'native')[0]  # (K, 2, 32, 32)
    assert len(crops) <= MAX_CROPS_PER_SIDE**2
    assert len({tuple(crop[:, 0, 0].tolist()) for crop in crops}) == len(crops)
    for axis, side in enumerate((height, width)):
        starts = sorted(set(crops[:, axis, 0, 0].tolist()))
        assert all(start % 16 == 0 for start in starts)
        assert starts[0] == 0
        assert starts[-1] > max(side, size) - size - 16  # short of the other border by less than a block
        if side <= MAX_CROPS_PER_SIDE * size:
            assert all(after - before <= size for before, after in itertools.pairwise(starts))


def test_native_crops_of_a_larger_image_keep_its_scale():
    image = torch.rand(1, 3, 50, 70)
    crops = clip_views(image, 32, 'native')[0]
    expected = [image[0, :, top : top + 32, left : left + 32] for top in (0, 16) for left in (0, 16, 32)]
    assert torch.equal(crops, torch.stack(expected))


def test_the_error_for_an_unknown_tokenizer_suggests_the_nearest_one():
    check_tokenizer('ViT-B-32')
    check_tokenizer('hf-hub:timm/ViT-B-16-SigLIP')
    with pytest.raises(UserError, match=r"^tokenizer: expected a model name of open_clip, got 'ViT-B32'; did you mean"):
        check_tokenizer('ViT-B32')
