"""The layout of a written data set. If the process is killed, the next run completes the set.

::

    captions.tsv    filepath, title, title2 ... of each LR image (title7 the last with nominal levels: LSDIR-DE)
    records.jsonl   a line for each LR image, in the same order: see Row
    lq/ gt/         the images, PNG; or lq.lmdb/ gt.lmdb/ in BasicSR's layout
    settings.json   what the images depend on; a run with other settings is refused
    parts/          a line for each finished photo, until the set is complete
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import lmdb
import numpy as np

from basicsr_plugin.atomic import PART, DiskError, write_file, writing
from basicsr_plugin.errors import UserError
from basicsr_plugin.lmdb_files import check_lmdb
from basicsr_plugin.text_files import read_text
from deplsr_data.files.tables import write_table

__all__ = ['RESUME', 'ImageStore', 'Row', 'begin', 'finish', 'levels_of_set', 'read_parts', 'read_rows']

#: How to continue after a disk error.
RESUME = 'correct this, then run the same command again to resume'
_PNG_END = b'IEND\xaeB`\x82'
_COMMIT_EVERY = 256
_BEFORE = {'levels': 'nominal'}  # settings that earlier versions did not write


@dataclasses.dataclass(frozen=True)
class Row:
    """One LR image.

    Attributes:
        filepath: Its path in ``lq``.
        gt: Path of its clean image in ``gt``; None if none was written.
        photo: Path of the photo that it was made from, in the folder of photos.
        tile: Which part of the photo.
        draw: Which degradation of that part.
        crop: top, left, height and width of that part.
        title: Semantic caption, if the photo has one.
        record: The degradation (:mod:`deplsr_data.degradation.records`) as JSON.
        levels: The levels by degradation type that the captions name; None in sets of version 0.1.
    """

    filepath: str
    gt: str | None
    photo: str
    tile: int
    draw: int
    crop: tuple[int, int, int, int]
    title: str | None
    record: dict[str, object]
    levels: dict[str, float] | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """What rows are sorted and identified by."""
        return self.photo, self.tile, self.draw

    def record_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(self.record, separators=(',', ':'))


def _row(values: Mapping[str, Any]) -> Row:
    return Row(**{**values, 'crop': tuple(values['crop'])})


def begin(folder: str, settings: Mapping[str, object]) -> None:
    """Makes the folder of a set, or checks that an existing one has the same settings.

    Raises:
        UserError: It has other settings, or holds something else.
    """
    path = os.path.join(folder, 'settings.json')
    settings = json.loads(json.dumps(settings))
    if not os.path.exists(path):
        others = set(os.listdir(folder)) - {'parts'} if os.path.isdir(folder) else set()
        others = {name for name in others if not name.endswith(PART)}
        if others and not os.path.exists(path):  # another process may have begun the set meanwhile
            raise UserError(f"--output: expected an empty or a new folder, got '{folder}', which holds something else")
        os.makedirs(os.path.join(folder, 'parts'), exist_ok=True)
        write_file(path, (json.dumps(settings, indent=2) + '\n').encode())
    begun = {**_BEFORE, **_read_settings(path, '--output')}
    for key in sorted({*begun, *settings}):
        if begun.get(key) != settings.get(key):
            raise UserError(
                f"--output: expected {key} {begun.get(key)}, with which '{folder}' was begun, got {settings.get(key)}; "
                'use that value or another folder'
            )
    os.makedirs(os.path.join(folder, 'parts'), exist_ok=True)


def levels_of_set(folder: str) -> str | None:
    """Returns which levels the captions of a set name: ``effective`` or ``nominal``; None if it is no written set.

    Raises:
        UserError: It is one, and its ``settings.json`` is damaged.
    """
    path = os.path.join(folder, 'settings.json')
    ours = any(os.path.exists(os.path.join(folder, name)) for name in ('records.jsonl', 'parts'))
    if not os.path.isfile(path) or not ours:
        return None
    return str({**_BEFORE, **_read_settings(path, 'meta_info')}['levels'])


def _read_settings(path: str, where: str) -> dict[str, Any]:
    """Reads the ``settings.json`` of a set.

    Raises:
        UserError: It cannot be read, or is damaged; one line.
    """
    try:
        settings = json.loads(read_text(path, where))
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict) or 'recipe' not in settings:
        raise UserError(
            f"{where}: expected settings as 'basicsr synthesize' writes them, got something else in '{path}'; "
            'restore it, or write the set again in another folder'
        )
    return settings


def read_rows(path: str, where: str) -> list[Row]:
    """Reads a ``records.jsonl``.

    Raises:
        UserError: It cannot be read, or a line is not a row; one line.
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
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(
            f"{where}: expected rows as 'basicsr synthesize' writes them, got something else in line {number} of "
            f"'{path}'; write it again"
        ) from None


