"""Photos with all that their files hold: alpha, gray, 16 bits, colour profile, EXIF and resolution."""

from __future__ import annotations

import dataclasses
import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from basicsr_plugin.errors import first_line
from deplsr_data.files.photos import PhotoError, decode_with, has_16_bits

__all__ = [
    'EXTENSIONS',
    'TURNS',
    'ImageFile',
    'decode_image',
    'encode_image',
    'header_size',
    'read_note',
    'suitable_extension',
]

#: Formats of output files.
EXTENSIONS = ('png', 'jpg', 'webp')
#: Key of our note in the text of a PNG.
NOTE_KEY = 'deplsr'

_ORIENTATION, _IMAGE_HISTORY = 0x0112, 0x9213  # EXIF tags; the second is "what has been done to the image"
#: What each orientation of EXIF does to pixels (h, w, ...).
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: p.swapaxes(0, 1)[::-1],
}
_PNG_START = 8  # bytes of the signature


@dataclass(frozen=True)
class ImageFile:
    """A photo and what its file holds.

    Attributes:
        pixels: (h, w, 3) RGB or (h, w) gray, uint8 or uint16, upright.
        alpha: (h, w) of the same type, if there is any.
        icc: Colour profile of the pixels.
        exif: EXIF block without the orientation, which was applied.
        dpi: Resolution, horizontal and vertical.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None

    @property
    def is_gray(self) -> bool:
        """Whether there is one channel of colour."""
        return self.pixels.ndim == 2

    def replaced(self, pixels: np.ndarray, alpha: np.ndarray | None) -> ImageFile:
        """Returns the same file with other pixels."""
        return dataclasses.replace(self, pixels=pixels, alpha=alpha)


def decode_image(content: bytes, path: str) -> ImageFile:
    """Decodes an image file; CMYK and other colour spaces become sRGB, palettes RGB.

    Of an animation or of pages the first is taken.

    Raises:
        PhotoError: It is no image, is damaged, or has neither 8 nor 16 bits; one line that names ``path``.
    """
    return decode_with(content, path, _image_file)


def header_size(path: str) -> tuple[int, int]:
    """Returns height and width as stored, from the header alone; (0, 0) if it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.size[1], image.size[0]
    except Exception:  # noqa: BLE001  the decoder of a damaged file may raise anything; decoding reports it
        return 0, 0


