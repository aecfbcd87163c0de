"""Plain modules of the package do not depend on registered ones, nor fusion on open_clip."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import deplsr_arch

FOLDER = Path(deplsr_arch.__file__).parent
PLAIN = sorted(path.stem for path in FOLDER.glob('*.py') if not path.stem.endswith(('_arch', '__init__')))


def imports_of(module):
    """Names of all modules that a module of the package imports, anywhere in its text."""
    nodes = list(ast.walk(ast.parse((FOLDER / f'{module}.py').read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {
        name
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for name in (node.module, *(f'{node.module}.{alias.name}' for alias in node.names))
    }


def reached_from(module):
    """Names of all modules that are imported directly or through modules of this package."""
    found, waiting = set(), [module]
    while waiting:
        new = imports_of(waiting.pop()) - found
        found |= new
        names = (name.removeprefix('deplsr_arch.') for name in new if name.startswith('deplsr_arch.'))
        waiting += [name for name in names if (FOLDER / f'{name}.py').exists()]
    return found


@pytest.mark.parametrize('module', PLAIN)
def test_a_plain_module_reaches_no_registered_one(module):
    assert not {name for name in reached_from(module) if name.endswith('_arch') and name.startswith('deplsr_arch.')}


def test_fusion_does_not_reach_open_clip():
    assert 'open_clip' in reached_from('degradation_adaptor_arch')
    assert not {name for name in reached_from('fusion') if name.startswith('open_clip')}
