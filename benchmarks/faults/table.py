"""The table of a subcommand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ['Row', 'print_table']


@dataclass
class Row:
    """One row.

    Attributes:
        name: What was tried.
        trials: How often.
        failures: A line for each trial that missed its goal.
        note: What else was found.
    """

    name: str
    trials: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ''

    def add(self, failure: str | None) -> None:
        """Counts a trial; ``failure``: what was wrong, None if nothing was."""
        self.trials += 1
        if failure is not None:
            self.failures.append(failure)


def print_table(rows: Iterable[Row]) -> int:
    """Prints rows as a Markdown table, and each failure below it; returns the exit status."""
    rows = list(rows)
    print('\n| part | trials | ok | failed | note |\n| --- | ---: | ---: | ---: | --- |')
    for row in rows:
        print(f'| {row.name} | {row.trials} | {row.trials - len(row.failures)} | {len(row.failures)} | {row.note} |')
    for row in rows:
        for failure in row.failures:
            print(f'{row.name}: {failure}')
    return int(any(row.failures for row in rows))
