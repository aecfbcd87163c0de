"""Damaged and odd images, the same ones in every run, with what may be read from each."""

from __future__ import annotations

import io
import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from deplsr_model.upscaling.image_files import TURNS

__all__ = ['BadImage', 'bad_images']

_SIDES = (48, 40)  # width and height


class BadImage(NamedTuple):
    """An image file.

    Attributes:
        name: What is odd, or how it was damaged.
        suffix: Of the file.
        content: The file.
        pixels: (h, w, 3) RGB uint8 that may be read, up to what the format loses; None if it must be refused.
        allowed: Why anything of the same size may be read; '' if it may not.
        mode: Rights of the file.
    """

    name: str
    suffix: str
    content: bytes
    pixels: np.ndarray | None
    allowed: str = ''
    mode: int = 0o644


def _saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def _photo(rng: np.random.Generator) -> Image.Image:
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(_SIDES, Image.Resampling.BICUBIC)


def bad_images(number: int, seed: int) -> list[BadImage]:
    """Returns ``number`` images, of all sorts."""
    rng = np.random.default_rng(seed)
    found = _odd(rng)[:number]
    while len(found) < number:
        found.append(_damaged(len(found), rng))
    return found


def _rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert('RGB'))


def _odd(rng: np.random.Generator) -> list[BadImage]:
    photo = _photo(rng)
    pixels = np.asarray(photo)
    deep = pixels.astype(np.uint16) * 257
    gray = photo.convert('L')
    floats = _saved(Image.fromarray(pixels[..., 0].astype(np.float32) / 255), 'TIFF')
    frames = {'save_all': True, 'append_images': [photo.rotate(180)], 'duration': 50}
    palette, bits = photo.quantize(16), photo.convert('1')
    glass = photo.copy()
    glass.putalpha(100)
    found = [
        BadImage('undamaged', '.png', _saved(photo, 'PNG'), pixels),
        BadImage('CMYK', '.jpg', _saved(photo.convert('CMYK'), 'JPEG', quality=98), pixels),
        BadImage('CMYK', '.tif', _saved(photo.convert('CMYK'), 'TIFF'), pixels),
        BadImage('Lab', '.tif', _saved(Image.new('LAB', _SIDES), 'TIFF'), None, 'a colour space that is converted'),
        BadImage('palette', '.png', _saved(palette, 'PNG'), _rgb(palette)),
        BadImage('palette', '.gif', _saved(palette, 'GIF'), _rgb(palette)),
        BadImage('palette', '.bmp', _saved(palette, 'BMP'), _rgb(palette)),
        BadImage('1 bit', '.png', _saved(bits, 'PNG'), _rgb(bits)),
        BadImage('1 bit', '.tif', _saved(bits, 'TIFF'), _rgb(bits)),
        BadImage('gray', '.png', _saved(gray, 'PNG'), _rgb(gray)),
        BadImage('gray and alpha', '.png', _saved(gray.convert('LA'), 'PNG'), _rgb(gray)),
        BadImage('alpha', '.png', _saved(glass, 'PNG'), pixels),
        BadImage('alpha', '.webp', _saved(glass, 'WEBP', lossless=True), pixels),
        BadImage('16 bits', '.png', cv2.imencode('.png', deep[..., ::-1])[1].tobytes(), pixels),
        BadImage('16 bits', '.tif', cv2.imencode('.tiff', deep[..., ::-1])[1].tobytes(), pixels),
        BadImage('16 bits, gray', '.png', cv2.imencode('.png', deep[..., 0])[1].tobytes(), pixels[..., [0, 0, 0]]),
        BadImage('floating point', '.tif', floats, None),
        BadImage('animation', '.gif', _saved(palette, 'GIF', **frames), _rgb(palette)),
        BadImage('animation', '.webp', _saved(photo, 'WEBP', lossless=True, **frames), pixels),
        BadImage('animation', '.png', _saved(photo, 'PNG', **frames), pixels),
        BadImage('pages', '.tif', _saved(photo, 'TIFF', save_all=True, append_images=[photo.rotate(180)]), pixels),
        BadImage('wrong suffix', '.jpg', _saved(photo, 'PNG'), pixels),
        BadImage('wrong suffix', '.png', _saved(photo, 'JPEG', quality=98), pixels),
        BadImage('wrong suffix', '.bmp', _saved(photo, 'WEBP', lossless=True), pixels),
        BadImage('suffix .JFIF', '.JFIF', _saved(photo, 'JPEG', quality=98), pixels),
        BadImage('no rights', '.png', _saved(photo, 'PNG'), None, mode=0),
        BadImage('no rights', '.jpg', _saved(photo, 'JPEG'), None, mode=0),
    ]
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        upright = TURNS[turn](pixels)
        found.append(BadImage(f'EXIF {turn}', '.jpg', _saved(photo, 'JPEG', exif=exif, quality=98), upright))
    for side in (1, 2, 3, 4, 8):
        tiny = photo.resize((side, side))
        found.append(BadImage(f'{side} x {side}', '.png', _saved(tiny, 'PNG'), np.asarray(tiny)))
    found.append(BadImage('1 x 48', '.png', _saved(photo.resize((48, 1)), 'PNG'), np.asarray(photo.resize((48, 1)))))
    for suffix, content in _NO_IMAGES.items():
        found.append(BadImage(f'no image {suffix}', '.' + suffix.split('.')[-1], content, None))
    for name, sides in (('PNG', (60000, 60000)), ('BMP', (60000, 60000)), ('BMP', (9999, 9999)), ('PNG', (0, 5))):
        found.append(
            BadImage(f'header of {sides[0]} x {sides[1]}', f'.{name.lower()}', _huge(photo, name, sides), None)
        )
    return found


