"""Damaged and odd image files, the same ones in every run."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from skimage import data

SIDES = (0, 1, 7, 4096, 13000, 30000, 65535, 2**31 - 1)


class Damaged(NamedTuple):
    """A file: its name, its bytes, the undamaged file it was made from, and how it was damaged."""

    name: str
    content: bytes
    undamaged: bytes
    how: str


def _saved(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def undamaged_files() -> dict[str, bytes]:
    """Files of all formats and modes."""
    pixels = np.ascontiguousarray(data.astronaut()[64:104, 160:208])
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {'save_all': True, 'append_images': [image.rotate(90), image.rotate(180)]}
    deep = pixels.astype(np.uint16) * 257
    return {
        'rgb.png': _saved(image, 'PNG'),
        'gray_alpha.png': _saved(image.convert('LA'), 'PNG'),
        'palette.png': _saved(image.quantize(16), 'PNG'),
        'deep.png': cv2.imencode('.png', deep)[1].tobytes(),
        'turned.jpg': _saved(image, 'JPEG', exif=exif),
        'progressive.jpg': _saved(image, 'JPEG', progressive=True, quality=40),
        'cmyk.jpg': _saved(image.convert('CMYK'), 'JPEG'),
        'gray.jpg': _saved(image.convert('L'), 'JPEG'),
        'lossy.webp': _saved(image, 'WEBP', quality=60),
        'lossless.webp': _saved(image, 'WEBP', lossless=True),
        'moving.webp': _saved(image, 'WEBP', **frames),
        'moving.gif': _saved(image, 'GIF', **frames),
        'raw.tif': _saved(image, 'TIFF'),
        'lzw.tif': _saved(image, 'TIFF', compression='tiff_lzw'),
        'deep.tif': cv2.imencode('.tiff', deep)[1].tobytes(),
        'rgb.bmp': _saved(image, 'BMP'),
        'palette.bmp': _saved(image.quantize(16), 'BMP'),
    }


def _flipped(content: bytes, rng: np.random.Generator, first: int = 0, last: int | None = None) -> bytes:
    damaged = bytearray(content)
    for place in rng.integers(first, min(len(content), last or len(content)), size=rng.integers(1, 9)):
        damaged[place] ^= int(rng.integers(1, 256))
    return bytes(damaged)


def _resized(content: bytes, rng: np.random.Generator) -> bytes:
    """Writes a wrong width and height into the header."""
    width, height = (int(SIDES[place]) for place in rng.integers(len(SIDES), size=2))
    damaged = bytearray(content)
    if content.startswith(b'\x89PNG'):
        damaged[16:24] = struct.pack('>II', width, height)
    elif content.startswith(b'BM'):
        damaged[18:26] = struct.pack('<ii', width, height)
    elif content.startswith(b'GIF'):
        damaged[6:10] = struct.pack('<HH', width & 0xFFFF, height & 0xFFFF)
    elif content.startswith(b'\xff\xd8'):
        frame = max(content.find(b'\xff\xc0'), content.find(b'\xff\xc2'))
        damaged[frame + 5 : frame + 9] = struct.pack('>HH', height & 0xFFFF, width & 0xFFFF)
    elif content.startswith(b'RIFF'):
        damaged[20:30] = rng.bytes(10)
    else:  # TIFF: the first entries of its directory are width and height
        start = struct.unpack_from('<I', content, 4)[0] + 2
        for entry, side in ((start, width), (start + 12, height)):
            damaged[entry + 8 : entry + 12] = struct.pack('<I', side)
    return bytes(damaged)


def _damaged(content: bytes, how: str, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(1, len(content)))
    if how == 'flipped':
        return _flipped(content, rng)
    if how == 'header':
        return _flipped(content, rng, last=64)
    if how == 'cut':
        return content[:place]
    if how == 'zeroed':
        return content[:place] + bytes(len(content) - place)
    if how == 'hole':
        return content[:place] + content[place + int(rng.integers(1, 65)) :]
    if how == 'filled':
        return content[:place] + rng.bytes(int(rng.integers(1, 65))) + content[place:]
    if how == 'resized':
        return _resized(content, rng)
    return content


HOW = ('flipped', 'header', 'cut', 'zeroed', 'hole', 'filled', 'resized', 'resized', 'undamaged')
ODD = {
    'empty.png': b'',
    'one_byte.jpg': b'\xff',
    'text.png': b'no image at all',
    'markup.jpg': b'<html><body>404</body></html>',
    'zeros.tif': bytes(4096),
    'signature.png': b'\x89PNG\r\n\x1a\n',
    'signature.gif': b'GIF89a',
    'signature.webp': b'RIFF\x00\x00\x00\x00WEBPVP8 ',
}


def damaged_files(number: int) -> Iterator[Damaged]:
    """Returns ``number`` files; the suffix of some is that of another format."""
    rng = np.random.default_rng(2025)
    files = undamaged_files()
    names = list(files)
    for name, content in ODD.items():
        yield Damaged(name, content, b'', 'odd')
    for place in range(number - len(ODD)):
        name = names[place % len(names)]
        how = HOW[place // len(names) % len(HOW)]
        stem, suffix = name.split('.')
        if rng.random() < 0.1:
            suffix = str(rng.choice(['png', 'jpg', 'tif']))
        yield Damaged(f'{place:04d}_{how}_{stem}.{suffix}', _damaged(files[name], how, rng), files[name], how)
