from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from deplsr_data.ops.jpeg import compress, compress_each, quantisation_tables
from deplsr_data.ops.jpeg_batch import batched_jpeg, tables_of


def _batched(
    images: list[np.ndarray], qualities: list[float], canvas: tuple[int, int], *settings: bool | torch.Tensor
) -> list[np.ndarray]:
    x = torch.full((len(images), canvas[0], 3, canvas[1]), 0.3)
    for b, image in enumerate(images):
        x[b, : image.shape[0], :, : image.shape[1]] = torch.from_numpy(image.transpose(0, 2, 1).copy())
    tables = torch.from_numpy(np.stack([tables_of(quality) for quality in qualities]))
    sizes = torch.tensor([image.shape[:2] for image in images])
    out = batched_jpeg(x, tables, sizes[:, 0], sizes[:, 1], *settings).numpy().transpose(0, 1, 3, 2)
    assert out.shape == (len(images), *canvas, 3)
    return [one[: p.shape[0], : p.shape[1]] for one, p in zip(out, images, strict=True)]


@pytest.mark.parametrize('quality', [1.0, 5.0, 10.0, 30.0, 47.3, 50.0, 75.0, 90.0, 95.0, 99.6, 100.0])
def test_it_is_libjpeg_to_the_bit(photo, quality):
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 0.1, photo.shape), 0, 1).astype(np.float32)
    for image, out in zip((photo, noisy), _batched([photo, noisy], [quality] * 2, photo.shape[:2]), strict=True):
        np.testing.assert_array_equal(out, compress(image, quality))


def test_integer_qualities_are_pillows(pixels, photo):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'JPEG', quality=62, subsampling='4:2:0')
    (out,) = _batched([photo], [62.0], photo.shape[:2])
    np.testing.assert_array_equal(np.rint(out * 255), np.asarray(Image.open(buffer)))


def test_images_of_any_size_share_a_batch(photo):
    sizes = [(96, 128), (37, 61), (17, 16), (1, 1), (33, 100), (2, 95), (64, 64), (15, 5)]
    images = [photo[:height, :width] for height, width in sizes]
    qualities = [30.0, 50.5, 75.0, 91.2, 33.3, 60.0, 80.0, 45.0]
    for image, quality, out in zip(images, qualities, _batched(images, qualities, (97, 131)), strict=True):
        np.testing.assert_array_equal(out, compress(image, quality))


SIZES = [(96, 128), (37, 61), (17, 16), (7, 9), (33, 100), (1, 1)]


@pytest.mark.parametrize('quality', [5.0, 47.3, 95.0])
def test_full_colour_is_libjpegs_to_the_bit(photo, quality):
    images = [photo[:height, :width] for height, width in SIZES]
    for image, out in zip(images, _batched(images, [quality] * len(images), (97, 131), False), strict=True):
        np.testing.assert_array_equal(out, compress(image, quality, '4:4:4'))


@pytest.mark.parametrize('halve', [True, False])
def test_each_image_may_have_its_own_grid(photo, halve):
    images = [photo[:height, :width] for height, width in SIZES[:5]]
    offsets = [(0, 0), (3, 12), (15, 1), (8, 8), (0, 7)]
    outs = _batched(images, [41.0] * 5, (97, 131), halve, torch.tensor(offsets))
    for image, offset, out in zip(images, offsets, outs, strict=True):
        np.testing.assert_array_equal(out, compress(image, 41.0, '4:2:0' if halve else '4:4:4', offset))


def test_on_the_cpu_images_go_through_libjpeg_one_by_one(photo):
    x = torch.from_numpy(photo[:90, :120].transpose(0, 2, 1).copy())[None].expand(3, -1, -1, -1)
    sizes, offsets = torch.tensor([[90, 120], [33, 47], [64, 64]]), torch.tensor([[0, 3], [15, 0], [4, 4]])
    tables = torch.from_numpy(np.stack([tables_of(quality) for quality in (30.0, 61.7, 95.0)]))
    for halve in (True, False):
        for grid_offset in (None, offsets):
            each = compress_each(x, tables, sizes, halve, grid_offset)
            batched = batched_jpeg(x, tables, sizes[:, 0], sizes[:, 1], halve, grid_offset)
            for one, other, (height, width) in zip(each, batched, sizes.tolist(), strict=True):
                assert torch.equal(one[:height, :, :width], other[:height, :, :width])


def test_extreme_images_come_out_the_same():
    rng = np.random.default_rng(3)
    stripes = np.zeros((48, 48, 3), np.float32)
    stripes[:, ::2] = 1
    images = [np.ones((48, 48, 3), np.float32), stripes, rng.integers(0, 2, (48, 48, 3)).astype(np.float32)]
    for quality in (1.0, 50.0, 100.0):
        for image, out in zip(images, _batched(images, [quality] * 3, (48, 48)), strict=True):
            np.testing.assert_array_equal(out, compress(image, quality))


def test_values_outside_the_range_are_clipped(photo):
    (out,) = _batched([photo * 3 - 1], [70.0], photo.shape[:2])
    np.testing.assert_array_equal(out, compress(photo * 3 - 1, 70.0))


def test_the_input_is_left_as_it_was(photo):
    x = torch.from_numpy(photo.transpose(0, 2, 1).copy())[None]
    before = x.clone()
    batched_jpeg(x, torch.from_numpy(tables_of(50.0))[None], torch.tensor([96]), torch.tensor([128]))
    assert torch.equal(x, before)


def test_tables_are_those_of_the_codec():
    np.testing.assert_array_equal(tables_of(57.4), np.array(quantisation_tables(57.4), np.float32))
