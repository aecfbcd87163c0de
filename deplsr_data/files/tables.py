"""Tables of text: tabs between columns, their names in the first line; written so that a kill leaves no half file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence

from basicsr_plugin.errors import UserError

__all__ = ['CAPTION_COLUMNS', 'lines', 'plain_cell', 'read_table', 'replace_file', 'write_table']

#: The columns of LSDIR-DE: semantic caption, whole degradation caption, then the five fine ones.
CAPTION_COLUMNS = ('title', *(f'title{number}' for number in range(2, 8)))


def lines(path: str) -> Iterator[tuple[int, str]]:
    """Returns the lines of a text file that are not blank, with their numbers from 1, without their ends."""
    with open(path, encoding='utf-8-sig') as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.rstrip('\r\n')


def read_table(path: str, columns: Sequence[str], where: str) -> list[list[str]]:
    """Reads columns of a table, in the order asked for; others are ignored.

    Args:
        path: The file.
        columns: Names of the columns.
        where: Beginning of error messages, such as ``datasets.train.meta_info``.

    Returns:
        The cells of each row.

    Raises:
        UserError: A column is missing, or a row has more or fewer cells than there are columns; one line.
    """
    try:
        return _read(path, columns, where)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'another encoding than UTF-8'
        raise UserError(f"{where}: expected a table, got '{path}': {reason}; check the path") from None


def _read(path: str, columns: Sequence[str], where: str) -> list[list[str]]:
    rows = lines(path)
    there = next(rows, (0, ''))[1].split('\t')
    if not set(columns) <= set(there):
        names = [f"'{name}'" for name in columns]
        raise UserError(
            f"{where}: expected the columns {', '.join(names[:-1])} and {names[-1]} in the first line of '{path}', got "
            f'{there}; name them so, tabs between'
        )
    places = [there.index(name) for name in columns]
    table = []
    for number, line in rows:
        cells = line.split('\t')
        if len(cells) != len(there):
            raise UserError(
                f"{where}: expected {len(there)} columns in line {number} of '{path}', got {len(cells)}; "
                'put one tab between columns and none inside'
            )
        table.append([cells[place] for place in places])
    return table


def write_table(path: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table that :func:`read_table` reads back; for cells that may hold tabs or line ends see plain_cell."""
    replace_file(path, ''.join('\t'.join(row) + '\n' for row in [columns, *rows]).encode())


def plain_cell(text: str) -> str:
    """Returns a text in which all white space is single blanks."""
    return ' '.join(text.split())


def replace_file(path: str, content: bytes, alone: bool = False) -> None:
    """Writes a file under another name first, so that whatever stands at ``path`` is whole at any time.

    Args:
        path: The file.
        content: What it shall hold.
        alone: Nobody else writes it: the other name is always the same, and a kill leaves no more than one such file,
            which the next run replaces.
    """
    part = f'{path}.part' if alone else f'{path}.{uuid.uuid4().hex[:8]}.part'
    with open(part, 'wb') as file:
        file.write(content)
    os.replace(part, path)
