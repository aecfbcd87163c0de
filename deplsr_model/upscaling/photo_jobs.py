"""Which photos to upscale and where to, and the work on one after the other."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO

import cv2
from tqdm import tqdm

from basicsr_plugin.atomic import FULL_DISK, DiskError, write_file, writing
from basicsr_plugin.errors import UserError, first_line, warn
from deplsr_data.files.folders import left_out_text, walk_photos
from deplsr_data.files.photos import SUFFIXES
from deplsr_model.upscaling.image_files import header_size

__all__ = [
    'Claims',
    'Job',
    'Result',
    'find_photos',
    'make_output',
    'plan_jobs',
    'read_bytes',
    'run_jobs',
    'write_photo',
]

_VIDEOS = ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv')
_BAR = '{percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} MP [{elapsed}<{remaining}, {postfix}]'
_RESUME = 'correct this, then run the same command to resume'


@dataclass(frozen=True)
class Job:
    """A photo to upscale.

    Attributes:
        source: The photo.
        target: The output without its extension.
        extension: Of the output, without a dot; a photo with alpha becomes a PNG in place of a JPEG.
    """

    source: str
    target: str
    extension: str

    def existing(self) -> str | None:
        """Returns the output if there is one."""
        names = (f'{self.target}.{extension}' for extension in dict.fromkeys((self.extension, 'png')))
        return next((name for name in names if os.path.exists(name)), None)


@dataclass(frozen=True)
class Result:
    """What became of the photos: their numbers."""

    made: int
    existed: int
    elsewhere: int
    failed: int


def find_photos(
    inputs: Sequence[str], output: str | None = None, suffix: str = '', left_out: Counter[str] | None = None
) -> list[tuple[str, str]]:
    """Lists the photos of files, folders (with subfolders) and patterns.

    Args:
        inputs: Paths and glob patterns.
        output: Folder of the outputs, whose files are no input where it is below a folder of photos.
        suffix: Of the outputs, by which they are recognised where both folders are the same.
        left_out: Counts what of folders is left out, by reason.

    Returns:
        The path of each photo, and its path within the folder that was named.

    Raises:
        UserError: A path does not exist, a folder or pattern has no photo, or a file is a video; one line.
    """
    found: dict[str, str] = {}
    left_out = Counter() if left_out is None else left_out
    for one in inputs:
        matches = [one] if os.path.exists(one) else sorted(glob.glob(one, recursive=True))
        if not matches:
            raise UserError(f"INPUT: expected photos, got '{one}', which does not exist; check the path")
        for path in matches:
            if os.path.isdir(path):
                _add_folder(found, path, (output, suffix), left_out)
            elif path.lower().endswith(_VIDEOS):
                raise UserError(
                    f"INPUT: expected photos, got the video '{path}'; extract its frames first: "
                    f'ffmpeg -i {path} frames/%06d.png'
                )
            else:
                found.setdefault(path, os.path.basename(path))
    return list(found.items())


def _add_folder(found: dict[str, str], folder: str, outputs: tuple[str | None, str], left_out: Counter[str]) -> None:
    (output, suffix), photos = outputs, walk_photos(folder, left_out)
    if output is not None:
        out = os.path.join(os.path.realpath(output), '')
        same = os.path.join(os.path.realpath(folder), '').startswith(out)
        if not same:
            photos = [path for path in photos if not os.path.realpath(path).startswith(out)]
        elif suffix:
            photos = [path for path in photos if not os.path.splitext(path)[0].endswith(suffix)]
    if not photos:
        more = f', {left_out_text(left_out)}' if left_out else ''
        raise UserError(
            f"INPUT: expected photos ({' '.join(SUFFIXES)}), found none in '{folder}'{more}; check the path"
        )
    for path in photos:
        found.setdefault(path, os.path.relpath(path, folder))


def plan_jobs(photos: Sequence[tuple[str, str]], output: str, suffix: str, extension: str) -> list[Job]:
    """Returns the output of each photo; photos of the same name get their own extension in the name too.

    Args:
        photos: What :func:`find_photos` returned.
        output: Folder of the outputs.
        suffix: Is added to each name.
        extension: Of the outputs, or ``auto`` for that of the input.

    Raises:
        UserError: Two photos have the same output, or an output is its input; one line.
    """
    stems = [os.path.splitext(name) for _, name in photos]
    taken = Counter(stem for stem, _ in stems)
    jobs: dict[str, Job] = {}
    for (source, _), (stem, own) in zip(photos, stems, strict=True):
        name = f'{stem}_{own[1:]}' if taken[stem] > 1 else stem
        kept = {'.jpg': 'jpg', '.jpeg': 'jpg', '.webp': 'webp'}.get(own.lower(), 'png')
        job = Job(source, os.path.join(output, name + suffix), kept if extension == 'auto' else extension)
        path = os.path.realpath(f'{job.target}.{job.extension}')
        if path == os.path.realpath(source):
            raise UserError(
                f"-o: expected another folder than that of '{source}', which would be replaced; or --suffix"
            )
        if path in jobs:
            raise UserError(f"INPUT: '{jobs[path].source}' and '{source}' would have the same output; rename one")
        jobs[path] = job
    return list(jobs.values())


def make_output(folder: str) -> None:
    """Makes the folder of the outputs and checks that files can be written there.

    Raises:
        UserError: They cannot; one line.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"-o: expected a folder to write to, got '{folder}': {error.strerror}") from None


