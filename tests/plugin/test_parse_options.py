from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.errors import UserError
from basicsr_plugin.parse_options import parse_options, read_yaml

apply_fixes()


def stock_parse_options():
    """BasicSR's own, without fixes, from its source."""
    import basicsr.utils

    path = Path(basicsr.utils.__file__).with_name('options.py')
    spec = importlib.util.spec_from_file_location('stock_options', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.parse_options


@pytest.fixture
def parse(workplace, monkeypatch):
    def run(opt, *arguments, is_train=True, function=parse_options, name='options.yml'):
        monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', workplace.write(opt, name), *arguments])
        return function(str(workplace.path), is_train)[0]

    return run


def error_of(parse, *args, **kwargs):
    with pytest.raises(UserError) as error:
        parse(*args, **kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('is_train', [True, False])
@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['--auto_resume', '--debug'],
        ['--force_yml', 'train:ema_decay=0.5', 'name=other', 'val:save_img=true', 'path:param_key_g=none'],
        ['--force_yml', 'train:scheduler:milestones=[5, 7]', 'network_g:num_feat=8'],
    ],
)
def test_options_are_those_that_basicsr_reads(parse, workplace, is_train, arguments):
    opt = workplace.options()
    if not is_train:
        opt['datasets'] = {'test_1': opt['datasets']['val']}
    ours = parse(opt, *arguments, is_train=is_train)
    stock = parse(copy.deepcopy(opt), *arguments, is_train=is_train, function=stock_parse_options())
    if is_train:
        assert ours['logger'].pop('use_tb_logger') is False  # filled in, since BasicSR's loop reads it
    else:
        assert ours['val'].pop('suffix') is None
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(stock))  # whatever the order of keys


def test_numbers_are_numbers_however_written(workplace):
    name = workplace.write('a: 1e-4\nb: 2.5E3\nc: !!float 1e2\nd: 0001.png\ne: [.5, 1_0, 0x10]\nf: e5\n')
    assert dict(read_yaml(name)) == {'a': 1e-4, 'b': 2500.0, 'c': 100.0, 'd': '0001.png', 'e': [0.5, 10, 16], 'f': 'e5'}


def test_merge_keys_and_order_are_kept(workplace):
    opt = read_yaml(workplace.write('z: &base {q: 1, p: 2}\na:\n  <<: *base\n  p: 3\n'))
    assert list(opt) == ['z', 'a']
    assert list(opt['z']) == ['q', 'p']
    assert opt['a'] == {'q': 1, 'p': 3}


@pytest.mark.parametrize(
    'text',
    ['x: !!python/object/apply:os.mkdir [harm]', 'x: !!python/object/apply:subprocess.run [[mkdir, harm]]'],
)
def test_no_code_is_run_from_an_option_file(parse, workplace, text):
    line = error_of(parse, f'name: a\n{text}\n')
    assert line.startswith('options.yml, line 2: ')
    assert 'never objects' in line
    assert not (workplace.path / 'harm').exists()


@pytest.mark.parametrize(
    'entry',
    [
        'name=__import__("os").mkdir("harm")',
        'train:scheduler:milestones=[__import__("os").mkdir("harm")]',
        'name=!!python/object/apply:os.mkdir [harm]',
        'name"];__import__("os").mkdir("harm");opt["name=x',
    ],
)
def test_no_code_is_run_from_a_forced_value(parse, workplace, entry):
    with contextlib.suppress(UserError):  # a plain string is as good as an error
        parse(workplace.options(), '--force_yml', entry)
    assert not (workplace.path / 'harm').exists()


@pytest.mark.parametrize(
    ('entry', 'line'),
    [
        ('train:ema_decy=1', "--force_yml train:ema_decy: unknown key 'ema_decy'; did you mean 'ema_decay'?"),
        ('trai:ema_decay=1', "--force_yml trai:ema_decay: unknown key 'trai'; did you mean 'train'?"),
        ('name:x=1', "--force_yml name:x: unknown key 'x'; add the key to the option file first"),
        ('name', "--force_yml: expected KEY=VALUE such as train:ema_decay=0.999, got 'name'"),
        ('name=[1', "--force_yml name, line 1: expected ',' or ']', but got '<stream end>'"),
    ],
)
def test_forced_value_that_cannot_be_set_is_an_error(parse, workplace, entry, line):
    assert error_of(parse, workplace.options(), '--force_yml', entry) == line


