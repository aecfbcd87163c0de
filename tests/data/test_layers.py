"""Imports run one way: commands and data sets use files/ and degradation/, both use ops/, none the reverse."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import deplsr_data

ROOT = Path(deplsr_data.__file__).parent
DATA_SETS = [f'deplsr_data.{path.stem}' for path in ROOT.glob('*_dataset.py')]
FORBIDDEN = {
    'ops': ['deplsr_data.degradation', 'deplsr_data.files', 'deplsr_data.commands', 'basicsr_plugin', *DATA_SETS],
    'degradation': ['deplsr_data.files', 'deplsr_data.commands', *DATA_SETS],
    'files': ['deplsr_data.degradation', 'deplsr_data.commands', 'deplsr_data.ops', *DATA_SETS],
    'commands': DATA_SETS,
    'dataset_options.py': DATA_SETS,
    'tokens.py': DATA_SETS,
}


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return found | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize('part', FORBIDDEN)
def test_a_lower_layer_does_not_import_an_upper_one(part):
    paths = [ROOT / part] if part.endswith('.py') else sorted((ROOT / part).glob('*.py'))
    assert paths
    for path in paths:
        wrong = [name for name in _imports(path) if name.startswith(tuple(FORBIDDEN[part]))]
        assert not wrong, f'{path.name} imports {wrong}'
