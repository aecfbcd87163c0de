from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from basicsr_plugin.checkpoint import read_state_dict
from basicsr_plugin.errors import UserError
from deplsr_model.checkpoint import load_into


class Runs:
    def __reduce__(self):
        return (print, ('code from a checkpoint ran',))


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def one_line(error):
    return '\n' not in str(error.value)


@pytest.mark.parametrize('wrap', [lambda s: {'params': s}, lambda s: {'params_ema': s, 'params': {}}, lambda s: s])
def test_weights_load_from_basicsr_files_and_bare_state_dicts(net, wrap, tmp_path):
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    torch.save(wrap(other.state_dict()), tmp_path / 'a.pth')
    load_into(net, tmp_path / 'a.pth', param_key='params_ema')
    assert torch.equal(net[0].weight, other[0].weight)


def test_weights_of_a_data_parallel_network_load(net, tmp_path):
    torch.save({f'module.{k}': v for k, v in net.state_dict().items()}, tmp_path / 'a.pth')
    assert read_state_dict(tmp_path / 'a.pth').keys() == net.state_dict().keys()


def test_safetensors_load(net, tmp_path):
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    save_file(other.state_dict(), tmp_path / 'a.safetensors')
    load_into(net, tmp_path / 'a.safetensors')
    assert torch.equal(net[1].weight, other[1].weight)


def test_another_shape_is_named_in_one_line(net, tmp_path):
    torch.save(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)).state_dict(), tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'0\.weight \(file \(4, 2\), network \(3, 2\)\)') as error:
        load_into(net, tmp_path / 'a.pth', where='path.pretrain_network_g')
    assert one_line(error)
    assert str(error.value).startswith('path.pretrain_network_g: ')


def test_other_names_are_counted_and_the_first_ones_named(net, tmp_path):
    torch.save({'body.weight': torch.zeros(1)}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'4 missing: .* and 1 more; 1 unexpected: body\.weight') as error:
        load_into(net, tmp_path / 'a.pth')
    assert one_line(error)


def test_a_file_that_would_run_code_is_refused(net, tmp_path, capsys):
    (tmp_path / 'a.pth').write_bytes(pickle.dumps({'params': Runs()}))
    with pytest.raises(UserError, match='cannot be read as a checkpoint of plain tensors') as error:
        load_into(net, tmp_path / 'a.pth')
    assert one_line(error)
    assert 'ran' not in capsys.readouterr().out


def test_a_truncated_file_is_named(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / 'a.pth')
    complete = (tmp_path / 'a.pth').read_bytes()
    (tmp_path / 'a.pth').write_bytes(complete[: len(complete) // 2])
    with pytest.raises(UserError, match='cannot be read') as error:
        load_into(net, tmp_path / 'a.pth')
    assert one_line(error)


def test_a_missing_file_and_a_missing_key_are_named(net, tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        load_into(net, tmp_path / 'none.pth')
    torch.save({'net': net.state_dict()}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match="has no key 'params'; it has 'net'"):
        load_into(net, tmp_path / 'a.pth')


def test_a_flipped_bit_is_named(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / 'a.pth')
    content = bytearray((tmp_path / 'a.pth').read_bytes())
    content[content.index(net[0].weight.detach().numpy().tobytes())] ^= 1
    (tmp_path / 'a.pth').write_bytes(content)
    with pytest.raises(UserError, match=r'damaged: .* has another checksum') as error:
        load_into(net, tmp_path / 'a.pth')
    assert one_line(error)
