"""What was measured already: values by a hash of everything that they depend on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from basicsr_plugin.atomic import write_file
from deplsr_model.benchmark.pairs import read_image

__all__ = ['Cache', 'Measured']

_FORMAT = 2  # of the files; raised when outputs or values would come out different
_OUTPUTS = f'outputs_v{_FORMAT}'


@dataclass
class Measured:
    """What is known about one output.

    Attributes:
        values: By metric and protocol.
        seconds: To compute the output, without reading and metrics; None if it was read.
        megapixels: Of the output.
        peak: Bytes of memory at most so far.
    """

    values: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None
    megapixels: float = 0.0
    peak: int = 0


class Cache:
    """Finished outputs, in a folder; a process appends to a file of its own, so that a kill loses one line at most.

    Args:
        folder: It.
        rank: Number of the process.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self._folder = folder
        self._file = folder / f'values_v{_FORMAT}_{rank}.jsonl'
        (folder / _OUTPUTS).mkdir(parents=True, exist_ok=True)
        self._known: dict[str, Measured] = {}
        self.load()

    def load(self) -> None:
        """Reads what all processes have measured."""
        for path in sorted(self._folder.glob(f'values_v{_FORMAT}_*.jsonl')):
            for line in path.read_text(encoding='utf-8').splitlines():
                try:
                    entry = json.loads(line)
                    found = Measured(**{key: value for key, value in entry.items() if key != 'key'})
                    self._merge(entry['key'], found)
                except (ValueError, TypeError, KeyError):
                    continue  # truncated by a kill

    def get(self, key: str) -> Measured:
        """Returns what is known about an output."""
        return self._known.get(key, Measured())

    def add(self, key: str, found: Measured) -> None:
        """Stores what was measured."""
        self._merge(key, found)
        line = json.dumps({'key': key, **vars(found)})
        with self._file.open('a', encoding='utf-8') as file:
            file.write(f'\n{line}\n')  # begins a line of its own, also after a truncated one

    def _merge(self, key: str, found: Measured) -> None:
        known = self._known.setdefault(key, Measured())
        known.values.update(found.values)
        known.peak = max(known.peak, found.peak)
        if found.seconds is not None:
            known.seconds, known.megapixels = found.seconds, found.megapixels

    def has_image(self, key: str) -> bool:
        """Whether the output itself is stored."""
        return self._path(key).is_file()

    def put_image(self, key: str, pixels: np.ndarray) -> None:
        """Stores an output, (h, w, 3) RGB uint8."""
        write_file(str(self._path(key)), cv2.imencode('.png', pixels[..., ::-1])[1].tobytes())

    def image(self, key: str) -> np.ndarray:
        """Returns a stored output."""
        return read_image(self._path(key))

    def _path(self, key: str) -> Path:
        return self._folder / _OUTPUTS / f'{key}.png'
