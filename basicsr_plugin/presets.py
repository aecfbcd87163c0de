"""Presets: trained weights that come with packages and are found by name where the path of a checkpoint is expected.

A package registers a folder when it is imported. Each ``NAME.safetensors`` in it is a preset, described by its model
card ``NAME.md``. A file of that name in the working directory comes first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from basicsr_plugin.names import nearest

__all__ = ['Preset', 'find_preset', 'not_found', 'preset_of', 'presets', 'register_presets', 'resolve_weights']

_SUFFIX = '.safetensors'
_FOLDERS: dict[Path, str] = {}


class Preset(NamedTuple):
    """Weights of an installed package.

    Attributes:
        name: What takes the place of a path.
        path: The file.
        package: The package that it comes from.
    """

    name: str
    path: Path
    package: str

    @property
    def card(self) -> Path:
        """The model card (Markdown); it may be missing."""
        return self.path.with_suffix('.md')

    @property
    def summary(self) -> str:
        """The first sentence of the model card; empty without one."""
        if not self.card.exists():
            return ''
        lines = self.card.read_text(encoding='utf-8').splitlines()
        text = next((line for line in lines if line and not line.startswith('#')), '')
        return f'{text.partition(". ")[0].rstrip(".")}.' if text else ''


def register_presets(folder: Path, package: str) -> None:
    """Makes the weights in a folder known by name; the first of two equal names counts."""
    _FOLDERS.setdefault(folder.resolve(), package)


def presets() -> list[Preset]:
    """Returns the presets of all packages that were imported, by name."""
    found: dict[str, Preset] = {}
    for folder, package in _FOLDERS.items():
        for path in sorted(folder.glob(f'*{_SUFFIX}')):
            found.setdefault(path.stem, Preset(path.stem, path, package))
    return sorted(found.values())


def find_preset(name: str | os.PathLike[str]) -> Preset | None:
    """Returns the preset of a name; None if there is none."""
    return next((one for one in presets() if one.name == str(name)), None)


def preset_of(path: Path) -> Preset | None:
    """Returns the preset that a file is; None if it is another file."""
    return next((one for one in presets() if one.path == path.resolve()), None)


def resolve_weights(named: str) -> str:
    """Returns the path of the preset that an option names; what is a file, or no preset, stays as it is."""
    preset = None if os.path.isfile(named) else find_preset(named)
    return named if preset is None else str(preset.path)


def not_found(named: str | os.PathLike[str]) -> str:
    """Returns the end of a message about weights that do not exist; for a plain name it lists the presets."""
    text = str(named)
    names = [one.name for one in presets()]
    if not names or os.path.basename(text) != text or os.path.splitext(text)[1]:
        return f"'{text}', which does not exist"
    return f"'{text}', which is neither a file nor one of the presets {', '.join(names)}{nearest(text, names)}"
