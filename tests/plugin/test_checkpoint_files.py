"""What is no checkpoint, or one of something else, is refused in one line of our own, wherever it is named."""

from __future__ import annotations

import errno
import io
import logging
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from basicsr_plugin.checkpoint import read_file, read_metadata, read_state_dict
from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.errors import UserError
from basicsr_plugin.fixes.weights import option_of
from basicsr_plugin.weights import load_weights


class Runs:
    def __reduce__(self):
        return (print, ('code from a checkpoint ran',))


def net():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def state(**changes):
    return {**net().state_dict(), **changes}


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def packed():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', bytes(10**6))
    return buffer.getvalue()


def scripted():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 3)), buffer)
    return buffer.getvalue()


ADAM = torch.optim.Adam(net().parameters())
W = torch.ones(3, 2)
CONTENTS = {
    'empty': (b'', 'which is empty; copy or download it again'),
    'text': (b'wget: unable to resolve host\n', '(it is a text); check the path, or download'),
    'UTF-16 text': ('wget: unable to resolve host\n'.encode('utf-16'), '(it is a text); '),
    'web page': (b'\n<!DOCTYPE html>\n<html><body>404</body></html>', '(it is a web page (HTML or XML)); download'),
    'LFS pointer': (
        b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n',
        '(it is a Git LFS pointer); run git',
    ),
    'JPEG': (b'\xff\xd8\xff\xe0' + bytes(99), '(it is a JPEG image); '),
    'gzip': (b'\x1f\x8b\x08' + bytes(99), '(it is a gzip archive); unpack it first'),
    'zeros': (bytes(4096), '(it is zeros, as an interrupted download leaves them); '),
    'compressed zip': (packed(), 'it is a compressed archive, which torch.save never writes'),
    'TorchScript': (scripted(), '(it is a TorchScript program, which is code)'),
    'code': (pickle.dumps({'params': Runs()}, 2), '(it holds objects other than tensors: print)'),
    'a network': (saved(net()), '(it holds objects other than tensors: torch.nn.modules.'),
    'truncated': (saved(state())[:900], '(it is truncated or damaged: '),
    'pickle cut': (
        pickle.dumps({'params': 1}, 2)[:-3],
        '(it is truncated or damaged, or torch.save has not written it)',
    ),
    'random': (b'\x93\x01\xfe' * 500, '(it is truncated or damaged, or torch.save has not written it)'),
    'list': (saved([W]), 'expected a state dict in g.pth, got a list; '),
    'nothing': (saved({}), 'expected weights in g.pth, got none; '),
    'nothing inside': (saved({'params': {}}), 'expected weights in g.pth, got none; '),
    'integer keys': (saved({0: W, 1: W}), 'expected tensors by name in g.pth, got the key 0 (int); '),
    'texts': (saved({'params': {'0.weight': 'x'}}), 'expected tensors by name in g.pth, got 0.weight of type str; '),
    'sparse': (saved(state(**{'0.weight': W.to_sparse()})), 'got 0.weight, which is sparse; '),
    'doubled': (
        saved(state(**{'module.0.weight': W})),
        'expected each weight once in g.pth, got some also with module.',
    ),
    'optimizer': (
        saved(ADAM.state_dict()),
        'expected the weights of a network in g.pth, got the state of an optimizer; ',
    ),
    'training state': (
        saved({'epoch': 1, 'iter': 9, 'optimizers': [], 'schedulers': []}),
        'got the training state of a run; name a file in its folder models',
    ),
    'other key': (saved({'net': state()}), "g.pth has no key 'params'; it has 'net'; name one as param_key"),
    'whole numbers': (
        saved({'params': state(**{'0.weight': W.long()})}),
        'g.pth does not fit Sequential: 1 of another type: 0.weight (file int64, network float32); ',
    ),
    'complex': (
        saved(state(**{'0.weight': W * 1j})),
        '1 of another type: 0.weight (file complex64, network float32); ',
    ),
    'fractions': (
        saved(state(**{'1.num_batches_tracked': torch.tensor(1.5)})),
        '1 of another type: 1.num_batches_tracked (file float32, network int64); ',
    ),
    'too large for float32': (
        saved(state(**{'0.weight': W.double() * 1e300})),
        'expected finite weights, got NaN or infinity in 0.weight for g.pth; ',
    ),
    'another network': (saved(nn.Conv2d(1, 1, 1).state_dict()), 'g.pth does not fit Sequential: 7 missing: '),
}


