from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from deplsr_data.files.photos import PhotoError
from deplsr_model.upscaling.image_files import (
    ImageFile,
    decode_image,
    encode_image,
    header_size,
    read_note,
    suitable_extension,
)

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
GRADIENT = np.linspace(0, 255, 12 * 18 * 3).astype(np.uint8).reshape(12, 18, 3)
ORIENTATION = 0x0112


def saved(image, fmt='PNG', **arguments):
    out = io.BytesIO()
    image.save(out, fmt, **arguments)
    return out.getvalue()


def random_pixels(dtype, *shape):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('alpha', [False, True])
@pytest.mark.parametrize('gray', [False, True])
def test_a_png_keeps_every_bit_of_colours_gray_and_alpha(dtype, alpha, gray):
    pixels = random_pixels(dtype, 7, 9, 3)[..., 0] if gray else random_pixels(dtype, 7, 9, 3)
    file = ImageFile(pixels, random_pixels(dtype, 7, 9) if alpha else None)
    again = decode_image(encode_image(file, 'png'), 'x.png')
    assert again.pixels.dtype == dtype
    colours = again.pixels if again.is_gray == gray else again.pixels[..., 0]  # 16 bits of gray with alpha become RGBA
    assert np.array_equal(colours, pixels)
    assert (again.alpha is None) == (not alpha)
    assert not alpha or np.array_equal(again.alpha, file.alpha)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('extension', ['png', 'jpg', 'webp'])
def test_profile_exif_resolution_and_note_are_kept(tmp_path, dtype, extension):
    exif = Image.Exif()
    exif[0x010F] = 'Maker of cameras'
    file = ImageFile(random_pixels(dtype, 7, 9, 3), None, ICC, exif.tobytes(), (300.0, 300.0))
    (tmp_path / 'out').write_bytes(encode_image(file, extension, note='{"edit": 1}'))
    again = decode_image((tmp_path / 'out').read_bytes(), 'out')
    assert again.icc == ICC
    tags = Image.Exif()
    tags.load(again.exif)
    assert tags[0x010F] == 'Maker of cameras'
    assert extension == 'webp' or again.dpi == pytest.approx((300, 300), abs=0.1)
    assert read_note(str(tmp_path / 'out')) == '{"edit": 1}'


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('deep', [False, True])
def test_the_exif_orientation_is_applied_once(orientation, deep):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    expected = decode_image(saved(Image.fromarray(GRADIENT), exif=exif), 'x').pixels
    if deep:
        plain = ImageFile(GRADIENT.astype(np.uint16) * 257, None, None, exif.tobytes())
        content = encode_image(plain, 'png')
    else:
        content = saved(Image.fromarray(GRADIENT), exif=exif)
    found = decode_image(content, 'x')
    assert np.array_equal(found.pixels // (257 if deep else 1), expected)
    assert found.exif is None
    again = decode_image(encode_image(found, 'png'), 'x')
    assert np.array_equal(again.pixels, found.pixels)


def test_a_turned_photo_is_what_pillow_shows():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    assert np.array_equal(decode_image(saved(Image.fromarray(GRADIENT), exif=exif), 'x').pixels, np.rot90(GRADIENT, -1))


def test_a_palette_with_transparency_becomes_rgb_with_alpha():
    palette = Image.fromarray(GRADIENT).quantize(16)
    found = decode_image(saved(palette, transparency=3), 'x')
    assert found.pixels.shape == (12, 18, 3)
    assert np.array_equal(found.alpha == 0, np.asarray(palette) == 3)
    assert decode_image(saved(palette), 'x').alpha is None


def test_cmyk_and_progressive_jpeg_become_rgb():
    cmyk = decode_image(saved(Image.fromarray(GRADIENT).convert('CMYK'), 'JPEG', quality=100), 'x')
    assert cmyk.pixels.shape == (12, 18, 3)
    assert cmyk.icc is None
    assert np.abs(cmyk.pixels.astype(int) - GRADIENT).mean() < 6
    progressive = decode_image(saved(Image.fromarray(GRADIENT), 'JPEG', quality=95, progressive=True), 'x')
    assert np.abs(progressive.pixels.astype(int) - GRADIENT).mean() < 6


def test_a_cmyk_photo_is_converted_by_its_profile():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile('LAB')).tobytes()
    image = ImageCms.profileToProfile(
        Image.fromarray(GRADIENT), ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'), outputMode='LAB'
    )
    found = decode_image(saved(image, 'TIFF', icc_profile=lab), 'x')
    assert found.icc is None
    assert np.abs(found.pixels.astype(int) - GRADIENT).mean() < 4


@pytest.mark.parametrize('mode', ['1', 'L', 'LA'])
def test_gray_stays_gray(mode):
    found = decode_image(saved(Image.fromarray(GRADIENT).convert(mode)), 'x')
    assert found.is_gray
    assert (found.alpha is not None) == (mode == 'LA')
    again = decode_image(encode_image(found, 'png'), 'x')
    assert again.is_gray
    assert np.array_equal(again.pixels, found.pixels)


def test_a_16_bit_tiff_is_read_with_all_its_bits():
    pixels = random_pixels(np.uint16, 7, 9)
    assert np.array_equal(decode_image(saved(Image.fromarray(pixels), 'TIFF'), 'x').pixels, pixels)


@pytest.mark.parametrize('content', [b'', b'not an image', saved(Image.fromarray(GRADIENT))[:80]])
def test_an_unreadable_file_is_one_line_with_its_name(content):
    with pytest.raises(PhotoError, match=r"'some\.png': expected a readable image") as error:
        decode_image(content, 'some.png')
    assert '\n' not in str(error.value)


def test_floating_point_pixels_are_one_line():
    with pytest.raises(PhotoError, match='expected 8 or 16 bits'):
        decode_image(saved(Image.fromarray(np.zeros((4, 4), np.float32)), 'TIFF'), 'x')


def test_a_photo_with_alpha_becomes_a_png_in_place_of_a_jpeg():
    pixels = random_pixels(np.uint8, 4, 4, 3)
    assert suitable_extension(ImageFile(pixels, pixels[..., 0]), 'jpg') == 'png'
    assert suitable_extension(ImageFile(pixels), 'jpg') == 'jpg'


def test_what_does_not_fit_into_a_format_is_one_line():
    with pytest.raises(ValueError, match=r'17000 x 1 pixels do not fit into webp \('):
        encode_image(ImageFile(np.zeros((1, 17000, 3), np.uint8)), 'webp')


def test_the_size_is_read_from_the_header(tmp_path):
    Image.fromarray(GRADIENT).save(tmp_path / 'a.png')
    assert header_size(str(tmp_path / 'a.png')) == (12, 18)
    assert header_size(str(tmp_path / 'b.png')) == (0, 0)
