"""Option files for training name weights that are installed with the package."""

from __future__ import annotations

from basicsr_plugin.presets import find_preset
from deplsr_model import base
from deplsr_model.checkpoint import load_into
from deplsr_model.upscaling.embedded_options import embedded_options


def test_training_starts_from_presets(workplace, stage2, monkeypatch):
    loaded = set()
    monkeypatch.setattr(base, 'load_into', lambda net, path, **rest: loaded.add(path) or load_into(net, path, **rest))
    opt = embedded_options(find_preset('small-x2').path)
    options = {**stage2, 'scale': 2, 'network_g': opt['network_g'], 'network_da': opt['network_da']}
    options['path'] = {'pretrain_network_g': 'small-x2', 'pretrain_network_da': 'small', 'param_key_g': 'params_ema'}
    assert workplace.run('train', options, train__total_iter=1) == 0
    assert loaded == {str(find_preset(name).path) for name in ('small', 'small-x2')}


def test_an_unknown_name_lists_the_presets(workplace, stage2, capsys):
    options = {**stage2, 'path': {'pretrain_network_da': 'smal'}}
    assert workplace.run('train', options) == 2
    assert (
        "path.pretrain_network_da: expected an existing file, got 'smal', which is neither a file nor one of the "
        "presets small, small-x2, small-x4; did you mean 'small'?"
    ) in capsys.readouterr().err
