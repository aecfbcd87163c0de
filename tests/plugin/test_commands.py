from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points

import pytest

from basicsr_plugin import cli, commands

GREET = '''"""Greet a photographer.

Never imported before it is run.
"""
import sys
assert not hasattr(sys, 'greeted_too_early')
from basicsr_plugin.errors import UserError

def add_arguments(parser):
    parser.epilog = 'examples:\\n  basicsr greet Ansel'
    parser.add_argument('name')
    parser.add_argument('--times', type=int, default=1)

def run(args):
    if args.name == 'nobody':
        raise UserError('name: expected somebody, got nobody; name one')
    if args.name == 'wait':
        raise KeyboardInterrupt('run the same command again')
    print('\\n'.join([f'hello {args.name}'] * args.times))
    return 3 if args.name == 'three' else 0
'''


@pytest.fixture
def plugin_commands(workplace, monkeypatch):
    """Writes modules and makes them commands of installed packages."""
    monkeypatch.setattr(sys, 'path', [str(workplace.path), *sys.path])
    points = []

    def add_command(name, text, module=None):
        module = module or f'command_{name}'
        path = workplace.path.joinpath(*module.split('.')).with_suffix('.py')
        path.parent.mkdir(exist_ok=True)
        if text is not None:
            path.write_text(text)
        points.append(EntryPoint(name, module, commands.GROUP))

    monkeypatch.setattr(commands, 'entry_points', lambda group: points)
    yield add_command
    for point in points:
        sys.modules.pop(point.value, None)


def shown(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 0
    return capsys.readouterr()


def test_help_lists_each_command_by_the_first_line_of_its_module(plugin_commands, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'greeted_too_early', True, raising=False)
    plugin_commands('greet', GREET)
    out, err = shown(capsys, '--help')
    assert ['greet', 'Greet', 'a', 'photographer'] in [line.split() for line in out.splitlines()]
    assert err == ''


def test_a_command_in_a_package_is_described_without_importing_the_package(plugin_commands, workplace, capsys):
    plugin_commands('greet', GREET, 'with_package.greet')
    (workplace.path / 'with_package' / '__init__.py').write_text('raise RuntimeError("imported")')
    assert 'Greet a photographer' in shown(capsys, '--help').out


def test_a_command_runs_with_its_arguments_and_status(plugin_commands, capsys):
    plugin_commands('greet', GREET)
    assert cli.main(['greet', 'Ansel', '--times', '2']) == 0
    assert capsys.readouterr().out == 'hello Ansel\nhello Ansel\n'
    assert cli.main(['greet', 'three']) == 3


def test_a_command_has_help_of_its_own(plugin_commands, capsys):
    plugin_commands('greet', GREET)
    out = shown(capsys, 'greet', '--help').out
    assert out.startswith('usage: basicsr greet')
    assert 'Greet a photographer' in out
    assert '  basicsr greet Ansel' in out


def test_a_mistake_of_the_user_is_one_line_and_status_2(plugin_commands, capsys):
    plugin_commands('greet', GREET)
    assert cli.main(['greet', 'nobody']) == 2
    assert capsys.readouterr().err == 'basicsr: error: name: expected somebody, got nobody; name one\n'


def test_an_interruption_is_status_130_and_explains_how_to_resume(plugin_commands, capsys):
    plugin_commands('greet', GREET)
    assert cli.main(['greet', 'wait']) == 130
    assert capsys.readouterr().err == '\nbasicsr: interrupted; run the same command again\n'


@pytest.mark.parametrize(
    ('text', 'cause'),
    [
        ('"""Break."""\nimport not_there_at_all\n', 'ModuleNotFoundError'),
        ('"""Break."""\nraise RuntimeError("no licence")\n', 'no licence'),
        ('"""Break."""\ndef add_arguments(parser): pass\n', 'got no run'),
        ('"""Break."""\ndef broken(:\n', 'SyntaxError'),
        (None, "No module named 'command_break'"),
    ],
)
def test_a_broken_command_is_named_with_its_cause_and_others_work(plugin_commands, capsys, text, cause):
    plugin_commands('greet', GREET)
    plugin_commands('break', text)
    assert cli.main(['greet', 'Ansel']) == 0
    capsys.readouterr()
    assert cli.main(['break']) == 2
    err = capsys.readouterr().err
    assert err.startswith("basicsr: error: command 'break': ")
    assert cause in err
    assert err.count('\n') == 1
    assert 'Greet a photographer' in shown(capsys, '--help').out


def test_a_command_that_cannot_be_read_is_left_out_of_the_help_with_a_warning(plugin_commands, capsys):
    plugin_commands('break', None)
    out, err = shown(capsys, '--help')
    assert 'break' not in out
    assert err.startswith("basicsr: warning: command 'break' is skipped: ModuleNotFoundError")


def test_a_name_belongs_to_the_first_package_and_never_to_a_plugin_if_basicsr_has_it(plugin_commands, capsys):
    plugin_commands('train', GREET, 'command_of_train')
    plugin_commands('greet', GREET, 'first_greeting')
    plugin_commands('greet', GREET, 'second_greeting')
    out, err = shown(capsys, '--help')
    assert 'Train the model of an option file' in out
    assert out.count('Greet a photographer') == 1
    first, second = err.splitlines()
    assert (
        first
        == "basicsr: warning: command 'train' of 'command_of_train' is skipped: 'basicsr' has a command of that name"
    )
    assert "'second_greeting' is skipped: 'first_greeting'" in second


def test_an_unknown_command_is_refused_with_the_known_ones(plugin_commands, capsys):
    plugin_commands('greet', GREET)
    with pytest.raises(SystemExit) as end:
        cli.main(['gret'])
    assert end.value.code == 2
    assert "'greet'" in capsys.readouterr().err


def test_the_commands_of_this_distribution_are_installed_and_described():
    names = {point.name for point in entry_points(group=commands.GROUP)}
    assert {'caption', 'synthesize'} <= names
    run = subprocess.run([sys.executable, '-m', 'basicsr_plugin.cli', '--help'], capture_output=True, text=True)
    assert 'semantic caption' in run.stdout
    assert 'degraded photos' in run.stdout
    assert run.stderr == ''
