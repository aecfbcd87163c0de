from __future__ import annotations

import cv2
import numpy as np
import pytest

from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.recipes import SemanticRecipe, draw
from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize, Sinc
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.ops.resize import resize


def _apply(photo, recipe, index=0):
    return apply(draw(recipe, 4, rng_for(0, 0, index, 0, 'degradation'), photo.shape[:2]), photo)


@pytest.mark.parametrize('place', ['last', 'before_noise'])
@pytest.mark.parametrize('second_order', [False, True])
def test_lq_is_an_eight_bit_image_of_the_right_size(photo, place, second_order):
    for index in range(10):
        lq = _apply(photo, SemanticRecipe(resize=place, second_order=second_order, sinc_prob=0.5), index)
        assert (lq.dtype, lq.shape) == (np.float32, (24, 32, 3))
        np.testing.assert_allclose(lq * 255, np.rint(lq * 255), atol=1e-4)
        assert lq.min() >= 0
        assert lq.max() <= 1


def test_a_record_of_zero_levels_only_shrinks(photo):
    record = Record(4, (Blur(1, 0.0, 0.0), Resize(24, 32), Noise('gaussian', 0.0, False, 3)))
    np.testing.assert_array_equal(
        apply(record, photo), np.rint(np.clip(resize(photo, 24, 32), 0, 1) * 255) / np.float32(255)
    )


def test_each_step_is_applied_in_its_order(photo):
    record = Record(4, (Blur(13, 2.0, 2.0), Resize(24, 32, 'area'), Jpeg(50.0)))
    blurred = cv2.GaussianBlur(photo, (13, 13), 2.0, borderType=cv2.BORDER_REFLECT_101)
    small = np.rint(cv2.resize(blurred, (32, 24), interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)
    flags = [cv2.IMWRITE_JPEG_QUALITY, 50]
    expected = cv2.imdecode(cv2.imencode('.jpg', small[..., ::-1], flags)[1], cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(apply(record, photo) * 255 - expected).mean() < 0.3


def test_the_second_order_is_stronger_than_the_first(photo):
    base = {'blur_sigma': (1.0, 2.9), 'noise_range': (10.0, 20.0), 'gaussian_noise_prob': 1.0, 'sinc_prob': 0.0}
    for place in ('last', 'before_noise'):
        first = _apply(photo, SemanticRecipe(resize=place, **base))
        second = _apply(photo, SemanticRecipe(resize=place, second_order=True, **base))
        clean = resize(photo, 24, 32)
        assert np.square(second - clean).mean() > 1.1 * np.square(first - clean).mean()


def test_noise_is_as_strong_as_named_in_lr_and_weaker_in_the_published_order(photo):
    gray = np.full_like(photo, 0.5)
    base = {'noise_range': (20.0, 20.0), 'gaussian_noise_prob': 1.0, 'sinc_prob': 0.0, 'jpeg_prob': 0.0}
    assert _apply(gray, SemanticRecipe(**base)).std() * 255 == pytest.approx(20, rel=0.05)
    assert _apply(gray, SemanticRecipe(resize='last', **base)).std() * 255 < 8


def test_a_sinc_filter_overshoots_at_an_edge():
    edge = np.full((64, 64, 3), 0.25, np.float32)
    edge[:, 32:] = 0.75
    out = apply(Record(1, (Sinc(21, np.pi / 3),)), edge)
    assert out.max() > 0.78
    assert out.min() < 0.22


def test_a_record_for_another_size_is_refused(photo):
    with pytest.raises(ValueError, match='96 x 128 pixels at x4'):
        apply(Record(4, (Resize(24, 31),)), photo)


def test_an_image_of_another_type_is_refused(pixels):
    with pytest.raises(ValueError, match='float32'):
        apply(Record(1, ()), pixels)
