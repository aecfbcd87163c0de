from __future__ import annotations

import io
import pickle
import struct
import zlib

import cv2
import numpy as np
import pytest
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from PIL import Image

from basicsr_plugin.errors import UserError
from deplsr_data.files.photos import Photo, PhotoReader, decode, list_photos, to_float


def _encoded(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _opencv(suffix: str, rgb: np.ndarray) -> bytes:
    return cv2.imencode(suffix, rgb if rgb.ndim == 2 else rgb[..., [2, 1, 0, *range(3, rgb.shape[2])]])[1].tobytes()


@pytest.mark.parametrize('file_format', ['PNG', 'BMP', 'TIFF', 'PPM'])
def test_lossless_files_come_back_exactly(pixels, file_format):
    np.testing.assert_array_equal(decode(_encoded(Image.fromarray(pixels), file_format), 'x'), pixels)


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
def test_sixteen_bits_keep_their_depth(pixels, suffix):
    deep = pixels.astype(np.uint16) * 257 + 3
    read = decode(_opencv(suffix, deep), 'x')
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, deep)
    np.testing.assert_allclose(to_float(read), deep / 65535, atol=1e-6)
    np.testing.assert_array_equal(decode(_opencv(suffix, deep[..., 0]), 'x'), deep[..., [0, 0, 0]])
    with_alpha = np.dstack([deep, np.full_like(deep[..., 0], 9)])
    np.testing.assert_array_equal(decode(_opencv(suffix, with_alpha), 'x'), deep)


def test_gray_becomes_three_equal_channels(pixels):
    for image in (Image.fromarray(pixels[..., 0]), Image.fromarray(pixels[..., 0]).convert('LA')):
        np.testing.assert_array_equal(decode(_encoded(image, 'PNG'), 'x'), pixels[..., [0, 0, 0]])


def test_alpha_is_dropped(pixels):
    image = Image.fromarray(pixels)
    image.putalpha(Image.new('L', image.size, 7))
    np.testing.assert_array_equal(decode(_encoded(image, 'PNG'), 'x'), pixels)


def test_palettes_become_colours(pixels):
    image = Image.fromarray(pixels).quantize(32)
    np.testing.assert_array_equal(decode(_encoded(image, 'PNG'), 'x'), np.asarray(image.convert('RGB')))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied(pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }[orientation]
    read = decode(_encoded(Image.fromarray(pixels), 'JPEG', exif=exif, quality=98, subsampling=0), 'x')
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < 2


