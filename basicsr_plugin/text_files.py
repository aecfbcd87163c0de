"""Reads text files that users write: lists and tables; another encoding is one line and not a wrong name."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from basicsr_plugin.errors import UserError

__all__ = ['read_lines', 'read_text']


def read_text(path: str, where: str) -> str:
    """Returns the content of a text file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        where: Beginning of error messages: the option that names the file.

    Raises:
        UserError: It cannot be read, or has another encoding; one line.
    """
    try:
        with open(path, 'rb') as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"{where}: expected a text file, got '{path}': {error.strerror}; check the path") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(
            f"{where}: expected UTF-8, got '{path}' in another encoding than UTF-8, UTF-16; save it again (PowerShell: "
            '... | Out-File -Encoding utf8)'
        )
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        number = content.count(b'\n', 0, error.start) + 1
        raise UserError(
            f"{where}: expected UTF-8, got '{path}' in another encoding than UTF-8 in line {number}; save it again"
        ) from None
    if '\0' in text:
        raise UserError(f"{where}: expected a text file, got '{path}', which has zero bytes; check the path")
    return text


def read_lines(path: str, where: str) -> Iterator[tuple[int, str]]:
    """Returns the lines of a text file that are not blank, with their numbers from 1, without their ends.

    Raises:
        UserError: See :func:`read_text`.
    """
    text = read_text(path, where).replace('\r\n', '\n').replace('\r', '\n')
    for number, line in enumerate(text.split('\n'), 1):
        if line.strip():
            yield number, line