def read_bytes(path: str) -> bytes:
    """Returns the content of a file.

    Raises:
        UserError: It cannot be read; one line.
    """
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError as error:
        raise UserError(f"'{path}': expected a readable file, got {error.strerror}; check the path") from None


def write_photo(path: str, content: bytes) -> None:
    """Writes a file, which is complete at any time.

    Raises:
        UserError: It cannot be written; one line.
        DiskError: The disk is full or read-only, so that no other file can be written either.
    """
    try:
        with writing(path, _RESUME):
            os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        write_file(path, content, hint=_RESUME)
    except DiskError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno in FULL_DISK:
            raise
        raise UserError(f"'{path}': cannot be written: {cause.strerror}") from None


class Claims:
    """Divides photos among the processes of a machine that write to the same folder, where the system can.

    A claim is a lock on one byte of a file, so that it ends with its process.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: str) -> None:
        user = getattr(os, 'getuid', int)()
        name = f'deplsr-{user}-{zlib.crc32(os.path.realpath(folder).encode()):08x}.lock'
        self._file: IO[bytes] | None = None
        with contextlib.suppress(OSError):  # then photos are not divided
            self._file = open(os.path.join(tempfile.gettempdir(), name), 'ab')  # noqa: SIM115  open as long as this lives

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, name: str) -> bool:
        """Claims a photo; returns False if another process works on it."""
        try:
            import fcntl
        except ImportError:  # on Windows two processes may make the same photo; the later one replaces it
            return True
        if self._file is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, zlib.crc32(os.path.realpath(name).encode()))
        except OSError:
            return False
        return True


def run_jobs(
    jobs: Sequence[Job], output: str, work: Callable[[Job, Callable[[float], object]], None], overwrite: bool = False
) -> Result:
    """Works on one photo after the other, with a progress bar and a line for each that fails.

    Args:
        jobs: The photos.
        output: Folder of the outputs.
        work: Makes the output of a photo, and reports the share that is done.
        overwrite: Whether to make again what exists.

    Raises:
        UserError: The disk is full or read-only; one line.
    """
    count: Counter[str] = Counter()
    sizes = [max(1, height * width) for height, width in (header_size(job.source) for job in jobs)]
    bar = tqdm(total=sum(sizes) / 1e6, unit='MP', disable=None, file=sys.stderr, bar_format=_BAR)
    with bar, Claims(output) as claims:
        for job, size in zip(jobs, sizes, strict=True):
            bar.set_postfix_str(f'{count.total()}/{len(jobs)} photos')
            begin = bar.n

            def report(share: float, begin: float = begin, size: int = size) -> None:
                bar.update(begin + share * size / 1e6 - bar.n)

            count[_one(job, work, report, claims, overwrite)] += 1
            report(1.0)
        bar.set_postfix_str(f'{len(jobs)}/{len(jobs)} photos')
    return Result(count['made'], count['existed'], count['elsewhere'], count['failed'])


def _one(
    job: Job,
    work: Callable[[Job, Callable[[float], object]], None],
    report: Callable[[float], None],
    claims: Claims,
    overwrite: bool,
) -> str:
    if not overwrite and job.existing():
        return 'existed'
    if not claims.take(job.target):
        return 'elsewhere'
    if not overwrite and job.existing():  # made between the two lines above
        return 'existed'
    try:
        work(job, report)
    except DiskError:
        raise
    except UserError as error:
        line = str(error)
        _failed(line if job.source in line else f"'{job.source}': {line}")
        return 'failed'
    except (ValueError, RuntimeError, MemoryError, OSError, cv2.error) as error:
        _failed(f"'{job.source}': {first_line(error, with_type=True)}")
        return 'failed'
    return 'made'


def _failed(line: str) -> None:
    with tqdm.external_write_mode(file=sys.stderr):  # not into the middle of the progress bar
        warn(f'failed: {line}')
