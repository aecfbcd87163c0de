"""What the command does before BasicSR is imported."""

from __future__ import annotations

import subprocess
import sys
import types

from basicsr_plugin import start_up
from basicsr_plugin.memory import keep_freed_memory


def test_a_postponed_module_is_imported_when_its_function_is_called(monkeypatch):
    monkeypatch.delitem(sys.modules, 'scipy.special', raising=False)
    with start_up.postponed_imports():
        from scipy.special import gamma

        assert 'scipy.special' in sys.modules
    assert 'scipy.special' not in sys.modules
    assert gamma(5.0) == 24.0
    assert 'scipy.special' in sys.modules


def test_another_attribute_of_a_postponed_module_imports_it_at_once(monkeypatch):
    monkeypatch.delitem(sys.modules, 'scipy.special', raising=False)
    with start_up.postponed_imports():
        from scipy.special import erf

        assert erf(0.0) == 0.0


def test_a_module_that_is_imported_already_stays(monkeypatch):
    loaded = types.ModuleType('scipy.stats')
    monkeypatch.setitem(sys.modules, 'scipy.stats', loaded)
    with start_up.postponed_imports():
        assert sys.modules['scipy.stats'] is loaded
    assert sys.modules['scipy.stats'] is loaded


def test_listing_imports_no_slow_modules():
    code = (
        'import sys; from basicsr_plugin.cli import main; main(["list", "metric"]); '
        'print([name for name in ("scipy.stats", "torch._dynamo", "sympy") if name in sys.modules])'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == '[]'


def test_settings_of_memory_are_taken_where_the_c_library_has_them(monkeypatch):
    assert keep_freed_memory() in (True, False)
    monkeypatch.setattr(sys, 'platform', 'darwin')
    assert not keep_freed_memory()