_NO_IMAGES = {
    'empty.png': b'',
    'empty.jpg': b'',
    'zeros.png': bytes(9999),
    'zeros.tif': bytes(9999),
    'text.jpg': b'404 not found\n',
    'markup.png': b'<html></html>',
    'pointer.png': b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n',
    'signature.png': b'\x89PNG\r\n\x1a\n',
    'signature.gif': b'GIF89a',
    'signature.webp': b'RIFF\x00\x00\x00\x00WEBPVP8 ',
    'start.jpg': b'\xff\xd8\xff\xe0',
    'script.ppm': b'P6 99999 99999 255\n',
}


def _huge(photo: Image.Image, image_format: str, sides: tuple[int, int]) -> bytes:
    content = bytearray(_saved(photo, image_format))
    if image_format == 'BMP':
        content[18:26] = struct.pack('<ii', *sides)
    else:
        content[16:24] = struct.pack('>II', *sides)
        content[29:33] = struct.pack('>I', zlib.crc32(content[12:29]))
    return bytes(content)


_FORMATS = ('PNG', 'JPEG', 'WEBP', 'GIF', 'TIFF', 'BMP')
_SUFFIXES = {'PNG': '.png', 'JPEG': '.jpg', 'WEBP': '.webp', 'GIF': '.gif', 'TIFF': '.tif', 'BMP': '.bmp'}


def _damaged(number: int, rng: np.random.Generator) -> BadImage:
    image_format = _FORMATS[number % len(_FORMATS)]
    how = ('truncated', 'bit flips', 'zeros at the end', 'hole', 'header flips')[number // len(_FORMATS) % 5]
    photo = _photo(rng)
    options = {'lossless': True} if image_format == 'WEBP' else {}
    content = _saved(photo.quantize(32) if image_format == 'GIF' else photo, image_format, **options)
    place = int(rng.integers(1, len(content) * 9 // 10))
    changed = bytearray(content)
    if how == 'truncated':
        changed = changed[:place]
    elif how == 'hole':
        del changed[place : place + int(rng.integers(1, 65))]
    elif how == 'zeros at the end':
        changed[place:] = bytes(len(content) - place)
    else:
        last = 64 if how == 'header flips' else len(content)
        for flip in rng.integers(0, last, int(rng.integers(1, 9))):
            changed[flip] ^= 1 << int(rng.integers(8))
    same = bytes(changed) == content
    checked = image_format == 'PNG' or how == 'truncated'
    allowed = '' if checked else f'{image_format} has no checksums: a decoder reads something of the right form'
    pixels = _rgb(photo) if same or (image_format == 'PNG' and how != 'truncated') else None
    return BadImage(f'{image_format}: {how}', _SUFFIXES[image_format], bytes(changed), pixels, allowed)
