"""Tables of text: tabs between columns, their names in the first line; a kill while writing leaves no partial file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from basicsr_plugin.atomic import write_file
from basicsr_plugin.errors import UserError
from basicsr_plugin.text_files import read_lines

__all__ = ['CAPTION_COLUMNS', 'caption_columns', 'plain_cell', 'read_table', 'write_table']


def caption_columns(fine: int) -> tuple[str, ...]:
    """Returns the columns of semantic caption, whole degradation caption and ``fine`` fine captions."""
    return ('title', *(f'title{number}' for number in range(2, fine + 3)))


#: The caption columns of LSDIR-DE, which has five fine captions.
CAPTION_COLUMNS = caption_columns(5)


def read_table(path: str, columns: Sequence[str], where: str, optional: Sequence[str] = ()) -> list[list[str]]:
    """Reads columns of a table, in the given order; others are ignored.

    Args:
        path: The file.
        columns: Names of the columns.
        where: Beginning of error messages, such as ``datasets.train.meta_info``.
        optional: Names of further columns; those that the table does not have are left out.

    Returns:
        The cells of each row.

    Raises:
        UserError: The file cannot be read, a column is missing, or a row has more or fewer cells than
            there are columns; one line.
    """
    rows = read_lines(path, where)
    header = next(rows, (0, ''))[1].split('\t')
    if not set(columns) <= set(header):
        names = [f"'{name}'" for name in columns]
        raise UserError(
            f"{where}: expected the columns {', '.join(names[:-1])} and {names[-1]} in the first line of '{path}', got "
            f'{header}; rename them, with tabs between'
        )
    places = [header.index(name) for name in (*columns, *optional) if name in header]
    table = []
    for number, line in rows:
        cells = line.split('\t')
        if len(cells) != len(header):
            raise UserError(
                f"{where}: expected {len(header)} columns in line {number} of '{path}', got {len(cells)}; "
                'put one tab between columns and none inside'
            )
        table.append([cells[place] for place in places])
    return table


def write_table(path: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table that :func:`read_table` can read; cells that may contain tabs or line ends need plain_cell."""
    write_file(path, ''.join('\t'.join(row) + '\n' for row in [columns, *rows]).encode())


def plain_cell(text: str) -> str:
    """Returns a text in which every run of white space is one blank."""
    return ' '.join(text.split())