def read_parts(folder: str) -> list[Row]:
    """Returns the rows of all photos finished so far by any run; a truncated last line does not count."""
    path = os.path.join(folder, 'records.jsonl')
    rows = {row.key: row for row in (read_rows(path, '--output') if os.path.exists(path) else [])}
    for part in sorted(glob.glob(os.path.join(glob.escape(folder), 'parts', '*.jsonl'))):
        with open(part, encoding='utf-8', errors='replace') as file:
            for line in file:
                try:
                    rows.update((row.key, row) for row in map(_row, json.loads(line)))
                except (ValueError, TypeError, KeyError, AttributeError):
                    continue
    return [rows[key] for key in sorted(rows)]


def finish(
    folder: str,
    rows: Iterable[Row],
    titles: Mapping[str, str | None],
    columns: Sequence[str],
    captions: Callable[[Row], Sequence[str]],
) -> None:
    """Writes the tables of a set that is complete.

    Args:
        folder: The set.
        rows: All of its rows.
        titles: Semantic captions by photo; they replace those of the rows.
        columns: Names of the caption columns.
        captions: Returns the captions of a row, one for each column.
    """
    rows = [dataclasses.replace(row, title=titles.get(row.photo) or row.title) for row in rows]
    records = ''.join(json.dumps(dataclasses.asdict(row)) + '\n' for row in rows)
    write_file(os.path.join(folder, 'records.jsonl'), records.encode())
    table = ((row.filepath, *captions(row)) for row in rows)
    write_table(os.path.join(folder, 'captions.tsv'), ('filepath', *columns), table)
    shutil.rmtree(os.path.join(folder, 'parts'), ignore_errors=True)


class ImageStore:
    """The LR or the clean images of a set: files first, which :meth:`pack` can move into an LMDB.

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

    def has(self, name: str) -> bool:
        """Whether an image exists and is complete."""
        return os.path.splitext(name)[0].encode() in self._packed or self._is_complete(name)

    def put(self, name: str, pixels: np.ndarray) -> None:
        """Writes (h, w, 3) uint8 RGB as a PNG.

        Raises:
            DiskError: The disk is full or read-only; one line.
        """
        path = os.path.join(self._files, name)
        with writing(path, RESUME):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        write_file(path, cv2.imencode('.png', pixels[..., ::-1])[1].tobytes(), hint=RESUME, single_writer=True)

    def pack(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Moves the files into an LMDB that BasicSR reads; after a kill, packing again resumes.

        Args:
            sizes: Height and width of every image of the set, by name.

        Raises:
            DiskError: The disk is full or read-only; one line.
        """
        waiting = [name for name in sizes if self._is_complete(name)]
        if waiting:
            # every value begins on a new page of 4096 bytes
            space = sum(os.path.getsize(os.path.join(self._files, name)) // 4096 + 2 for name in waiting) * 4096
            existing = os.path.join(self._lmdb, 'data.mdb')
            space += os.path.getsize(existing) if os.path.exists(existing) else 0
            try:
                with lmdb.open(self._lmdb, map_size=space + space // 4 + 2**24) as environment:
                    for start in range(0, len(waiting), _COMMIT_EVERY):
                        self._move(environment, waiting[start : start + _COMMIT_EVERY])
            except lmdb.Error as error:  # an incomplete transaction is undone
                raise DiskError(f"cannot write '{self._lmdb}': {error}; {RESUME}") from error
        entries = (f'{os.path.splitext(name)[0]}.png ({h},{w},3) 1\n' for name, (h, w) in sizes.items())
        write_file(os.path.join(self._lmdb, 'meta_info.txt'), ''.join(entries).encode())
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

    def _is_complete(self, name: str) -> bool:
        try:
            with open(os.path.join(self._files, name), 'rb') as file:
                file.seek(-len(_PNG_END), os.SEEK_END)
                return file.read() == _PNG_END
        except OSError:
            return False

    def _packed_keys(self) -> frozenset[bytes]:
        if not os.path.exists(os.path.join(self._lmdb, 'data.mdb')):
            return frozenset()
        check_lmdb(self._lmdb, '--output')
        with lmdb.open(self._lmdb, readonly=True, lock=False) as environment, environment.begin() as transaction:
            return frozenset(transaction.cursor().iternext(values=False))