@pytest.mark.parametrize('name', CONTENTS)
def test_a_file_that_is_no_checkpoint_of_the_network_is_one_line(name, tmp_path, monkeypatch, capfd, recwarn):
    content, line = CONTENTS[name]
    monkeypatch.chdir(tmp_path)
    Path('g.pth').write_bytes(content)
    with pytest.raises(UserError) as error:
        load_weights(
            net(), read_state_dict('g.pth', 'params', 'path.pretrain_network_g'), 'g.pth', 'path.pretrain_network_g'
        )
    message = str(error.value)
    assert message.startswith('path.pretrain_network_g: ')
    assert line in message
    assert '\n' not in message
    assert 'weights_only' not in message
    assert capfd.readouterr() == ('', '')
    assert not recwarn


def test_a_folder_and_a_missing_file_are_named_as_what_they_are(tmp_path):
    with pytest.raises(UserError, match=r'^-m: expected a checkpoint file, got the folder .*; name a file in it$'):
        read_file(tmp_path, '-m')
    with pytest.raises(UserError, match=r'^-m: .* which does not exist; check the path$'):
        read_file(tmp_path / 'none.pth', '-m')
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(UserError, match=r'^-m: .* which is no file; check the path$'):
        read_file(tmp_path / 'pipe', '-m')


@pytest.mark.parametrize('number', [errno.EACCES, errno.EIO])
def test_a_file_that_the_system_does_not_read_is_named_with_the_reason(number, tmp_path, monkeypatch):
    torch.save(state(), tmp_path / 'a.pth')

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr('builtins.open', fail)
    with pytest.raises(UserError, match=f'^-m: expected a readable checkpoint, got .*: {os.strerror(number)}; check'):
        read_file(tmp_path / 'a.pth', '-m')


def test_the_content_decides_which_format_a_file_has_and_not_its_suffix(tmp_path):
    save_file(state(), tmp_path / 'a.pth', {'levels': 'effective'})
    torch.save(state(), tmp_path / 'a.safetensors')
    assert read_file(tmp_path / 'a.pth').keys() == read_file(tmp_path / 'a.safetensors').keys() == state().keys()
    assert read_metadata(tmp_path / 'a.pth') == {'levels': 'effective'}
    assert read_metadata(tmp_path / 'a.safetensors') == {}


def test_a_damaged_header_of_safetensors_is_one_line(tmp_path):
    save_file(state(), tmp_path / 'a.safetensors')
    content = (tmp_path / 'a.safetensors').read_bytes()
    (tmp_path / 'a.safetensors').write_bytes(content[:20])
    for read in (read_file, read_metadata):
        with pytest.raises(UserError, match=r'\(it is damaged: .*\); save the state dict'):
            read(tmp_path / 'a.safetensors')


def test_averaged_weights_fall_back_to_the_others_and_no_other_key_does(tmp_path):
    torch.save({'params': state()}, tmp_path / 'a.pth')
    assert read_state_dict(tmp_path / 'a.pth', 'params_ema').keys() == state().keys()
    for key in ('param_ema', None):
        with pytest.raises(UserError, match=r"it has 'params'; name one as param_key$"):
            read_state_dict(tmp_path / 'a.pth', key)
    torch.save(state(), tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r"has no key 'param_ema'; it is a state dict itself; set param_key to ~$"):
        read_state_dict(tmp_path / 'a.pth', 'param_ema')


def test_without_strict_some_names_must_fit():
    fits = {'0.weight': W, 'other': W}
    assert load_weights(net(), fits, 'a.pth', strict=False) == 1
    with pytest.raises(UserError, match=r'does not fit Sequential: 7 missing: .*; 1 unexpected: other'):
        load_weights(net(), {'other': W}, 'a.pth', strict=False)


def test_models_of_basicsr_load_as_before_and_name_the_option(tmp_path, monkeypatch):
    apply_fixes()
    from basicsr.models.base_model import BaseModel

    path, other = str(tmp_path / 'a.pth'), state()
    model = BaseModel({'num_gpu': 0, 'is_train': True, 'path': {'pretrain_network_d': path}})
    torch.save({'params': {f'module.{key}': value for key, value in other.items()}}, path)
    target = net()
    model.load_network(target, path, param_key='params_ema')
    assert all(torch.equal(value, other[key]) for key, value in target.state_dict().items())
    torch.save({'0.weight': torch.ones(1), '0.bias': torch.ones(3)}, path)
    logged = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'info', logged.append)
    model.load_network(target, path, strict=False)
    assert logged[-1] == f'1 of {len(other)} weights of Sequential were loaded'
    assert torch.equal(target[0].bias, torch.ones(3))
    torch.save({'other': torch.ones(1)}, path)
    with pytest.raises(UserError, match=rf'^path\.pretrain_network_d: .* {len(other)} missing: '):
        model.load_network(target, path, strict=False)
    Path(path).write_bytes(b'<html>')
    with pytest.raises(UserError, match=r'^path\.pretrain_network_d: .* \(it is a web page'):
        model.load_network(target, path)
    assert option_of({'path': {}}, 'x') == 'path.pretrain_network_*'
