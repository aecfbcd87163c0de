from __future__ import annotations

import cv2
import numpy as np
import pytest
from basicsr.utils.matlab_functions import imresize
from PIL import Image

from deplsr_data.ops.resize import resize


@pytest.mark.parametrize('size', [(24, 32), (48, 64), (37, 51), (120, 200)])
@pytest.mark.parametrize(('mode', 'filter_'), [('bicubic', Image.BICUBIC), ('bilinear', Image.BILINEAR)])
def test_antialiased_modes_are_pillows(photo, size, mode, filter_):
    expected = np.stack(
        [np.asarray(Image.fromarray(photo[..., c]).resize(size[::-1], filter_)) for c in range(3)], axis=-1
    )
    np.testing.assert_allclose(resize(photo, *size, mode), expected, atol=1e-5)


def test_bicubic_is_matlabs_away_from_the_borders(photo):
    expected = imresize(photo.copy(), 0.25)
    np.testing.assert_allclose(resize(photo, 24, 32)[3:-3, 3:-3], expected[3:-3, 3:-3], atol=1e-5)


def test_area_is_opencvs_mean_over_the_pixels(photo):
    np.testing.assert_allclose(
        resize(photo, 24, 32, 'area'), cv2.resize(photo, (32, 24), interpolation=cv2.INTER_AREA), atol=1e-6
    )


def test_plain_bilinear_is_opencvs(photo):
    expected = cv2.resize(photo, (61, 43), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resize(photo, 43, 61, 'bilinear', antialias=False), expected, atol=2e-5)


def test_the_same_size_is_the_identity(photo):
    np.testing.assert_array_equal(resize(photo, *photo.shape[:2]), photo)
