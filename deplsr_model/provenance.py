"""What an output states about its making, and how to make it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

from basicsr_plugin import __version__
from basicsr_plugin.errors import UserError
from deplsr_model.image_files import ImageFile, decode_image, encode_image, read_note, suitable_extension
from deplsr_model.inference import Upscaler, resized
from deplsr_model.model_files import file_hash
from deplsr_model.steering import Edit, Steering

__all__ = ['OutputOptions', 'Provenance', 'read_provenance', 'upscale_content']


@dataclass(frozen=True)
class OutputOptions:
    """How an output is made, besides the prior.

    Attributes:
        scale: Enlargement; that of the network if not set.
        outscale: Enlargement by resizing the network's output.
        quality: Of JPEG and WebP.
        provenance: Whether the output states how it was made.
    """

    scale: int | None = None
    outscale: float | None = None
    quality: int = 95
    provenance: bool = True


@dataclass(frozen=True)
class Provenance:
    """What an output states about its making; paths are relative to its folder."""

    software: str
    model: str
    model_sha256: str
    options: str | None
    options_sha256: str | None
    input: str
    input_sha256: str
    estimate: dict[str, Any] | None
    used: dict[str, Any] | None
    steering: dict[str, Any]
    output: dict[str, Any]
    compute: dict[str, Any]

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(dataclasses.asdict(self), separators=(',', ':'))

    def to_steering(self) -> Steering:
        """Returns how the prior was made."""
        edits = tuple(Edit(**edit) for edit in self.steering['edits'])
        return Steering(**{**self.steering, 'edits': edits})


def read_provenance(path: str) -> Provenance:
    """Reads what an output of `basicsr upscale` states.

    Raises:
        UserError: It states nothing; one line.
    """
    note = read_note(path)
    try:
        return Provenance(**json.loads(note or ''))
    except (ValueError, TypeError):
        raise UserError(
            f"'{path}': expected an output of basicsr upscale, got an image that does not state how it was made"
        ) from None


def upscale_content(
    upscaler: Upscaler,
    content: bytes,
    source: str,
    target: str,
    extension: str,
    steering: Steering,
    options: OutputOptions,
    progress: Any = lambda share: None,
) -> tuple[str, bytes]:
    """Upscales the content of an image file.

    Args:
        upscaler: The model.
        content: The file.
        source: Its path, for messages and for the provenance.
        target: Path of the output, without extension.
        extension: Wanted extension of the output.
        steering: How the prior is made.
        options: The rest.
        progress: See :meth:`~deplsr_model.inference.Upscaler.enlarge`.

    Returns:
        Path and content of the output.

    Raises:
        PhotoError: The file is no readable image; one line.
    """
    photo = decode_image(content, source)
    pixels = upscaler.enlarge(photo.pixels, steering, scale=options.scale, outscale=options.outscale, progress=progress)
    alpha = None if photo.alpha is None else resized(photo.alpha, (pixels.shape[0], pixels.shape[1]))
    extension = suitable_extension(photo, extension)
    path = f'{target}.{extension}'
    note = None
    if options.provenance:
        note = _provenance(upscaler, photo, content, source, path, steering, options).to_json()
    return path, encode_image(photo.replaced(pixels, alpha), extension, options.quality, note)


def _provenance(
    upscaler: Upscaler,
    photo: ImageFile,
    content: bytes,
    source: str,
    path: str,
    steering: Steering,
    options: OutputOptions,
) -> Provenance:
    files = upscaler.model.files
    folder = os.path.dirname(os.path.abspath(path))
    estimate, used = upscaler.estimate(photo.pixels), upscaler.used(photo.pixels, steering)
    return Provenance(
        software=f'deplsr {__version__}',
        model=_relative(files.weights, folder),
        model_sha256=upscaler.model_hash,
        options=None if files.options is None else _relative(files.options, folder),
        options_sha256=None if files.options is None else file_hash(files.options),
        input=_relative(source, folder),
        input_sha256=hashlib.sha256(content).hexdigest(),
        estimate=None if estimate is None else estimate.as_dict(),
        used=None if used is None else used.as_dict(),
        steering=dataclasses.asdict(steering),
        output=dataclasses.asdict(options),
        compute={
            'device': upscaler.device.type,
            'precision': upscaler.precision,
            'tile': upscaler.tile,
            'overlap': upscaler.overlap,
        },
    )


def _relative(path: str | os.PathLike[str], folder: str) -> str:
    try:
        return os.path.relpath(path, folder).replace(os.sep, '/')
    except ValueError:  # on another drive
        return os.path.basename(path)
