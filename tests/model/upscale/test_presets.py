"""Weights that are installed with the package are found by name, without network."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import yaml
from skimage import data
from upscale_cases import failure, pixels

from basicsr_plugin.errors import UserError
from basicsr_plugin.presets import find_preset, preset_of, presets, resolve_weights
from deplsr_model import Upscaler, describe
from deplsr_model.benchmark.entries import find_model_entry
from deplsr_model.presets import sr_preset
from deplsr_model.upscaling.embedded_options import embedded_options
from deplsr_model.upscaling.model_files import find_model

NAMES = ['small', 'small-x2', 'small-x4']
UNKNOWN = (
    "'smal-x4', which is neither a file nor one of the presets small, small-x2, small-x4; did you mean 'small-x4'?"
)


def test_each_preset_has_a_card_and_together_they_are_below_15_megabytes():
    found = {one.name: one for one in presets()}
    assert list(found) == NAMES
    assert all(f'# {name}\n' in one.card.read_text(encoding='utf-8') for name, one in found.items())
    assert sum(one.path.stat().st_size for one in found.values()) < 15e6
    assert preset_of(found['small'].path) == found['small']


def test_without_a_model_the_preset_of_the_scale_enlarges_and_the_estimator_describes(workplace, capsys):
    photo = workplace.photo(size=(20, 24))
    assert workplace.run('upscale', photo, '-o', 'x4') == 0
    assert 'using the preset small-x4' in capsys.readouterr().err
    assert pixels('x4/photo.png').shape == (80, 96, 3)
    assert workplace.run('upscale', photo, '-o', 'x2', '--scale', '2') == 0
    assert 'using the preset small-x2' in capsys.readouterr().err
    assert pixels('x2/photo.png').shape == (40, 48, 3)
    assert workplace.run('describe', photo) == 0
    out, err = capsys.readouterr()
    assert 'using the preset small\n' in err
    assert out.splitlines()[1].startswith('blur')


@pytest.mark.parametrize(('scale', 'name'), [(None, 'small-x4'), (4, 'small-x4'), (2, 'small-x2'), (3, 'small-x4')])
def test_scales_without_a_preset_of_their_own_take_x4(scale, name):
    assert sr_preset(scale) == name


def test_python_and_benchmark_take_a_preset_by_name():
    photo = data.astronaut()[:24, :32]
    large = Upscaler('small-x4')(photo)
    assert large.shape == (96, 128, 3)
    entry = find_model_entry('small-x4', 'cpu', 'fp32', None)
    assert (entry.name, entry.facts()['weights']) == ('small-x4', 'small-x4.safetensors')
    assert describe(photo) == describe(photo, 'small-x4')  # it holds the same estimator


def test_info_states_licence_source_and_card(workplace, capsys):
    assert workplace.run('upscale', '--info', '-m', 'small-x4') == 0
    lines = capsys.readouterr().out.splitlines()
    stated = dict(line.split(':', 1) for line in lines[: lines.index('')])
    assert stated['licence'].strip() == 'CC-BY-SA-4.0'
    assert stated['source'].strip()
    assert stated['card'].strip() == str(find_preset('small-x4').card)
    assert '# small-x4' in lines
    assert '## Not to be used for' in lines


def test_an_unknown_name_lists_the_presets(workplace, capsys):
    workplace.photo()
    assert UNKNOWN in failure(capsys, workplace, 'upscale', 'photos', '-o', 'out', '-m', 'smal-x4')
    assert UNKNOWN in failure(capsys, workplace, 'describe', 'photos', '-m', 'smal-x4')
    assert UNKNOWN in failure(capsys, workplace, 'export', '-m', 'smal-x4', '-o', 'a.safetensors')
    with pytest.raises(UserError, match=f'smal-x4: .*{UNKNOWN[10:40]}'):
        find_model_entry('smal-x4', 'cpu', 'fp32', None)
    line = failure(capsys, workplace, 'upscale', 'photos', '-o', 'out', '-m', 'run/net.pth')
    assert line.endswith("got 'run/net.pth', which does not exist")


def test_an_estimator_does_not_enlarge(workplace, capsys):
    workplace.photo()
    line = failure(capsys, workplace, 'upscale', 'photos', '-o', 'out', '-m', 'small')
    assert '-m: expected an SR network, got small.safetensors, a degradation estimator' in line


def test_a_file_or_experiment_of_the_name_comes_first_but_no_other_folder(workplace):
    shutil.copy(workplace.stock(), 'small-x4')
    (workplace.path / 'small').mkdir()
    assert find_model('small-x4').weights.resolve() == workplace.path / 'small-x4'
    assert resolve_weights('small-x4') == 'small-x4'
    assert find_model('small', stage='da').weights == find_preset('small').path
    (workplace.path / 'small' / 'models').mkdir()
    (workplace.path / 'small' / 'models' / 'net_g_latest.pth').touch()
    (workplace.path / 'small' / 'options.yml').write_text('name: small\n')
    assert find_model('small').weights.name == 'net_g_latest.pth'


def test_an_option_file_names_presets(workplace):
    preset = find_preset('small-x4').path
    opt = {key: value for key, value in embedded_options(preset).items() if key != 'path'}
    opt['path'] = {'pretrain_network_g': 'small-x4', 'pretrain_network_da': 'small'}
    (workplace.path / 'options.yml').write_text(yaml.safe_dump(opt), encoding='utf-8')
    photo = data.astronaut()[:24, :32]
    assert np.array_equal(Upscaler(None, 'options.yml')(photo), Upscaler('small-x4')(photo))
    opt['path']['pretrain_network_da'] = 'smal-x4'
    (workplace.path / 'options.yml').write_text(yaml.safe_dump(opt), encoding='utf-8')
    with pytest.raises(UserError, match='path.pretrain_network_da: expected a file here or above .*' + UNKNOWN[10:40]):
        Upscaler(None, 'options.yml')


def test_a_preset_is_exported_and_named_once(workplace, capsys):
    assert workplace.run('export', '-m', 'small-x4', '-o', 'a.safetensors') == 0
    photo = data.astronaut()[:24, :32]
    assert np.array_equal(Upscaler('a.safetensors')(photo), Upscaler('small-x4')(photo))
    assert workplace.run('export', 'small', '-o', 'b.safetensors') == 0
    capsys.readouterr()
    assert 'MODEL: expected one model, got none' in failure(capsys, workplace, 'export', '-o', 'c.safetensors')
    line = failure(capsys, workplace, 'export', 'small', '-m', 'small', '-o', 'c.safetensors')
    assert 'MODEL: expected one model, got two' in line


def test_an_output_is_made_again_where_the_preset_is_installed_elsewhere(workplace):
    photo = workplace.photo(size=(20, 24))
    assert workplace.run('upscale', photo, '-o', 'out', '-m', 'small-x4') == 0
    (workplace.path / 'deep/er').mkdir(parents=True)
    shutil.move('out/photo.png', 'deep/er/photo.png')
    assert workplace.run('replay', 'deep/er/photo.png', '--input', photo) == 0
