"""Suites: test sets that belong together, by name."""

from __future__ import annotations

from pathlib import Path

from basicsr_plugin.errors import UserError
from deplsr_model.benchmark.fixed_degradations import fixed_test_set
from deplsr_model.benchmark.pairs import TestSet
from deplsr_model.benchmark.sets import find_sets

__all__ = ['SUITES', 'find_suite']

#: The sets of each suite.
SUITES: dict[str, tuple[str, ...]] = {
    'bicubic': ('Set5', 'Set14', 'B100', 'Urban100'),
    'degradations': ('Kodak24',),
    'set14se': ('Set14SE',),
    'real': ('RealSR100',),
    'no-reference': ('RealSRSet', 'RealESRGAN_inputs'),
}


def find_suite(name: str, root: Path | None, scale: int, border: int | None) -> list[TestSet]:
    """Returns the test sets of a suite, those that are in the folder.

    Args:
        name: One of :data:`SUITES`.
        root: Folder of the test sets.
        scale: Enlargement.
        border: See :func:`~deplsr_model.benchmark.sets.find_sets`.

    Raises:
        UserError: There is no such suite, or none of its sets; one line.
    """
    if name not in SUITES:
        raise UserError(f"--suite: expected {', '.join(SUITES)}, got '{name}'")
    if root is None or not root.is_dir():
        raise UserError(f'--data-root: expected the folder of {", ".join(SUITES[name])}, got {root or "none"}')
    there = [one for one in SUITES[name] if (root / one).is_dir()]
    if not there:
        raise UserError(f"--suite {name}: expected {', '.join(SUITES[name])} below '{root}', found none of them")
    if name == 'degradations':
        return [fixed_test_set(f'{one} degraded', root / one, scale, border) for one in there]
    return find_sets(there, root, scale, border)
