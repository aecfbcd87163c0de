from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from benchmark_cases import Workplace

from basicsr_plugin import commands


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Workplace:
    monkeypatch.chdir(tmp_path)
    point = EntryPoint('benchmark', 'deplsr_model.commands.benchmark', commands.GROUP)
    monkeypatch.setattr(commands, 'entry_points', lambda group: [point])
    return Workplace(tmp_path)
