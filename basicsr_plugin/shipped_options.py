"""Option files that are shipped with installed packages.

A package names a folder of option files, as a module name, in the entry-point group ``basicsr.options``; the folder is
found without importing anything. The name of a file is its path within the folder: ``train.yml``, ``demo/train.yml``.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from basicsr_plugin.errors import UserError, warn
from basicsr_plugin.names import nearest

__all__ = [
    'EDITOR_LINE',
    'GROUP',
    'ShippedFile',
    'copy_shipped',
    'find_option_file',
    'resolve_option_file',
    'shipped_files',
]

GROUP = 'basicsr.options'
EDITOR_LINE = '# yaml-language-server: $schema='
"""Start of the first line, which names the JSON schema of the file."""


class ShippedFile(NamedTuple):
    """An option file of an installed package.

    Attributes:
        name: Path within the package's folder, with forward slashes.
        path: Where the file is.
        summary: Its first comment line, without the line for editors.
        package: The entry point's name.
    """

    name: str
    path: Path
    summary: str
    package: str


def shipped_files() -> list[ShippedFile]:
    """Lists the option files of all installed packages; only the first of two equal names is listed."""
    found: dict[str, ShippedFile] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            folder = _folder(point.module)
        except (ImportError, ValueError) as error:
            warn(f"option files of '{point.name}' are skipped: {error}")
            continue
        for path in sorted(folder.rglob('*.yml'), key=lambda path: (len(path.parts), path)):
            name = path.relative_to(folder).as_posix()
            found.setdefault(name, ShippedFile(name, path, _summary(path), point.name))
    return list(found.values())


def find_option_file(name: str) -> Path | None:
    """Returns the shipped option file of a name, or None; the suffix may be left out.

    A leading ``options/``, the folder of these files in many repositories, is ignored.
    """
    name = name.removeprefix('options/')
    wanted = (name, f'{name}.yml')
    return next((file.path for file in shipped_files() if file.name in wanted), None)


def resolve_option_file(name: str) -> str:
    """Returns the path of an option file; a name that is no file here may be that of a shipped one."""
    if os.path.exists(name) or os.path.isabs(name):
        return name
    shipped = find_option_file(name)
    if shipped is None:
        return name
    print(f'{name} is not in the working directory; using the shipped file {shipped}', file=sys.stderr, flush=True)
    return str(shipped)


def copy_shipped(name: str, target: Path | None, overwrite: bool) -> Path:
    """Writes a copy of a shipped option file.

    Args:
        name: Name of the file; the suffix may be left out.
        target: A file or an existing folder; the working directory if None.
        overwrite: Whether an existing file is replaced.

    Returns:
        The file that was written.

    Raises:
        UserError: No file has this name, or the target exists, or it cannot be written.
    """
    source = find_option_file(name)
    if source is None:
        names = [file.name for file in shipped_files()]
        raise UserError(f"no shipped option file is called '{name}'{nearest(name, names) or '; see basicsr options'}")
    target = target or Path.cwd()
    if target.is_dir():
        target = target / source.name
    if target.exists() and not overwrite:
        raise UserError(f'{target}: exists already; add --force to replace it, or --output PATH for another name')
    text = source.read_text(encoding='utf-8')
    first, end, rest = text.partition('\n')
    if first.startswith(EDITOR_LINE):  # the copy refers to the package's schema
        schema = (source.parent / first.removeprefix(EDITOR_LINE)).resolve()
        text = f'{EDITOR_LINE}{schema}{end}{rest}'
    try:
        target.write_text(text, encoding='utf-8')
    except OSError as error:
        raise UserError(f'{target}: cannot be written: {error.strerror}') from error
    return target


def _folder(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package named '{module}'")
    return Path(os.fspath(next(iter(spec.submodule_search_locations))))


def _summary(path: Path) -> str:
    with path.open(encoding='utf-8') as file:
        for line in file:
            if line.startswith('#') and not line.startswith(EDITOR_LINE):
                return line.lstrip('# ').strip()
            if line.strip() and not line.startswith('#'):
                break
    return ''
