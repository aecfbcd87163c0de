from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from upscale_cases import NAMES, Workplace

from basicsr_plugin import commands


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Workplace:
    monkeypatch.chdir(tmp_path)
    points = [EntryPoint(name, f'deplsr_model.commands.{name}', commands.GROUP) for name in NAMES]
    monkeypatch.setattr(commands, 'entry_points', lambda group: points)
    return Workplace(tmp_path)