def _image_file(image: Image.Image, content: bytes) -> ImageFile:
    deep = has_16_bits(image)  # before the metadata of a PNG is read, which decodes it
    exif = image.getexif()
    turn = TURNS.get(exif.get(_ORIENTATION, 1), TURNS[1])
    dpi = image.info.get('dpi')
    profile = image.info.get('icc_profile') or None
    if deep:
        pixels, alpha = _deep(image, content)
        pixels, alpha = turn(pixels), None if alpha is None else turn(alpha)
    elif image.mode == 'F':
        raise ValueError('floating-point pixels; expected 8 or 16 bits')
    else:
        pixels, alpha, profile = _flat(ImageOps.exif_transpose(image), profile)
    exif.pop(_ORIENTATION, None)
    return ImageFile(
        np.ascontiguousarray(pixels),
        None if alpha is None else np.ascontiguousarray(alpha),
        profile,
        exif.tobytes() if len(exif) else None,
        (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None,
    )


def _deep(image: Image.Image, content: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Decodes 16 bits with OpenCV, as stored: Pillow cuts colours to 8."""
    gray = image.mode.startswith('I') or image.mode in ('L', 'LA')
    image.load()  # refuses truncated files, which OpenCV fills with gray
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError('expected 8 or 16 bits, got another type')
    if pixels.ndim == 2:
        return pixels, None
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    return (pixels[..., 0] if gray else pixels[..., 2::-1]), alpha


def _flat(image: Image.Image, profile: bytes | None) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    """Decodes 8 bits; returns colours, alpha and the profile that still applies."""
    has_alpha = image.mode in ('LA', 'La', 'RGBA', 'RGBa', 'PA') or 'transparency' in image.info
    if image.mode in ('1', 'L', 'LA', 'La'):
        pixels = np.asarray(image.convert('LA' if has_alpha else 'L'))
        return (pixels[..., 0], pixels[..., 1], profile) if has_alpha else (pixels, None, profile)
    if image.mode in ('RGB', 'RGBA', 'RGBa', 'P', 'PA'):
        pixels = np.asarray(image.convert('RGBA' if has_alpha else 'RGB'))
        return pixels[..., :3], pixels[..., 3] if has_alpha else None, profile
    return np.asarray(_to_srgb(image, profile)), None, None


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts CMYK and others by their profile, or as Pillow does where there is none or it is unusable."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile('sRGB'), outputMode='RGB')
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # the colours are then those of every viewer without colour management
    return image.convert('RGB')


def suitable_extension(image: ImageFile, extension: str) -> str:
    """Returns the extension of the output: JPEG holds no alpha, so that such a photo becomes a PNG."""
    return 'png' if extension == 'jpg' and image.alpha is not None else extension


def encode_image(image: ImageFile, extension: str, quality: int = 95, note: str | None = None) -> bytes:
    """Encodes a photo.

    Args:
        image: The photo.
        extension: One of :data:`EXTENSIONS`; JPEG and WebP have 8 bits.
        quality: Of JPEG and WebP, 1 to 100.
        note: Text that is stored with it: in a PNG's text, otherwise in the EXIF tag ImageHistory.

    Raises:
        ValueError: The format cannot hold the photo.
    """
    if extension == 'png':
        return _encode_png(image, note)
    pixels, alpha = _to_8_bits(image.pixels), _to_8_bits(image.alpha)
    out = io.BytesIO()
    arguments = {'quality': quality, 'exif': _exif_with(image.exif, note), 'icc_profile': image.icc}
    if extension == 'jpg':
        arguments |= {'subsampling': 0 if quality >= 90 else 2, 'optimize': pixels.size < 2**24}
        arguments |= {'dpi': tuple(round(one) for one in image.dpi)} if image.dpi else {}
    try:
        _pillow(pixels, alpha).save(out, 'JPEG' if extension == 'jpg' else 'WEBP', **arguments)
    except (OSError, ValueError, struct.error) as error:
        height, width = pixels.shape[:2]
        raise ValueError(f'{width} x {height} pixels do not fit into {extension} ({first_line(error)})') from error
    return out.getvalue()


def _to_8_bits(pixels: np.ndarray | None) -> np.ndarray:
    if pixels is None or pixels.dtype == np.uint8:
        return pixels  # type: ignore[return-value]
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _pillow(pixels: np.ndarray, alpha: np.ndarray | None) -> Image.Image:
    image = Image.fromarray(pixels)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    return image


def _exif_with(exif: bytes | None, note: str | None) -> bytes:
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    if note:
        tags[_IMAGE_HISTORY] = note.encode('ascii', 'backslashreplace').decode()
    return tags.tobytes() if len(tags) else b''


def _encode_png(image: ImageFile, note: str | None) -> bytes:
    if image.pixels.dtype == np.uint8:
        return _png(_pillow(image.pixels, image.alpha), image, note)
    pixels, alpha = image.pixels, image.alpha
    if alpha is None:
        stored = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    else:  # OpenCV has no gray with alpha
        stored = np.dstack([pixels, pixels, pixels, alpha] if pixels.ndim == 2 else [pixels[..., ::-1], alpha])
    content = cv2.imencode('.png', stored)[1].tobytes()
    chunks = _chunks(_png(Image.new('L', (1, 1)), image, note))  # OpenCV writes no metadata: take Pillow's
    extra = b''.join(chunk for name, chunk in chunks if name not in (b'IHDR', b'IDAT', b'IEND'))
    start = _PNG_START + len(_chunks(content)[0][1])
    return content[:start] + extra + content[start:]


def _png(image: Image.Image, source: ImageFile, note: str | None) -> bytes:
    text = PngInfo()
    if note:
        text.add_itxt(NOTE_KEY, note)
    arguments = {'dpi': source.dpi} if source.dpi else {}
    out = io.BytesIO()
    image.save(out, 'PNG', compress_level=4, pnginfo=text, icc_profile=source.icc, exif=source.exif or b'', **arguments)
    return out.getvalue()


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the chunks of a PNG: their names, and themselves with length and checksum."""
    found, place = [], _PNG_START
    while place < len(png):
        length = struct.unpack('>I', png[place : place + 4])[0] + 12
        found.append((png[place + 4 : place + 8], png[place : place + length]))
        place += length
    return found


def read_note(path: str) -> str | None:
    """Returns the note in a file that :func:`encode_image` made; None if it holds none.

    Raises:
        PhotoError: The file cannot be read.
    """
    try:
        with open(path, 'rb') as file:
            content = file.read()
    except OSError as error:
        raise PhotoError(f"'{path}': expected an image file, got {error.strerror}; check the path") from None
    return decode_with(content, os.fspath(path), _note)


def _note(image: Image.Image, _: bytes) -> str | None:
    image.load()  # the text may follow the pixels
    note = getattr(image, 'text', {}).get(NOTE_KEY) or image.getexif().get(_IMAGE_HISTORY)
    return str(note) if note else None
