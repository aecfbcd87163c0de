from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from skimage import data
from upscale_cases import NETWORK_DA, NETWORK_G, OPTIONS, STOCK, failure, pixels, randomly

from deplsr_model import Upscaler, describe
from deplsr_model.checkpoint import load_into
from deplsr_model.upscaling.model_files import file_hash

ADAPTOR = {
    'type': 'DegradationAdaptor',
    'clip': {
        'embed_dim': 16,
        'vision_cfg': {'image_size': 32, 'layers': 2, 'width': 64, 'patch_size': 8},
        'text_cfg': {'context_length': 77, 'vocab_size': 49408, 'width': 32, 'heads': 2, 'layers': 1},
    },
    'num_degradation_types': 8,
}


def metadata(path):
    with safe_open(path, 'pt') as file:
        return file.metadata()


def test_the_exported_file_upscales_and_describes_like_the_model_without_an_option_file(workplace, capsys):
    model = workplace.conditioned()
    photo = workplace.photo()
    assert workplace.run('export', 'net_g.pth', '-opt', 'options.yml', '-o', 'exported/a.safetensors') == 0
    assert 'exported/a.safetensors: ' in capsys.readouterr().out
    for name in ('net_g.pth', 'net_da.pth', 'options.yml'):
        (workplace.path / name).rename(workplace.path / f'moved_{name}')
    (workplace.path / 'moved_options.yml').write_text(
        yaml.safe_dump({**OPTIONS, 'path': {'pretrain_network_da': 'moved_net_da.pth'}}), encoding='utf-8'
    )
    moved = ('-m', f'moved_{model[1]}', '-opt', 'moved_options.yml')
    for name, arguments in {'exported': ('-m', 'exported/a.safetensors'), 'own': moved}.items():
        assert workplace.run('upscale', 'photos', '-o', name, *arguments, '--noise=-50%') == 0
        assert workplace.run('describe', photo, *arguments, '--csv', f'{name}.csv') == 0
    assert np.array_equal(pixels('exported/photo.png'), pixels('own/photo.png'))
    assert (workplace.path / 'exported.csv').read_text() == (workplace.path / 'own.csv').read_text()
    assert workplace.run('upscale', '--info', '-m', 'exported/a.safetensors') == 0
    assert 'none: stated in the weights' in capsys.readouterr().out
    assert workplace.run('replay', 'exported/photo.png') == 0


def test_metadata_state_networks_scale_levels_licence_source_and_hashes(workplace):
    workplace.conditioned('effective')
    content = torch.load('net_g.pth', weights_only=True)
    torch.save({**content, 'license': 'CC0', 'source': 'here'}, 'net_g.pth')
    arguments = ('export', 'net_g.pth', '-opt', 'options.yml', '-o', 'a.safetensors', '--source', 'there')
    assert workplace.run(*arguments) == 0
    stated = metadata('a.safetensors')
    assert json.loads(stated['network_g']) == NETWORK_G
    assert json.loads(stated['network_da']) == NETWORK_DA
    assert (stated['scale'], stated['levels'], stated['license'], stated['source']) == (
        '2',
        'effective',
        'CC0',
        'there',
    )
    assert stated['sha256'] == file_hash(workplace.path / 'net_g.pth')
    assert stated['sha256_network_da'] == file_hash(workplace.path / 'net_da.pth')


def test_networks_take_their_part_of_an_exported_file(workplace):
    workplace.conditioned()
    workplace.run('export', 'net_g.pth', '-opt', 'options.yml', '-o', 'a.safetensors')
    for block in (NETWORK_G, NETWORK_DA):
        net = randomly(block, seed=5)
        assert load_into(net, 'a.safetensors').kept == []
        expected = randomly(block, seed=0).state_dict()
        found = net.state_dict()
        assert all(torch.equal(found[key], expected[key]) for key in expected if 'weight' in key)


def test_an_exported_file_can_be_exported_again(workplace):
    workplace.conditioned()
    workplace.run('export', 'net_g.pth', '-opt', 'options.yml', '-o', 'a.safetensors')
    assert workplace.run('export', 'a.safetensors', '-o', 'b.safetensors') == 0
    photo = data.astronaut()[:40, :50]
    assert np.array_equal(Upscaler('a.safetensors')(photo), Upscaler('b.safetensors')(photo))


def test_a_stock_network_keeps_the_names_of_its_weights(workplace):
    assert workplace.run('export', workplace.stock(), '-o', 'a.safetensors') == 0
    with safe_open('a.safetensors', 'pt') as file:
        assert set(file.keys()) == set(randomly(STOCK).state_dict())
    photo = data.astronaut()[:40, :50]
    assert np.array_equal(Upscaler('a.safetensors')(photo), Upscaler('stock.pth')(photo))