def test_forced_value_may_hold_an_equals_sign_and_a_number(parse, workplace):
    opt = parse(workplace.options(), '--force_yml', 'name=a=b', 'train:optim_g:lr=2e-5')
    assert (opt['name'], opt['train']['optim_g']['lr']) == ('a=b', 2e-5)


@pytest.mark.parametrize(
    ('without', 'line'),
    [
        ('name', "missing key 'name'"),
        ('num_gpu', "missing key 'num_gpu'"),
        ('model_type', "missing key 'model_type'"),
        ('datasets', "missing key 'datasets'"),
        ('path', "missing key 'path'"),
        ('train', "missing key 'train'"),
        ('logger', "missing key 'logger'"),
        ('datasets__train', "datasets: missing key 'train'"),
        ('datasets__train__type', "datasets.train: missing key 'type'"),
        ('datasets__train__batch_size_per_gpu', "datasets.train: missing key 'batch_size_per_gpu'"),
        ('datasets__val__name', "datasets.val: missing key 'name'"),
        ('train__total_iter', "train: missing key 'total_iter'"),
        ('logger__print_freq', "logger: missing key 'print_freq'"),
        ('val__val_freq', "val: missing key 'val_freq'"),
    ],
)
def test_missing_key_is_named(parse, workplace, without, line):
    assert error_of(parse, workplace.options(without)).startswith(line)


def test_misspelt_section_is_recognised(parse, workplace):
    opt = workplace.options()
    opt['dataset'] = opt.pop('datasets')
    assert error_of(parse, opt) == "missing key 'datasets'; did you mean 'dataset'?"


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('name: [1\ntrain: 2\n', "options.yml, line 2: expected ',' or ']', but got ':'"),
        ('a: 1\n\tb: 2\n', "options.yml, line 2: found character '\\t' that cannot start any token"),
        ('just text', 'options.yml: expected a mapping of options, got str'),
        ('', 'options.yml: expected a mapping of options, got NoneType'),
    ],
)
def test_file_that_is_no_option_file_is_an_error(parse, text, line):
    assert error_of(parse, text) == line


def test_roots_of_experiments_and_results_may_be_elsewhere(parse, workplace):
    opt = workplace.options()
    opt['path'].update(experiments_root='far/away', results_root='/scratch/results')
    paths = parse(opt)['path']
    assert paths['experiments_root'] == str(workplace.path / 'far/away/run')
    assert paths['training_states'] == str(workplace.path / 'far/away/run/training_states')
    assert 'results_root' not in paths
    opt['datasets'] = {'test': opt['datasets']['val']}
    paths = parse(opt, is_train=False)['path']
    assert paths['results_root'] == paths['log'] == '/scratch/results/run'
    assert 'experiments_root' not in paths


@pytest.mark.parametrize(
    ('wanted', 'found', 'got', 'warning'),
    [
        (0, 0, 0, None),
        (0, 2, 0, None),
        (2, 2, 2, None),
        ('auto', 2, 2, None),
        (1, 0, 0, 'num_gpu: 1, but this machine has no CUDA GPU; running on the CPU'),
        ('auto', 0, 0, 'num_gpu: auto, but this machine has no CUDA GPU; running on the CPU'),
        (4, 2, 2, 'num_gpu: 4, but this machine has 2; the batch shrinks to 2 x batch_size_per_gpu'),
    ],
)
def test_number_of_gpus_is_one_that_the_machine_has(parse, workplace, monkeypatch, capsys, wanted, found, got, warning):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: found)
    opt = workplace.options(num_gpu=wanted)
    opt['datasets']['train'].update(prefetch_mode='cuda', pin_memory=True)
    opt = parse(opt)
    assert opt['num_gpu'] == got
    assert opt['datasets']['train']['prefetch_mode'] == ('cuda' if got else None)
    assert capsys.readouterr().err == (f'basicsr: warning: {warning}\n' if warning else '')


def test_number_of_gpus_that_is_no_number_is_an_error(parse, workplace):
    assert (
        error_of(parse, workplace.options(num_gpu='all')) == "num_gpu: expected a number of GPUs or 'auto', got 'all'"
    )


def test_launcher_without_its_environment_is_an_error(parse, workplace, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    assert error_of(parse, workplace.options(), '--launcher', 'pytorch').startswith('--launcher pytorch: expected')


def test_seed_is_drawn_once_if_none_is_given(parse, workplace):
    opt = parse(workplace.options('manual_seed'))
    assert isinstance(opt['manual_seed'], int)
    first = torch.rand(1)
    parse(workplace.options(manual_seed=opt['manual_seed']))
    assert torch.equal(torch.rand(1), first)
