from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from basicsr_plugin import discovery
from basicsr_plugin.errors import UserError

PLUGIN = """
from torch import nn
from basicsr.utils.registry import ARCH_REGISTRY

@ARCH_REGISTRY.register()
class {name}(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x):
        return self.up(self.conv(x))
"""


@pytest.fixture
def write_plugin(workplace, monkeypatch):
    """Writes a module into the working directory; afterwards what it registered is removed."""
    from basicsr.utils.registry import ARCH_REGISTRY

    monkeypatch.setattr(sys, 'path', [*sys.path])
    monkeypatch.setattr(ARCH_REGISTRY, '_obj_map', dict(iter(ARCH_REGISTRY)))
    modules = []

    def write(module, text=PLUGIN):
        modules.append(module)
        (workplace.path / f'{module}.py').write_text(text.replace('{name}', f'Arch_{module}'))
        return module

    yield write
    for module in modules:
        sys.modules.pop(module, None)


def entry_points(monkeypatch, *values):
    points = [EntryPoint(value, value, discovery.GROUP) for value in values]
    monkeypatch.setattr(discovery, 'entry_points', lambda group: points if group == discovery.GROUP else [])


def test_each_name_is_listed_with_the_package_it_comes_from(write_plugin):
    discovery.load_plugins([write_plugin('brought_by_hand')])
    rows = discovery.registered(['arch'])
    assert ('arch', 'Arch_brought_by_hand', 'brought_by_hand') in rows
    assert ('arch', 'EDSR', 'basicsr') in rows
    assert {row.registry for row in discovery.registered()} == {'arch', 'dataset', 'loss', 'metric', 'model'}


def test_own_packages_are_entry_points():
    from importlib.metadata import entry_points as installed

    assert {'deplsr_arch', 'deplsr_data', 'deplsr_model'} <= {point.value for point in installed(group=discovery.GROUP)}


def test_installed_plugins_are_loaded(write_plugin, workplace, monkeypatch):
    sys.path.append(str(workplace.path))
    entry_points(monkeypatch, write_plugin('installed_one'))
    assert discovery.load_entry_points() == ['installed_one']
    assert 'Arch_installed_one' in {row.name for row in discovery.registered(['arch'])}


def test_broken_installed_plugin_is_named_and_skipped(write_plugin, workplace, monkeypatch, capsys):
    sys.path.append(str(workplace.path))
    broken = write_plugin('broken_one', 'x = 1\nimport not_there_at_all\n')
    entry_points(monkeypatch, broken, 'missing_one', write_plugin('sound_one'))
    assert discovery.load_entry_points() == ['sound_one']
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        "basicsr: warning: plug-in 'broken_one' is skipped: "
        "ModuleNotFoundError: No module named 'not_there_at_all' (broken_one.py, line 2)"
    )
    assert "'missing_one' is skipped: ModuleNotFoundError" in second


def test_broken_plugin_that_is_named_is_an_error(write_plugin):
    module = write_plugin('broken_two', 'raise RuntimeError("no licence\\nsecond line")\n')
    with pytest.raises(UserError) as error:
        discovery.load_plugins([module])
    assert str(error.value) == (
        "--plugin: cannot load plug-in 'broken_two': RuntimeError: no licence (broken_two.py, line 1)"
    )


def test_plugin_named_in_the_option_file_trains(write_plugin, workplace):
    module = write_plugin('named_in_file')
    opt = workplace.options(network_g={'type': 'Arch_named_in_file'}, plugins=[module], train__total_iter=1)
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 0


def test_plugin_named_on_the_command_line_trains_and_is_listed(write_plugin, workplace, capsys):
    module = write_plugin('named_by_hand')
    opt = workplace.options(network_g={'type': 'Arch_named_by_hand'}, train__total_iter=1)
    assert workplace.basicsr('train', '-opt', workplace.write(opt), '--plugin', module) == 0
    capsys.readouterr()
    assert workplace.basicsr('list', 'arch', '--plugin', module) == 0
    assert ['arch', 'Arch_named_by_hand', 'named_by_hand'] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


def test_file_in_the_working_directory_does_not_hide_an_installed_module(write_plugin, workplace):
    write_plugin('colorsys', 'raise RuntimeError("the wrong one")')
    sys.modules.pop('colorsys', None)
    discovery.load_plugins(['colorsys'])
    assert not sys.modules['colorsys'].__file__.startswith(str(workplace.path))