@pytest.mark.parametrize('form', ['mixture', 'embedding'])
def test_an_adaptor_is_exported_with_its_text_tower_and_the_form_of_its_prior(workplace, form):
    estimator = randomly(ADAPTOR)
    torch.save({'params': estimator.state_dict(), 'levels': 'effective'}, 'net_da.pth')
    torch.save({'params': randomly(NETWORK_G).state_dict()}, 'net_g.pth')
    opt = {**OPTIONS, 'network_da': {**ADAPTOR, 'pretrained': None}, 'prior_form': form}
    opt['val'] = {'template': 'a photo with {}'}
    (workplace.path / 'options.yml').write_text(yaml.safe_dump(opt), encoding='utf-8')
    workplace.run('export', 'net_g.pth', '-opt', 'options.yml', '-o', 'a.safetensors')
    assert 'pretrained' not in json.loads(metadata('a.safetensors')['network_da'])
    photo = data.astronaut()[:40, :50]
    own, exported = Upscaler('net_g.pth', 'options.yml'), Upscaler('a.safetensors')
    for choices in ({}, {'prior': 'noise with sigma:25', 'jpeg': '40'}):
        assert np.array_equal(own(photo, **choices), exported(photo, **choices))
    assert describe(photo, own) == describe(photo, exported)


def test_an_estimator_alone_is_exported_from_the_folder_of_its_training(workplace):
    workplace.conditioned()
    run = workplace.path / 'experiments/run'
    (run / 'models').mkdir(parents=True)
    (workplace.path / 'net_da.pth').rename(run / 'models/net_da_latest.pth')
    (run / 'options.yml').write_text(yaml.safe_dump({'network_da': NETWORK_DA}), encoding='utf-8')
    assert workplace.run('export', 'experiments/run', '-o', 'a.safetensors', '--licence', 'MIT') == 0
    assert metadata('a.safetensors')['license'] == 'MIT'
    photo = Image.fromarray(data.astronaut()[:90, :90])
    assert describe(photo, 'a.safetensors') == describe(photo, 'experiments/run')


def test_a_file_that_needs_a_plug_in_imports_nothing_by_itself(workplace, capsys):
    workplace.conditioned()
    opt = yaml.safe_load((workplace.path / 'options.yml').read_text())
    (workplace.path / 'options.yml').write_text(yaml.safe_dump({**opt, 'plugins': ['my_plugin_of_a_test']}))
    (workplace.path / 'my_plugin_of_a_test.py').write_text('')
    tensors = randomly(NETWORK_G).state_dict()
    stated = {'network_g': json.dumps(NETWORK_G), 'plugins': '["my_plugin_of_a_test"]'}
    save_file(tensors, 'a.safetensors', stated)
    workplace.photo()
    line = failure(capsys, workplace, 'upscale', 'photos', '-o', 'out', '-m', 'a.safetensors')
    assert 'needs the plug-in my_plugin_of_a_test; if you trust it, add --plugin my_plugin_of_a_test' in line
    arguments = ('photos', '-o', 'out', '-m', 'a.safetensors', '--plugin', 'my_plugin_of_a_test')
    assert workplace.run('upscale', *arguments) == 0


def test_mistakes_are_one_line(workplace, capsys):
    model = workplace.stock()
    workplace.conditioned()
    save_file({'a': torch.zeros(1)}, 'corrupt.safetensors', {'network_g': '{'})
    (workplace.path / 'da.yml').write_text(yaml.safe_dump({'network_da': NETWORK_DA}), encoding='utf-8')
    (workplace.path / 'file').write_text('')
    cases = {
        ('nowhere.pth', '-o', 'a.safetensors'): "experiment or a preset, got 'nowhere.pth', which does not ex",
        (model, '-o', 'a.pth'): "-o: expected a file that ends in .safetensors or .onnx, got 'a.pth'",
        ('corrupt.safetensors', '-o', 'a.safetensors'): 'MODEL: expected networks as JSON in the metadata of corrupt.s',
        ('corrupt.safetensors', '-o', 'corrupt.safetensors'): 'MODEL: expected networks as JSON',
        (model, '-opt', 'options.yml', '-o', 'a.safetensors'): 'MODEL: stock.pth does not fit Fused: ',
        (model, '-o', 'file/a.safetensors'): "'file/a.safetensors': cannot be written: ",
        ('net_da.pth', '-opt', 'da.yml', '-o', 'a.onnx'): '-o: expected a file .safetensors for a degradation estima',
    }
    for arguments, line in cases.items():
        assert line in failure(capsys, workplace, 'export', *arguments)
    workplace.run('export', model, '-o', 'a.safetensors')
    capsys.readouterr()
    assert 'expected another file than that of the model' in failure(
        capsys, workplace, 'export', 'a.safetensors', '-o', 'a.safetensors'
    )
