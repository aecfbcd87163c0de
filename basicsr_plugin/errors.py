"""Errors that are the user's to mend; the command prints them as one line instead of a traceback."""

from __future__ import annotations

__all__ = ['OptionError', 'UserError']


class UserError(Exception):
    """A mistake of the user, told in one line: ``where: expected X, got Y; how to mend it``.

    Args:
        message: The line. If torch built it out of an error in a worker of a data loader (a whole traceback), the
            line that was raised there is taken out of it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_worker_traceback(message))


class OptionError(UserError, ValueError):
    """A key or value of an option file, or an argument in its name, that cannot be used."""


def without_worker_traceback(message: str) -> str:
    """Reduces what torch re-raises from a data loader's worker to the message that was raised there."""
    if not message.startswith('Caught '):
        return message
    last = message.strip().splitlines()[-1]
    kind, _, line = last.partition(': ')
    return line if line and ' ' not in kind else last
