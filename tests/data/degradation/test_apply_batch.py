from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from deplsr_data.degradation import apply_batch as batch_module
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.apply_batch import apply_batch
from deplsr_data.degradation.packing import pack
from deplsr_data.degradation.recipes import (
    BSRGANRecipe,
    CameraRecipe,
    CleanRecipe,
    RealESRGANRecipe,
    Recipe,
    SemanticRecipe,
    draw,
)
from deplsr_data.degradation.records import Blur, ChromaNoise, Codec, Jpeg, Noise, Record, Resize, Sharpen, Sinc
from deplsr_data.degradation.sampling import rng_for

RECIPES = {
    'semantic': SemanticRecipe(sinc_prob=0.4, gray_noise_prob=0.3),
    'second order': SemanticRecipe(second_order=True, sinc_prob=0.4),
    'published order': SemanticRecipe(resize='last', second_order=True, sinc_prob=0.4),
    'realesrgan': RealESRGANRecipe(),
    'bsrgan': BSRGANRecipe(),
    'camera': CameraRecipe(),
    'clean': CleanRecipe(identity_prob=0.2),
}
ROUNDS = 5  # for all of them


def _clean(photo: np.ndarray, count: int, size: tuple[int, int] = (64, 80)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    corners = [(int(rng.integers(97 - size[0])), int(rng.integers(129 - size[1]))) for _ in range(count)]
    return [np.ascontiguousarray(photo[y : y + size[0], x : x + size[1]]) for y, x in corners]


def _records(recipe: Recipe, count: int, size: tuple[int, int] = (64, 80)) -> list[Record]:
    return [draw(recipe, 4, rng_for(4, 0, index, 0, 'degradation'), size) for index in range(count)]


def _batch(records: list[Record], clean: list[np.ndarray], kernel_size: int = 37) -> tuple[dict, torch.Tensor]:
    packed = [pack(record, one.shape[:2], kernel_size, ROUNDS) for record, one in zip(records, clean, strict=True)]
    return default_collate(packed), torch.from_numpy(np.stack(clean)).permute(0, 3, 1, 2).contiguous()


def _psnr(left: np.ndarray, right: np.ndarray) -> float:
    return float(-10 * np.log10(max(np.square(left - right).mean(), 1e-12)))


@pytest.mark.parametrize('name', RECIPES)
@pytest.mark.parametrize('threads', [1, 2])
def test_each_sample_is_degraded_as_it_would_be_alone(photo, name, threads):
    packed, gt = _batch(_records(RECIPES[name], 14), _clean(photo, 14))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = apply_batch(packed, gt)
        all_at_once = apply_batch(packed, gt, group=14)
    finally:
        torch.set_num_threads(before)
    for b in range(14):
        alone = apply_batch({key: tensor[b : b + 1] for key, tensor in packed.items()}, gt[b : b + 1])[0]
        torch.testing.assert_close(together[b], alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(all_at_once[b], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize('name', RECIPES)
def test_the_batch_agrees_with_the_codec_path(photo, name):
    records, clean = _records(RECIPES[name], 24), _clean(photo, 24)
    packed, gt = _batch(records, clean)
    out = apply_batch(packed, gt).permute(0, 2, 3, 1).numpy()
    expected = [apply(record, one) for record, one in zip(records, clean, strict=True)]
    quality = [_psnr(one, reference) for one, reference in zip(out, expected, strict=True)]
    assert min(quality) > 30  # of single photos, where a codec takes another decision
    assert sorted(quality)[1] > 38
    assert np.median(quality) > 45
    assert np.abs(out - np.stack(expected)).mean() * 255 < 0.3


BACK = Resize(64, 80, 'area')
STEPS = {
    'blur': (Blur(15, 2.0, 0.8, 0.4),),
    'sinc': (Sinc(13, 1.4),),
    'small sinc': (Sinc(9, 1.4),),
    'sharpen': (Sharpen(9, 1.3, 0.8),),
    'blur and shrink': (Blur(15, 2.0, 0.8, 0.4), Resize(32, 40, 'bicubic'), BACK),
    'chroma noise': (ChromaNoise(8.0, 2.3, 7),),
    'shrink': (Resize(16, 20, 'bicubic'), BACK),
    'area': (Resize(23, 31, 'area'), BACK),
    'enlarge': (Resize(90, 101, 'bilinear', antialias=False), BACK),
}
EXACT_STEPS = {
    'gaussian': (Noise('gaussian', 12.0, False, 7),),
    'gray': (Noise('gaussian', 12.0, True, 7),),
    'poisson': (Noise('poisson', 1.5, False, 2**32 - 1),),
    'gray poisson': (Noise('poisson', 1.5, True, 3),),
    'jpeg': (Jpeg(43.7),),
    'full colour': (Jpeg(43.7, '4:4:4'),),
    'off the grid': (Jpeg(61.2), Jpeg(43.7, grid_offset=(3, 12))),
    'full colour off the grid': (Jpeg(43.7, '4:4:4', (15, 1)),),
    'webp': (Codec('webp', 61),),
    'avif': (Codec('avif', 55),),
}


def _both_ways(photo: np.ndarray, steps: tuple) -> tuple[np.ndarray, np.ndarray]:
    clean = _clean(photo, 1)
    packed, gt = _batch([Record(1, steps)], clean, 21)
    return apply_batch(packed, gt)[0].permute(1, 2, 0).numpy(), apply(Record(1, steps), clean[0])


@pytest.mark.parametrize('name', STEPS)
def test_filters_and_resizes_differ_by_single_roundings(photo, name):
    out, expected = _both_ways(photo, STEPS[name])
    difference = np.abs(out - expected) * 255
    assert (difference > 0.5).mean() < 0.02
    assert difference.max() < 1.01


@pytest.mark.parametrize('name', EXACT_STEPS)
def test_noise_and_jpeg_are_the_same_to_the_bit(photo, name):
    np.testing.assert_array_equal(*_both_ways(photo, EXACT_STEPS[name]))


@pytest.mark.parametrize('name', RECIPES)
def test_matrix_products_and_one_image_after_the_other_agree(photo, name, monkeypatch):
    packed, gt = _batch(_records(RECIPES[name], 14), _clean(photo, 14))
    usual = apply_batch(packed, gt)
    for fused in (True, False):
        monkeypatch.setattr(batch_module, 'is_fused_faster', lambda *setting, fused=fused: fused)
        other = apply_batch(packed, gt)
        quality = [_psnr(one.numpy(), two.numpy()) for one, two in zip(usual, other, strict=True)]
        assert sorted(quality)[1] > 38
        assert np.median(quality) > 45


@pytest.mark.parametrize('name', [name for name, steps in EXACT_STEPS.items() if isinstance(steps[-1], Jpeg)])
def test_many_small_images_take_the_batched_jpeg(photo, name, monkeypatch):
    monkeypatch.setattr('deplsr_data.degradation.operators.compress_each', None)
    records, clean = [Record(1, EXACT_STEPS[name])] * 9, _clean(photo, 9)
    packed, gt = _batch(records, clean, 21)
    out = apply_batch(packed, gt, group=9).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(out, [apply(record, one) for record, one in zip(records, clean, strict=True)])


def test_records_of_different_recipes_and_orders_share_a_batch(photo):
    records = [record for recipe in RECIPES.values() for record in _records(recipe, 3)]
    records.append(Record(4, (Resize(16, 20, 'area'),)))
    clean = _clean(photo, len(records))
    packed, gt = _batch(records, clean)
    for record, one, out in zip(records, clean, apply_batch(packed, gt), strict=True):
        assert _psnr(out.permute(1, 2, 0).numpy(), apply(record, one)) > 38


def test_the_result_is_an_eight_bit_image(photo):
    packed, gt = _batch(_records(RECIPES['realesrgan'], 4), _clean(photo, 4))
    out = apply_batch(packed, gt)
    assert (out.shape, out.dtype) == ((4, 3, 16, 20), torch.float32)
    torch.testing.assert_close(out * 255, (out * 255).round(), atol=1e-4, rtol=0)
    assert out.min() >= 0
    assert out.max() <= 1
    assert not out.requires_grad


def test_autocast_and_reduced_precision_change_nothing(photo):
    packed, gt = _batch(_records(RECIPES['realesrgan'], 4), _clean(photo, 4))
    plain = apply_batch(packed, gt)
    torch.set_float32_matmul_precision('medium')
    try:
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert torch.equal(apply_batch(packed, gt), plain)
        assert torch.get_float32_matmul_precision() == 'medium'
    finally:
        torch.set_float32_matmul_precision('highest')


def test_gt_is_left_as_it_was(photo):
    packed, gt = _batch(_records(RECIPES['semantic'], 3), _clean(photo, 3))
    before = gt.clone()
    apply_batch(packed, gt)
    assert torch.equal(gt, before)


def test_gt_of_another_size_is_refused(photo):
    packed, gt = _batch(_records(RECIPES['semantic'], 2), _clean(photo, 2))
    with pytest.raises(ValueError, match='packed'):
        apply_batch(packed, gt[..., :-1])
    with pytest.raises(ValueError, match=r'expected gt of shape \(2'):
        apply_batch(packed, gt[:1])


def test_records_that_end_in_different_sizes_are_refused(photo):
    clean = _clean(photo, 2)
    packed, gt = _batch([Record(4, (Resize(16, 20),)), Record(2, (Resize(32, 40),))], clean)
    with pytest.raises(ValueError, match='same size'):
        apply_batch(packed, gt)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('name', RECIPES)
def test_a_gpu_makes_the_same_images(photo, name):
    packed, gt = _batch(_records(RECIPES[name], 24), _clean(photo, 24))
    on_cpu, on_gpu = apply_batch(packed, gt).numpy(), apply_batch(packed, gt.cuda()).cpu().numpy()
    assert min(_psnr(left, right) for left, right in zip(on_cpu, on_gpu, strict=True)) > 38
    assert (np.abs(on_cpu - on_gpu) > 0.5 / 255).mean() < 0.1  # halfway between two grey levels: 8% of clean images
