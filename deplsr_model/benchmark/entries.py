"""What is compared: networks, folders of outputs, and bicubic enlargement."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from basicsr_plugin.errors import UserError, warn
from deplsr_data.files.photos import walk_photos
from deplsr_model.benchmark.cost import work_of
from deplsr_model.benchmark.pairs import Images, Pair, TestSet, bicubic, read_image
from deplsr_model.benchmark.weights_hash import hash_of_weights
from deplsr_model.upscaling.inference import Precision, Upscaler
from deplsr_model.upscaling.model_files import find_model

__all__ = ['Bicubic', 'Entry', 'Network', 'OutputFolder', 'find_model_entry', 'named', 'with_options']


class Entry(Protocol):
    """A row of the table.

    Attributes:
        name: Of the row.
        device: Where it computes outputs; None if it only reads them, so that its time does not count.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def device(self) -> torch.device | None: ...  # noqa: D102

    def check(self, test_set: TestSet) -> None:
        """Raises UserError if it cannot be run on a test set."""

    def missing(self, test_set: TestSet) -> set[str]:
        """Returns the labels of the images that it has no output of."""

    def output(self, test_set: TestSet, pair: Pair, images: Images) -> np.ndarray:
        """Returns (h, w, 3) RGB, uint8."""

    def key(self, test_set: TestSet, pair: Pair) -> str:
        """Returns a hash of all that an output depends on, except for the images of the pair."""

    def facts(self) -> dict[str, object]:
        """Returns what the report shows about it."""


@dataclass(frozen=True)
class Bicubic:
    """Bicubic enlargement by BasicSR's port of MATLAB's imresize, rounded to 8 bits."""

    scale: int
    name: str = 'bicubic'
    device: torch.device | None = field(default_factory=lambda: torch.device('cpu'))

    def check(self, test_set: TestSet) -> None:
        """Any test set is fine."""

    def missing(self, test_set: TestSet) -> set[str]:
        """None."""
        return set()

    def output(self, test_set: TestSet, pair: Pair, images: Images) -> np.ndarray:
        """Enlarges."""
        return bicubic(images.lq, test_set.scale or self.scale)

    def key(self, test_set: TestSet, pair: Pair) -> str:
        """Of the method and the scale."""
        return f'bicubic imresize x{test_set.scale or self.scale}'

    def facts(self) -> dict[str, object]:
        """The method."""
        return {'method': "BasicSR's imresize (MATLAB's bicubic), rounded to 8 bits"}


@dataclass(frozen=True)
class OutputFolder:
    """Outputs of a model that is not run here.

    The files are ``SET/DEGRADATION/IMAGE.png`` below the folder; ``SET`` may be left out where there is one set. As
    BasicSR writes it, a name may have a suffix: ``IMAGE_SUFFIX.png``.
    """

    name: str
    folder: Path
    single: bool
    device: torch.device | None = None
    _found: dict[tuple[str, str], dict[str, Path]] = field(default_factory=dict, repr=False, compare=False)

    def check(self, test_set: TestSet) -> None:
        """Refuses a folder without any output of the set.

        Raises:
            UserError: There is none; one line.
        """
        if len(self.missing(test_set)) == len(test_set.pairs):
            raise UserError(
                f"--outputs {self.name}: expected outputs of {test_set.name} in '{self.folder / test_set.name}', found "
                f'none that is named as its images, such as {test_set.pairs[0].name}.png'
            )

    def missing(self, test_set: TestSet) -> set[str]:
        """Those without a file."""
        return {pair.label for pair in test_set.pairs if self._path(test_set, pair) is None}

    def output(self, test_set: TestSet, pair: Pair, images: Images) -> np.ndarray:
        """Reads the file."""
        path = self._path(test_set, pair)
        if path is None:
            raise UserError(f'--outputs {self.name}: expected an output of {test_set.name}/{pair.label}, found none')
        return read_image(path)

    def key(self, test_set: TestSet, pair: Pair) -> str:
        """Of the file."""
        path = self._path(test_set, pair)
        return '' if path is None else hashlib.sha256(path.read_bytes()).hexdigest()

    def facts(self) -> dict[str, object]:
        """The folder's name."""
        return {'method': f'outputs in {self.folder.name}, made elsewhere'}

    def _path(self, test_set: TestSet, pair: Pair) -> Path | None:
        files = self._files(test_set, pair.degradation)
        exact = files.get(pair.name)
        if exact is not None:
            return exact
        longer = [path for stem, path in files.items() if stem.startswith(f'{pair.name}_')]
        return longer[0] if len(longer) == 1 else None

    def _files(self, test_set: TestSet, degradation: str) -> dict[str, Path]:
        key = (test_set.name, degradation)
        if key not in self._found:
            folder = self.folder / test_set.name
            if not folder.is_dir() and self.single:
                folder = self.folder
            folder = folder / degradation
            inside = (os.path.join(folder, name) for name in os.listdir(folder)) if folder.is_dir() else ()
            known = set(walk_photos(str(folder))) if folder.is_dir() else set()
            self._found[key] = {Path(path).stem: Path(path) for path in inside if path in known}
        return self._found[key]


