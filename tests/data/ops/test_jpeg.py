from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from deplsr_data.ops.jpeg import compress, quantisation_tables


def _pillow(pixels: np.ndarray, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'JPEG', quality=quality, subsampling='4:2:0')
    buffer.seek(0)
    return Image.open(buffer)


@pytest.mark.parametrize('quality', [1, 5, 24, 30, 33, 49, 50, 51, 75, 90, 95, 100])
def test_integer_quality_factors_are_libjpegs_to_the_bit(pixels, photo, quality):
    image = _pillow(pixels, quality)
    assert quantisation_tables(quality) == (tuple(image.quantization[0]), tuple(image.quantization[1]))
    np.testing.assert_array_equal(np.rint(compress(photo, float(quality)) * 255), np.asarray(image))


def test_a_factor_between_two_integers_has_tables_between_theirs():
    for below in (30, 48, 49, 57, 94):
        low, between, high = (np.array(quantisation_tables(below + part)) for part in (0, 0.4, 1))
        assert (low >= between).all()
        assert (between >= high).all()
    assert quantisation_tables(57.4) not in (quantisation_tables(57), quantisation_tables(58))


def test_the_error_falls_as_the_factor_rises(photo):
    errors = [np.square(compress(photo, quality) - photo).mean() for quality in (30, 47.3, 57.4, 70.5, 95)]
    assert errors == sorted(errors, reverse=True)


def test_odd_sizes_keep_their_size(photo):
    assert compress(photo[:37, :1], 50).shape == (37, 1, 3)


@pytest.mark.parametrize('quality', [30, 75, 95])
def test_full_colour_is_libjpegs_to_the_bit(pixels, photo, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'JPEG', quality=quality, subsampling='4:4:4')
    np.testing.assert_array_equal(np.rint(compress(photo, quality, '4:4:4') * 255), np.asarray(Image.open(buffer)))


@pytest.mark.parametrize('subsampling', ['4:2:0', '4:4:4'])
def test_a_grid_offset_is_what_a_crop_leaves(photo, subsampling):
    cropped = compress(photo, 40, subsampling)[16:, 16:]
    np.testing.assert_array_equal(compress(photo[16:, 16:], 40, subsampling)[32:64, 32:64], cropped[32:64, 32:64])
    edge = np.pad(photo, ((5, 0), (11, 0), (0, 0)), 'edge')
    off_grid = compress(photo, 40, subsampling, (5, 11))
    np.testing.assert_array_equal(off_grid, compress(edge, 40, subsampling)[5:, 11:])
    assert np.abs(off_grid - compress(photo, 40, subsampling)).mean() * 255 > 0.5


@pytest.mark.parametrize('quality', [0, 100.5])
def test_a_factor_out_of_range_is_refused(quality):
    with pytest.raises(ValueError, match='1 to 100'):
        quantisation_tables(quality)
