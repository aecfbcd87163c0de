"""The degradation adaptor against plain open_clip and its own contract."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
import torch.nn.functional as F
from clip_cases import config
from torchvision.transforms.functional import normalize

from basicsr_plugin.errors import UserError
from deplsr_arch.degradation_adaptor_arch import DegradationAdaptor

TOWERS = {
    'patch 16': {},
    'patch 8': {'patch_size': 8},
    'wide, one block': {'width': 96, 'head_width': 32, 'layers': 1},
    'average pooling': {'pool_type': 'avg', 'no_ln_pre': True, 'final_ln_after_pool': True},
    'custom attention': {'qk_norm': True},
    'fixed positions': {'pos_embed_type': 'sin_cos_2d'},
    'patch dropout': {'patch_dropout': 0.5},
}


def small_adaptor(**options):
    """An adaptor that is not at step 0: its zero layers have taken a value."""
    adaptor = DegradationAdaptor(config(), **options)
    for value in adaptor.zero_modules.parameters():
        torch.nn.init.normal_(value, std=0.1)
    return adaptor.eval()


# --- step 0 ---


@pytest.mark.parametrize('vision', TOWERS.values(), ids=TOWERS)
@pytest.mark.parametrize('training', [False, True])
def test_before_training_content_and_degradation_are_those_of_plain_clip(tmp_path, vision, training):
    plain = open_clip.CLIP(**config(**vision)).eval()
    torch.save(plain.state_dict(), tmp_path / 'clip.pt')
    adaptor = DegradationAdaptor(config(**vision), str(tmp_path / 'clip.pt'), stem='patch').train(training)
    lq = torch.rand(2, 3, 48, 48)
    pixels = normalize(lq, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    expected = plain.encode_image(pixels, normalize=True)
    output = adaptor(lq)
    torch.testing.assert_close(output.content, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(output.global_degradation, expected, rtol=0, atol=1e-6)


def test_the_control_tower_starts_as_a_copy_that_shares_nothing():
    adaptor = DegradationAdaptor(config(), stem='patch')
    frozen = adaptor.clip.visual.state_dict()
    control = adaptor.visual_control.state_dict()
    assert frozen.keys() == control.keys()
    assert all(torch.equal(frozen[key], control[key]) for key in frozen)
    assert not {value.data_ptr() for value in frozen.values()} & {value.data_ptr() for value in control.values()}


@pytest.mark.parametrize(
    ('logit_init', 'scale', 'bias'), [('clip', 1 / 0.07, None), ('siglip', 10.0, -10.0)], ids=['clip', 'siglip']
)
def test_scale_and_bias_start_as_their_loss_needs_them(logit_init, scale, bias):
    adaptor = DegradationAdaptor(config(), logit_init=logit_init)
    assert adaptor.logit_scale.exp().item() == pytest.approx(scale)
    assert (adaptor.logit_bias if bias is None else adaptor.logit_bias.item()) == bias
    assert adaptor.logit_scale is not adaptor.clip.logit_scale


# --- frozen and trained parts ---


def trained_step(adaptor, optimizer):
    target = torch.randn(2, 5, 24)
    output = adaptor(torch.rand(2, 3, 48, 48))
    bias = 0 if adaptor.logit_bias is None else adaptor.logit_bias
    similarity = sum(
        (value * target[:, : value.shape[1]] if value.ndim == 3 else value * target[:, 0]).sum() for value in output
    )
    (adaptor.logit_scale.exp() * similarity + bias).backward()
    optimizer.step()


@pytest.mark.parametrize('logit_init', ['clip', 'siglip'])
def test_a_step_of_training_changes_all_trainable_parameters_and_nothing_else(logit_init):
    adaptor = DegradationAdaptor(config(), logit_init=logit_init).train()
    before = copy.deepcopy(adaptor.state_dict())
    trained_step(adaptor, torch.optim.SGD(adaptor.trainable_parameters(), lr=0.1))
    after = adaptor.state_dict()
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    own = {'logit_scale', 'logit_bias'} if logit_init == 'siglip' else {'logit_scale'}
    trained = {key for key in after if key.startswith(('visual_control.', 'zero_modules.', 'out_linear.'))} | own
    assert changed == trained
    assert all(value.grad is None for value in adaptor.clip.parameters())


def test_trainable_parameters_are_those_that_take_a_gradient():
    adaptor = DegradationAdaptor(config(), logit_init='siglip')
    listed = {id(value) for value in adaptor.trainable_parameters()}
    assert listed == {id(value) for value in adaptor.parameters() if value.requires_grad}


def test_the_content_embedding_alone_trains_the_zero_modules():
    adaptor = DegradationAdaptor(config())
    adaptor(torch.rand(2, 3, 48, 48)).content[:, 0].sum().backward()
    assert all(zero_module.weight.grad.abs().sum() > 0 for zero_module in adaptor.zero_modules)


def test_the_frozen_clip_never_leaves_eval_mode():
    adaptor = DegradationAdaptor(config())
    for module in (adaptor, adaptor.train(), adaptor.eval().train(True)):
        assert module.training
        assert adaptor.visual_control.training
        assert not any(part.training for part in adaptor.clip.modules())
    assert not adaptor.eval().visual_control.training


def test_texts_are_embedded_at_unit_length_and_without_gradient():
    adaptor = DegradationAdaptor(config())
    tokens = torch.randint(50, (4, 8))
    text = adaptor.encode_text(tokens)
    assert not text.requires_grad
    torch.testing.assert_close(text, adaptor.clip.encode_text(tokens, normalize=True).detach())


def test_tokens_of_another_length_are_refused_in_one_line():
    with pytest.raises(UserError, match=r'^tokens: expected \(N, 8\), got \(4, 77\); .*\Z'):
        DegradationAdaptor(config()).encode_text(torch.zeros(4, 77, dtype=torch.int64))


# --- images ---


@pytest.mark.parametrize('view', ['resize', 'native'])
@pytest.mark.parametrize('size', [(8, 8), (8, 300), (47, 48), (48, 48), (49, 63), (100, 31), (300, 300), (64, 1000)])
def test_grey_images_of_any_size_have_embeddings_of_unit_length(view, size):
    adaptor = small_adaptor(view=view)
    grey = torch.rand(2, 1, *size)
    output = adaptor(grey)
    assert [tuple(value.shape) for value in output] == [(2, 24), (2, 24), (2, 5, 24)]
    for value, of_three in zip(output, adaptor(grey.repeat(1, 3, 1, 1)), strict=True):
        torch.testing.assert_close(value.norm(dim=-1), torch.ones(value.shape[:-1]))
        assert torch.equal(value, of_three)


def test_both_views_agree_on_an_image_of_exactly_the_input_size():
    resize, native = small_adaptor(view='resize'), DegradationAdaptor(config(), view='native').eval()
    native.load_state_dict(resize.state_dict())
    lq = torch.rand(2, 3, 48, 48)
    assert all(torch.equal(a, b) for a, b in zip(resize(lq), native(lq), strict=True))


def test_the_native_view_averages_over_its_crops():
    adaptor = small_adaptor(view='native')
    lq = torch.rand(2, 3, 48, 96)
    halves = [adaptor(half) for half in lq.split(48, dim=-1)]
    for value, left, right in zip(adaptor(lq), *halves, strict=True):
        torch.testing.assert_close(value, F.normalize(left + right, dim=-1))


def test_the_embeddings_of_a_photo_do_not_depend_on_its_batch():
    adaptor = small_adaptor(view='native')
    lq = torch.rand(3, 3, 60, 100)
    for together, alone in zip(adaptor(lq), adaptor(lq[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone)


def test_pixels_are_normalised_unless_switched_off():
    normalised = small_adaptor()
    plain = DegradationAdaptor(config(), clip_normalize=False).eval()
    plain.load_state_dict(normalised.state_dict())
    lq = torch.rand(2, 3, 48, 48)
    pixels = normalize(lq, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    torch.testing.assert_close(normalised(lq), plain(pixels))
    assert not torch.allclose(normalised(lq).content, plain(lq).content)


def test_bfloat16_autocast_trains_and_still_returns_float32_unit_embeddings():
    adaptor = small_adaptor()
    lq = torch.rand(2, 3, 48, 48)
    with torch.autocast('cpu', torch.bfloat16):
        output = adaptor(lq)
    for value, exact in zip(output, adaptor(lq), strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.norm(dim=-1), torch.ones(value.shape[:-1]))
        assert F.cosine_similarity(value, exact, dim=-1).min() > 0.999
    output.content.sum().backward()
    assert adaptor.zero_modules[0].weight.grad.isfinite().all()


def test_a_deep_copy_returns_the_same_embeddings_and_shares_no_weights():
    adaptor = small_adaptor()
    twin = copy.deepcopy(adaptor)
    lq = torch.rand(1, 3, 48, 48)
    expected = adaptor(lq)
    torch.testing.assert_close(twin(lq), expected)
    with torch.no_grad():
        twin.out_linear.weight.zero_()
    torch.testing.assert_close(adaptor(lq), expected)
    assert not twin.train().clip.training


# --- state dicts ---


def test_a_file_with_a_bias_loads_into_an_adaptor_without_one():
    adaptor = DegradationAdaptor(config())
    adaptor.load_state_dict(DegradationAdaptor(config(), logit_init='siglip').state_dict())
    assert adaptor.logit_bias is None


@pytest.mark.parametrize('key', ['out_linear.bias', 'zero_modules.1.weight', 'clip.ln_final.weight', 'logit_scale'])
def test_a_file_with_missing_weights_does_not_load_strictly(key):
    adaptor = DegradationAdaptor(config())
    state = adaptor.state_dict()
    del state[key]
    with pytest.raises(RuntimeError, match=key):
        adaptor.load_state_dict(state)
    assert adaptor.load_state_dict(state, strict=False).missing_keys == [key]


def test_a_checkpoint_needs_neither_pretrained_weights_nor_their_pixel_statistics():
    trained = small_adaptor(logit_init='siglip')
    trained.image_mean.fill_(0.5)  # as a tag with statistics of its own would
    fresh = DegradationAdaptor(config(), logit_init='siglip').eval()
    fresh.load_state_dict(trained.state_dict())
    lq = torch.rand(1, 3, 60, 60)
    assert all(torch.equal(a, b) for a, b in zip(trained(lq), fresh(lq), strict=True))