class Network:
    """A network that is run here.

    Args:
        name: Of the row.
        upscaler: It.
        tile: Side of the tiles; 0 for none.
    """

    def __init__(self, name: str, upscaler: Upscaler, tile: int) -> None:
        self.name = name
        self.upscaler = upscaler
        self.device: torch.device | None = upscaler.device
        self._tile = tile

    @cached_property
    def _identity(self) -> str:
        model, estimator = self.upscaler.model, self.upscaler.model.estimator
        parts = [
            hash_of_weights(model.net),
            hash_of_weights(estimator) if isinstance(estimator, torch.nn.Module) else '',
            json.dumps(model.files.opt, sort_keys=True, default=str),
            self.upscaler.precision,
            str(self._tile),
            self.upscaler.device.type,
        ]
        return hashlib.sha256('\n'.join(parts).encode()).hexdigest()

    def check(self, test_set: TestSet) -> None:
        """Refuses another scale.

        Raises:
            UserError: The scales differ; one line.
        """
        if test_set.scale not in (None, self.upscaler.scale):
            raise UserError(
                f'{self.name}: expected a model of x{test_set.scale}, the scale of {test_set.name}, got one of '
                f'x{self.upscaler.scale}; choose the sets with --scale {self.upscaler.scale}'
            )

    def missing(self, test_set: TestSet) -> set[str]:
        """None."""
        return set()

    def output(self, test_set: TestSet, pair: Pair, images: Images) -> np.ndarray:
        """Runs the network."""
        large = self.upscaler.enlarge(images.lq)
        return large if large.dtype == np.uint8 else (large.clip(0, 1) * 255).round().astype(np.uint8)

    def key(self, test_set: TestSet, pair: Pair) -> str:
        """Of weights, options, precision, tile and type of device."""
        return self._identity

    def facts(self) -> dict[str, object]:
        """Files, size and cost."""
        upscaler, model = self.upscaler, self.upscaler.model
        estimator = model.estimator if isinstance(model.estimator, torch.nn.Module) else None
        return {
            'method': model.name + (f' with {type(estimator).__name__}' if estimator is not None else ''),
            'weights': model.files.weights.name,
            'sha256': upscaler.model_hash,
            'options': model.files.options.name if model.files.options else None,
            'parameters': sum(one.numel() for one in model.net.parameters()),
            'estimator_parameters': sum(one.numel() for one in estimator.parameters()) if estimator is not None else 0,
            'estimator_sha256': hash_of_weights(estimator) if estimator is not None else None,
            'macs': work_of(upscaler),
            'device': str(upscaler.device),
            'precision': upscaler.precision,
            'tile': self._tile,
        }


def named(text: str) -> tuple[str | None, str]:
    """Splits ``NAME=PATH``; a path without name returns None."""
    name, equals, path = text.partition('=')
    if not equals or os.sep in name or os.path.exists(text):
        return None, text
    return name.strip(), path


def with_options(path: str) -> tuple[str, str | None]:
    """Splits ``CHECKPOINT:YAML``; a path without option file returns None."""
    checkpoint, colon, options = path.rpartition(':')
    if not colon or os.path.exists(path) or not options.lower().endswith(('.yml', '.yaml')):
        return path, None
    return checkpoint, options


def find_model_entry(text: str, device: str | None, precision: Precision, tile: int | None) -> Network:
    """Loads a model.

    Args:
        text: Option file, checkpoint, checkpoint and option file (``CHECKPOINT:YAML``), or folder of an experiment,
            with or without ``NAME=``.
        device: See :class:`~deplsr_model.upscaling.inference.Upscaler`.
        precision: The same.
        tile: Side of the tiles; None for ``val.tile`` of the option file, or none.

    Raises:
        UserError: It cannot be loaded; one line that names it.
    """
    name, path = named(text)
    path, options = with_options(path)
    is_options = options is None and path.lower().endswith(('.yml', '.yaml'))
    arguments: tuple[str | None, str | None] = (None, path) if is_options else (path, options)
    try:
        val = find_model(*arguments).opt.get('val') or {}
        side = int(val.get('tile') or 0) if tile is None else tile
        overlap = min(int(val.get('tile_overlap', 16)), max(0, side - 1))
        upscaler = Upscaler(*arguments, device=device, precision=precision, tile=side, overlap=overlap)
    except UserError as error:
        problem = str(error).removeprefix('-m: ').replace('with -opt', 'as CHECKPOINT:YAML')
        raise UserError(f'{text}: {problem}') from None
    for note in upscaler.model.notes:
        warn(note)
    chosen = name or (str(upscaler.model.files.opt.get('name', '')) if is_options else '') or _name_of(Path(path))
    return Network(chosen, upscaler, side)


def _name_of(path: Path) -> str:
    """Returns the name of a file or folder; that of the experiment for a checkpoint in it."""
    return path.parent.parent.name if path.parent.name == 'models' and path.parent.parent.name else path.stem
