from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import basicsr_plugin

ROOT = Path(basicsr_plugin.__file__).parent


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {module_name(path): path for path in ROOT.rglob('*.py')}


def imports(path):
    """Modules of the package that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)
            yield node.module


def test_no_circle_of_imports_also_through_imports_inside_functions():
    graph = {name: {other for other in imports(path) if other in MODULES} for name, path in MODULES.items()}
    assert 'basicsr_plugin.parse_options' in graph['basicsr_plugin.fixes.training']  # one that is inside a function
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


def test_the_package_imports_no_plugin():
    imported = {name.partition('.')[0] for path in MODULES.values() for name in imports(path)}
    assert not {name for name in imported if name.startswith('deplsr')}