@pytest.mark.parametrize(('mode', 'file_format'), [('CMYK', 'JPEG'), ('RGB', 'WEBP'), ('CMYK', 'TIFF')])
def test_cmyk_and_webp_look_as_before(pixels, mode, file_format):
    read = decode(_encoded(Image.fromarray(pixels).convert(mode), file_format, quality=95), 'x')
    assert np.abs(read.astype(int) - pixels).mean() < 4


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_of_sixteen_bits_is_applied(pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    chunk = b'eXIf' + exif.tobytes().removeprefix(b'Exif\0\0')
    chunk = struct.pack('>I', len(chunk) - 4) + chunk + struct.pack('>I', zlib.crc32(chunk))
    deep = pixels.astype(np.uint16) * 257
    plain, turned = _encoded(Image.fromarray(pixels), 'PNG', exif=exif), _opencv('.png', deep)
    turned = turned[:33] + chunk + turned[33:]  # behind the header
    np.testing.assert_array_equal(decode(turned, 'x'), decode(plain, 'x').astype(np.uint16) * 257)


@pytest.mark.parametrize('file_format', ['GIF', 'WEBP', 'TIFF', 'PNG'])
def test_of_an_animation_or_pages_the_first_is_read(pixels, file_format):
    image = Image.fromarray(pixels).quantize(64).convert('RGB')
    options = {'lossless': True} if file_format == 'WEBP' else {}
    content = _encoded(
        image, file_format, save_all=True, append_images=[image.rotate(180), image.rotate(90)], **options
    )
    np.testing.assert_array_equal(decode(content, 'x'), np.asarray(image))


def test_one_pixel_is_an_image(pixels):
    for file_format in ('PNG', 'JPEG', 'WEBP', 'GIF', 'TIFF', 'BMP'):
        assert decode(_encoded(Image.fromarray(pixels[:1, :1]), file_format), 'x').shape == (1, 1, 3)


def test_a_wrong_suffix_does_not_matter(tmp_path, pixels):
    (tmp_path / 'a.jpg').write_bytes(_encoded(Image.fromarray(pixels), 'PNG'))
    np.testing.assert_array_equal(PhotoReader(str(tmp_path), {'type': 'disk'})(str(tmp_path / 'a.jpg')), pixels)


def test_an_implausibly_large_image_is_one_clear_line():
    content = _encoded(Image.new('1', (20000, 20000)), 'PNG')
    with pytest.raises(UserError, match=r"^'x': expected an image of common size, got .*400000000 pixels.*; cut it"):
        decode(content, 'x')


def test_large_and_odd_images_are_read_without_warnings(recwarn):
    black = Image.new('1', (10000, 9500))
    black.paste(Image.effect_noise((4000, 4000), 90).convert('1'))
    assert decode(_encoded(black, 'PNG'), 'x').shape == (9500, 10000, 3)
    assert not recwarn


def test_damaged_files_are_named_in_one_line(pixels):
    undamaged = {
        file_format: _encoded(Image.fromarray(pixels), file_format)
        for file_format in ('PNG', 'JPEG', 'WEBP', 'TIFF', 'BMP')
    }
    undamaged['PNG16'] = _opencv('.png', pixels.astype(np.uint16))
    damaged = [b'', b'no image', *(content[: len(content) // 2] for content in undamaged.values())]
    damaged.append(_encoded(Image.fromarray(pixels[..., 0].astype(np.float32)), 'TIFF'))
    for content in damaged:
        with pytest.raises(UserError, match=r"^'some/where\.png': expected") as caught:
            decode(content, 'some/where.png')
        assert '\n' not in str(caught.value)


def test_flipped_bytes_are_decoded_or_a_user_error(pixels):
    rng = np.random.default_rng(0)
    for file_format in ('PNG', 'JPEG', 'WEBP', 'TIFF', 'GIF'):
        content = np.frombuffer(_encoded(Image.fromarray(pixels[:32, :32]), file_format), np.uint8)
        for _ in range(40):
            bad = content.copy()
            where = rng.integers(len(bad), size=4)
            bad[where] = rng.integers(256, size=4)
            try:
                assert decode(bad.tobytes(), 'x').shape[2] == 3
            except UserError:
                continue


def _write(folder, names, pixels):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[:16, :16]).save(path)
    return folder


def test_nested_folders_are_listed_in_order_and_hidden_files_skipped(tmp_path, pixels):
    _write(tmp_path, ['b.png', 'a/z.JPG', 'a/y.webp'], pixels)
    (tmp_path / '._b.png').write_bytes(b'')
    (tmp_path / 'notes.txt').write_text('x')
    assert list_photos(str(tmp_path)) == [Photo(str(tmp_path / name)) for name in ('a/y.webp', 'a/z.JPG', 'b.png')]


def test_a_meta_info_file_lists_paths_with_or_without_sizes(tmp_path, pixels):
    _write(tmp_path, ['a.png', 'sub/two words.png'], pixels)
    meta = tmp_path / 'meta.txt'
    meta.write_text('sub/two words.png\n\na.png (16,16,3)\n')
    found = list_photos(str(tmp_path), str(meta))
    assert found == [Photo(str(tmp_path / 'sub/two words.png')), Photo(str(tmp_path / 'a.png'))]


def test_a_tsv_brings_titles(tmp_path, pixels):
    _write(tmp_path, ['a.png', 'b.png'], pixels)
    table = tmp_path / 'table.tsv'
    table.write_text('title\tfilepath\ttitle2\na "small" cat, asleep\ta.png\tx\n\tb.png\ty\n', encoding='utf-8-sig')
    found = list_photos(str(tmp_path), str(table))
    assert found == [Photo(str(tmp_path / 'a.png'), 'a "small" cat, asleep'), Photo(str(tmp_path / 'b.png'), None)]


@pytest.mark.parametrize(
    ('table', 'parts'),
    [
        ('path\tcaption\na.png\tx\n', ["'filepath' and 'title'", "['path', 'caption']"]),
        ('', ["'filepath' and 'title'"]),
        ('filepath\ttitle\na.png\n', ['2 columns in line 2', 'got 1']),
        ('filepath\ttitle\n', ['found none']),
        ('filepath\ttitle\nno.png\tx\n', ['relative to dataroot_gt', 'no.png']),
    ],
)
def test_a_wrong_table_is_one_clear_line(tmp_path, table, parts):
    path = tmp_path / 'table.tsv'
    path.write_text(table)
    with pytest.raises(UserError) as caught:
        list_photos(str(tmp_path), str(path), where='datasets.train')
    assert str(caught.value).startswith('datasets.train')
    assert '\n' not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_missing_and_empty_folders_are_named(tmp_path):
    for root, lmdb, part in (
        ('nowhere', False, 'does not exist'),
        ('', False, 'found none'),
        ('', True, 'expected an LMDB'),
    ):
        with pytest.raises(UserError, match=part):
            list_photos(str(tmp_path / root), in_lmdb=lmdb)
    with pytest.raises(UserError, match='meta_info: expected a file'):
        list_photos(str(tmp_path), 'nothing.txt')


def test_an_lmdb_is_read_as_its_folder(tmp_path, pixels):
    folder = _write(tmp_path / 'photos', ['a.png', 'sub/b c.png'], pixels)
    root = str(tmp_path / 'photos.lmdb')
    make_lmdb_from_imgs(str(folder), root, ['a.png', 'sub/b c.png'], ['a', 'sub/b c'], map_size=2**20)
    found = list_photos(root, in_lmdb=True)
    assert [photo.path for photo in found] == ['a', 'sub/b c']
    table = tmp_path / 'table.tsv'
    table.write_text('filepath\ttitle\nsub/b c.png\tcat\n')
    assert list_photos(root, str(table), in_lmdb=True) == [Photo('sub/b c', 'cat')]
    reader = PhotoReader(root, {'type': 'lmdb'})
    np.testing.assert_array_equal(reader('sub/b c'), pixels[:16, :16])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader))('a'), pixels[:16, :16])
    np.testing.assert_array_equal(PhotoReader(root, {'type': 'lmdb'})('a'), pixels[:16, :16])
    with pytest.raises(UserError, match='key of the LMDB'):
        reader('c')


def test_a_file_that_went_away_is_named(tmp_path):
    with pytest.raises(UserError, match=r'gone\.png'):
        PhotoReader(str(tmp_path), {'type': 'disk'})(str(tmp_path / 'gone.png'))


def test_a_damaged_lmdb_is_named(tmp_path):
    for name in ('data.mdb', 'meta_info.txt'):
        (tmp_path / name).write_bytes(b'a.png (4,4,3) 1\n')
    with pytest.raises(UserError, match=r"^x: expected an LMDB, got '.*data\.mdb', which is damaged or none; copy"):
        list_photos(str(tmp_path), in_lmdb=True, names=('x', 'y'))
    with pytest.raises(UserError, match=r'(expected a readable image|which is damaged or none)'):
        PhotoReader(str(tmp_path), {'type': 'lmdb'})('a')
