"""What an output states about its making, and how to make it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from basicsr_plugin import __version__
from basicsr_plugin.errors import UserError
from basicsr_plugin.presets import find_preset
from deplsr_model.upscaling.edits import Edit, Steering
from deplsr_model.upscaling.image_files import ImageFile, decode_image, encode_image, read_note, suitable_extension
from deplsr_model.upscaling.inference import Upscaler
from deplsr_model.upscaling.model_files import file_hash
from deplsr_model.upscaling.photo_jobs import read_bytes
from deplsr_model.upscaling.pixels import resized

__all__ = ['OutputOptions', 'Provenance', 'Replay', 'read_provenance', 'replay', 'upscale_content']


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
    estimate: dict[str, object] | None
    used: dict[str, object] | None
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
    progress: Callable[[float], object] = lambda share: None,
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
        progress: See :meth:`~deplsr_model.upscaling.inference.Upscaler.enlarge`.

    Returns:
        Path and content of the output.

    Raises:
        PhotoError: The file is no readable image; one line.
    """
    photo = decode_image(content, source)
    seen = upscaler.observe(photo.pixels)  # once, for the prior and for the provenance
    pixels = upscaler.enlarge(
        photo.pixels, steering, scale=options.scale, outscale=options.outscale, progress=progress, seen=seen
    )
    alpha = None if photo.alpha is None else resized(photo.alpha, (pixels.shape[0], pixels.shape[1]))
    extension = suitable_extension(photo, extension)
    path = f'{target}.{extension}'
    note = None
    if options.provenance:
        note = _provenance(upscaler, photo, content, source, path, steering, options, seen).to_json()
    return path, encode_image(photo.replaced(pixels, alpha), extension, options.quality, note)


def _provenance(
    upscaler: Upscaler,
    photo: ImageFile,
    content: bytes,
    source: str,
    path: str,
    steering: Steering,
    options: OutputOptions,
    seen: Tensor | None,
) -> Provenance:
    files = upscaler.model.files
    folder = os.path.dirname(os.path.abspath(path))
    estimate, used = upscaler.estimate(photo.pixels, seen), upscaler.used(photo.pixels, steering, seen)
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


@dataclass(frozen=True)
class Replay:
    """An output that was made again.

    Attributes:
        path: Where it belongs.
        content: The file.
        largest_difference: Of its pixels from those of the first output; None if the size differs.
    """

    path: str
    content: bytes
    largest_difference: int | None


def replay(
    output: str,
    target: str,
    extension: str,
    source: str | None = None,
    model: str | None = None,
    options: str | None = None,
    device: str | None = None,
) -> Replay:
    """Makes an output of `basicsr upscale` again.

    Args:
        output: The output.
        target: Path of the new one, without extension.
        extension: Its extension.
        source: The photo, if it is not where it was; likewise ``model`` and ``options``.
        model: The weights.
        options: The option file.
        device: Where to compute; by default on the same type of device.

    Raises:
        UserError: The file states nothing, or what it was made from is missing or another; one line.
    """
    stated = read_provenance(output)
    folder = os.path.dirname(os.path.abspath(output))
    source = _checked(source or _found(folder, stated.input), stated.input_sha256, '--input')
    model = _checked(model or _weights(folder, stated.model), stated.model_sha256, '-m')
    if stated.options is not None and stated.options_sha256 is not None:
        options = _checked(options or _found(folder, stated.options), stated.options_sha256, '-opt')
    compute = stated.compute
    upscaler = Upscaler(
        model,
        options,
        device=device or compute['device'],
        precision=compute['precision'],
        tile=compute['tile'],
        overlap=compute['overlap'],
    )
    path, content = upscale_content(
        upscaler,
        read_bytes(source),
        source,
        target,
        extension,
        stated.to_steering(),
        OutputOptions(**stated.output),
    )
    return Replay(path, content, _difference(read_bytes(output), content, output))


def _found(folder: str, relative: str) -> str:
    return os.path.normpath(os.path.join(folder, relative))


def _weights(folder: str, relative: str) -> str:
    """Returns the path of the weights, also of a preset that is installed elsewhere now."""
    path = _found(folder, relative)
    preset = None if os.path.isfile(path) else find_preset(Path(path).stem)
    return path if preset is None else str(preset.path)


def _checked(path: str, sha256: str, where: str) -> str:
    """Returns a path if its file is the one that is stated."""
    if not os.path.isfile(path):
        raise UserError(f'{where}: expected the file that the output was made from, got {path}, which does not exist')
    if file_hash(Path(path)) != sha256:
        raise UserError(f'{where}: expected the file that the output was made from, got {path} with other content')
    return path


def _difference(first: bytes, second: bytes, path: str) -> int | None:
    images = [decode_image(content, path) for content in (first, second)]
    largest = 0
    for name in ('pixels', 'alpha'):
        one, other = (getattr(image, name) for image in images)
        if (one is None) != (other is None) or (one is not None and one.shape != other.shape):
            return None
        if one is not None:
            largest = max(largest, int(np.abs(one.astype(np.int32) - other.astype(np.int32)).max()))
    return largest
