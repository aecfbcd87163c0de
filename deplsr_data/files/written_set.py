"""The layout of a written data set, so kept that a kill at any moment leaves nothing half done.

::

    captions.tsv    filepath, title, title2 ... title7 of each LR image (LSDIR-DE)
    records.jsonl   a line for each LR image, in the same order: see Row
    lq/ gt/         the images, PNG; or lq.lmdb/ gt.lmdb/ in BasicSR's layout
    settings.json   what the images depend on; a run with other settings is refused
    parts/          a line for each finished photo, while a run or shards of it are under way
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import lmdb
import numpy as np

from basicsr_plugin.errors import UserError
from deplsr_data.degradation.captions import captions
from deplsr_data.degradation.records import from_json
from deplsr_data.files.tables import CAPTION_COLUMNS, plain_cell, replace_file, write_table

__all__ = ['Images', 'Row', 'begin', 'finish', 'read_parts', 'read_rows']

_PNG_END = b'IEND\xaeB`\x82'
_COMMIT_EVERY = 256


@dataclasses.dataclass(frozen=True)
class Row:
    """One LR image.

    Attributes:
        filepath: Its path in ``lq``.
        gt: Path of its clean image in ``gt``; None where none was written.
        photo: Path of the photo that it was made of, in the folder of photos.
        tile: Which part of the photo.
        draw: Which degradation of that part.
        crop: top, left, height and width of that part.
        title: Semantic caption, if the photo has one.
        record: The degradation (:mod:`deplsr_data.degradation.records`) as JSON.
    """

    filepath: str
    gt: str | None
    photo: str
    tile: int
    draw: int
    crop: tuple[int, int, int, int]
    title: str | None
    record: dict[str, Any]

    @property
    def key(self) -> tuple[str, int, int]:
        """What rows are sorted by, and told apart."""
        return self.photo, self.tile, self.draw

    def record_json(self) -> str:
        """The record as :func:`deplsr_data.degradation.records.to_json` writes it."""
        return json.dumps(self.record, separators=(',', ':'))


def _row(values: Mapping[str, Any]) -> Row:
    return Row(**{**values, 'crop': tuple(values['crop'])})


def begin(folder: str, settings: Mapping[str, Any]) -> None:
    """Makes the folder of a set, or checks that the one which is there has the same settings.

    Raises:
        UserError: It has others, or holds something else.
    """
    path = os.path.join(folder, 'settings.json')
    settings = json.loads(json.dumps(settings))
    if not os.path.exists(path):
        if os.path.isdir(folder) and os.listdir(folder):
            raise UserError(f"--output: expected an empty or a new folder, got '{folder}', which holds something else")
        os.makedirs(os.path.join(folder, 'parts'), exist_ok=True)
        replace_file(path, (json.dumps(settings, indent=2) + '\n').encode())
    with open(path, encoding='utf-8') as file:
        there = json.load(file)
    for key in sorted({*there, *settings}):
        if there.get(key) != settings.get(key):
            raise UserError(
                f"--output: '{folder}' was begun with {key} {there.get(key)}, got {settings.get(key)}; take the same "
                'or another folder'
            )
    os.makedirs(os.path.join(folder, 'parts'), exist_ok=True)


def read_rows(path: str, where: str) -> list[Row]:
    """Reads a ``records.jsonl``.

    Raises:
        UserError: It cannot be read, or a line is no row; one line.
    """
    number = 0
    try:
        with open(path, encoding='utf-8') as file:
            rows = []
            for number, line in enumerate(file, 1):  # noqa: B007  the message needs it
                rows.append(_row(json.loads(line)))
            return rows
    except OSError as error:
        raise UserError(f"{where}: expected a file, got '{path}': {error.strerror}; check the path") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"{where}: expected rows as 'basicsr synthesize' writes them, got something else in line {number} of "
            f"'{path}'; write it anew"
        ) from None


def read_parts(folder: str) -> list[Row]:
    """Returns the rows of all photos that any run finished so far; a last line that a kill cut short does not count."""
    path = os.path.join(folder, 'records.jsonl')
    rows = {row.key: row for row in (read_rows(path, '--output') if os.path.exists(path) else [])}
    for part in sorted(glob.glob(os.path.join(glob.escape(folder), 'parts', '*.jsonl'))):
        with open(part, encoding='utf-8') as file:
            for line in file:
                try:
                    rows.update((row.key, row) for row in map(_row, json.loads(line)))
                except ValueError:
                    continue
    return [rows[key] for key in sorted(rows)]


def finish(folder: str, rows: Iterable[Row], titles: Mapping[str, str | None]) -> None:
    """Writes the tables of a set that is complete.

    Args:
        folder: The set.
        rows: All of its rows.
        titles: Semantic captions by photo, which go before those of the rows.
    """
    rows = [dataclasses.replace(row, title=titles.get(row.photo) or row.title) for row in rows]
    records = ''.join(json.dumps(dataclasses.asdict(row)) + '\n' for row in rows)
    replace_file(os.path.join(folder, 'records.jsonl'), records.encode())
    texts = ((row.filepath, *captions(from_json(row.record_json()), plain_cell(row.title or ''))) for row in rows)
    write_table(os.path.join(folder, 'captions.tsv'), ('filepath', *CAPTION_COLUMNS), texts)
    shutil.rmtree(os.path.join(folder, 'parts'), ignore_errors=True)


class Images:
    """The LR or the clean images of a set: files first, which :meth:`pack` may move into an LMDB.

    Args:
        folder: The set.
        name: ``lq`` or ``gt``.
    """

    def __init__(self, folder: str, name: str) -> None:
        self._files = os.path.join(folder, name)
        self._lmdb = os.path.join(folder, f'{name}.lmdb')
        self._packed = self._packed_keys()

    @property
    def packed(self) -> bool:
        """Whether some of them are in an LMDB."""
        return bool(self._packed)

    def hold(self, name: str) -> bool:
        """Whether a image is there and whole."""
        return os.path.splitext(name)[0].encode() in self._packed or self._whole(name)

    def put(self, name: str, pixels: np.ndarray) -> None:
        """Writes (h, w, 3) uint8 RGB as a PNG.

        Raises:
            UserError: The disk is full, or may not be written; one line.
        """
        path = os.path.join(self._files, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            replace_file(path, cv2.imencode('.png', pixels[..., ::-1])[1].tobytes(), alone=True)
        except OSError as error:
            raise UserError(f"--output: cannot write '{path}': {error.strerror}; the same command goes on") from None

    def pack(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Moves the files into an LMDB that BasicSR reads; after a kill, packing again goes on.

        Args:
            sizes: Height and width of every image of the set, by name.
        """
        waiting = [name for name in sizes if self._whole(name)]
        if waiting:
            # values lie on pages of 4096 bytes of their own
            room = sum(os.path.getsize(os.path.join(self._files, name)) // 4096 + 2 for name in waiting) * 4096
            held = os.path.join(self._lmdb, 'data.mdb')
            room += os.path.getsize(held) if os.path.exists(held) else 0
            with lmdb.open(self._lmdb, map_size=room + room // 4 + 2**24) as environment:
                for start in range(0, len(waiting), _COMMIT_EVERY):
                    self._move(environment, waiting[start : start + _COMMIT_EVERY])
        entries = (f'{os.path.splitext(name)[0]}.png ({h},{w},3) 1\n' for name, (h, w) in sizes.items())
        replace_file(os.path.join(self._lmdb, 'meta_info.txt'), ''.join(entries).encode())
        for path, _, _ in os.walk(self._files, topdown=False):
            if not os.listdir(path):
                os.rmdir(path)

    def _move(self, environment: lmdb.Environment, names: list[str]) -> None:
        with environment.begin(write=True) as transaction:
            for name in names:
                with open(os.path.join(self._files, name), 'rb') as file:
                    transaction.put(os.path.splitext(name)[0].encode('ascii'), file.read())
        for name in names:
            os.remove(os.path.join(self._files, name))

    def _whole(self, name: str) -> bool:
        try:
            with open(os.path.join(self._files, name), 'rb') as file:
                file.seek(-len(_PNG_END), os.SEEK_END)
                return file.read() == _PNG_END
        except OSError:
            return False

    def _packed_keys(self) -> frozenset[bytes]:
        if not os.path.exists(os.path.join(self._lmdb, 'data.mdb')):
            return frozenset()
        with lmdb.open(self._lmdb, readonly=True, lock=False) as environment, environment.begin() as transaction:
            return frozenset(transaction.cursor().iternext(values=False))
