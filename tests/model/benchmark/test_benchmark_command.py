"""`basicsr benchmark`: tables, protocols, resume, and one line for each mistake."""

from __future__ import annotations

import errno
import shutil
import sys

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from benchmark_cases import SCALE, STOCK, network, write
from skimage.metrics import peak_signal_noise_ratio

from basicsr_plugin.errors import UserError
from deplsr_model import Upscaler
from deplsr_model.benchmark import entries
from deplsr_model.benchmark.pairs import bicubic, read_image


def test_models_outputs_and_bicubic_are_in_one_table(workplace):
    shutil.copytree('sets/small/GT', 'theirs/small')
    assert workplace.benchmark('mine=stock.pth', '--bicubic', '--outputs', 'copy=theirs', '--colour', 'rgb') == 0
    rows = workplace.rows()
    assert len(rows) == 3 * 3 * 2
    assert set(rows[0]) == {'model', 'set', 'degradation', 'image', 'metric', 'protocol', 'value'}
    assert {row['value'] for row in rows if row['model'] == 'copy' and row['metric'] == 'psnr'} == {'inf'}
    found = {row['image']: float(row['value']) for row in rows if (row['model'], row['metric']) == ('bicubic', 'psnr')}
    for name, value in found.items():
        gt = read_image(workplace.path / f'sets/small/GT/{name}.png')
        output = bicubic(read_image(workplace.path / f'sets/small/LQ/{name}.png'), SCALE)
        inside = (slice(SCALE, -SCALE), slice(SCALE, -SCALE))
        assert value == pytest.approx(peak_signal_noise_ratio(gt[inside], output[inside]), abs=1e-4)
    summary = workplace.summary()
    assert summary['baseline'] == 'bicubic'
    assert summary['calibration'] == []
    facts = summary['models']['mine']
    assert facts['parameters'] == sum(one.numel() for one in network().parameters())
    assert facts['seconds_per_image'] > 0
    assert len(facts['sha256']) == 64
    assert 'Not calibrated' in (workplace.path / 'table/summary.md').read_text()


def test_every_value_carries_its_protocol(workplace):
    assert workplace.benchmark('--bicubic', '--metrics', 'psnr,niqe,ssim', '--border', '3', '--limit', '1') == 2
    assert workplace.benchmark('--bicubic', '--border', '3', '--limit', '1') == 0
    assert 'Only the first 1 images' in (workplace.path / 'table/summary.md').read_text()
    assert 'Only the first 1 images' in (workplace.path / 'table/index.html').read_text()
    protocols = {row['metric']: row['protocol'] for row in workplace.rows()}
    assert protocols['psnr'] == 'PSNR, Y of BT.601, not rounded; border 3; GT; 8 bits'
    assert protocols['ssim'].startswith("BasicSR's SSIM (Gaussian 11 x 11, sigma 1.5, no padding), Y of BT.601")


def test_multiply_accumulate_operations_are_those_of_the_layers(workplace):
    assert workplace.benchmark('stock.pth', '--limit', '1') == 0
    count, here = 0, 64 * 64
    for name, module in network().named_modules():
        if hasattr(module, 'kernel_size'):
            larger = SCALE**2 if name in ('conv_hr', 'conv_last') else 1
            count += here * larger * module.weight.numel()
    assert workplace.summary()['models']['stock']['macs'] == count


def test_what_is_measured_is_not_measured_again(workplace, monkeypatch):
    arguments = ('stock.pth', '--bicubic')
    assert workplace.benchmark(*arguments) == 0
    first = workplace.rows()
    cache = next((workplace.path / 'table/cache').glob('*.jsonl'))
    cache.write_text(cache.read_text() + '{"key": "trunc', encoding='utf-8')  # a kill while writing

    def refuse(*_):
        raise AssertionError('computed again')

    with monkeypatch.context() as patch:
        patch.setattr(entries.Network, 'output', refuse)
        patch.setattr(entries, 'bicubic', refuse)
        assert workplace.benchmark(*arguments) == 0
    assert workplace.rows() == first


def test_an_interrupted_run_computes_only_the_missing_outputs(workplace, monkeypatch):
    before, count = entries.Network.output, []

    def counted(self, *arguments):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return before(self, *arguments)

    monkeypatch.setattr(entries.Network, 'output', counted)
    assert workplace.benchmark('stock.pth') == 130
    assert not (workplace.path / 'table/results.csv').exists()
    assert workplace.benchmark('stock.pth') == 0
    assert len(count) == 4


def test_other_weights_or_images_are_measured_again(workplace):
    assert workplace.benchmark('stock.pth') == 0
    first = workplace.rows()
    torch.save({'params': network(1).state_dict()}, 'stock.pth')
    write(workplace.path / 'sets/small/LQ/cat.png', np.zeros((24, 24, 3), np.uint8))
    assert workplace.benchmark('stock.pth') == 0
    assert all(a['value'] != b['value'] for a, b in zip(first, workplace.rows(), strict=True))


def test_outputs_of_some_images_are_compared_on_those_that_all_have(workplace, capsys):
    write(workplace.path / 'theirs/cat_theirs.png', read_image(workplace.path / 'sets/small/GT/cat.png'))
    assert workplace.benchmark('--bicubic', '--outputs', 'theirs=theirs') == 2
    assert '--common' in capsys.readouterr().err
    assert workplace.benchmark('--bicubic', '--outputs', 'theirs=theirs', '--common') == 0
    assert {row['image'] for row in workplace.rows()} == {'cat'}


def test_sets_from_a_file(workplace):
    (workplace.path / 'sets.yml').write_text(
        'sets:\n  pairs: {lq: sets/small/LQ, gt: sets/small/GT, border: 1, crop: centre}\n'
        '  clean: {gt: sets/small/GT}\n'
    )
    assert workplace.benchmark('--bicubic', '--metrics', 'psnr', sets='sets.yml') == 0
    assert {(row['set'], row['protocol'].split('; ', 1)[1]) for row in workplace.rows()} == {
        ('pairs', 'border 1; centre; 8 bits'),
        ('clean', 'border 2; multiple of 2, LR made by bicubic; 8 bits'),
    }


def test_images_without_ground_truth_have_metrics_without_reference_only(workplace, capsys):
    for name in ('cat', 'cup'):
        write(workplace.path / f'old/{name}.png', np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8))
    assert workplace.benchmark('--bicubic', sets='old') == 0
    assert {row['metric'] for row in workplace.rows()} == {'niqe'}
    assert workplace.benchmark('--bicubic', '--metrics', 'psnr', sets='old', output='other') == 2
    assert 'no ground truth' in capsys.readouterr().err


def test_a_single_set_may_be_a_folder_of_images(workplace):
    assert workplace.benchmark('--bicubic', sets='sets/small') == 0
    assert {row['set'] for row in workplace.rows()} == {'small'}


@pytest.mark.parametrize(
    ('arguments', 'sets', 'expected'),
    [
        ([], 'small', 'MODEL: expected a model'),
        (['--bicubic'], '', '--sets: expected test sets'),
        (['--bicubic'], 'smal', "did you mean 'small'?"),
        (['missing.pth'], 'small', 'missing.pth: expected a checkpoint'),
        (['--bicubic', '--metrics', 'psnrr'], 'small', "got 'psnrr'; did you mean 'psnr'?"),
        (['--bicubic', '--metrics', 'pyiqa:dists'], 'small', "pip install 'deplsr[iqa]'"),
        (['--bicubic', '--outputs', 'theirs'], 'small', '--outputs: expected NAME=FOLDER'),
        (['--bicubic', '--baseline', 'ours'], 'small', '--baseline: expected one of bicubic'),
        (['a=stock.pth', 'a=stock.pth'], 'small', "expected different names, got 'a' 2 times"),
        (['--bicubic', '--metrics', 'niqe,niqe'], 'small', 'each metric once'),
        (['--bicubic'], 'small,sets/small', "each test set once, got 'small' 2 times"),
        (['--bicubic', '--outputs', 'theirs=sets'], 'sets/small/LQ', 'found none that is named as its images'),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_measured(workplace, capsys, monkeypatch, arguments, sets, expected):
    monkeypatch.setitem(sys.modules, 'pyiqa', None)
    assert workplace.benchmark(*arguments, sets=sets) == 2
    lines = [one for one in capsys.readouterr().err.splitlines() if 'error' in one]
    assert len(lines) == 1
    assert expected in lines[0]
    assert not (workplace.path / 'table/results.csv').exists()


def test_a_model_of_another_scale_is_refused(workplace, capsys):
    from deplsr_model.benchmark.pairs import TestSet

    model = entries.find_model_entry('stock.pth', 'cpu', 'fp32', None)
    with pytest.raises(UserError, match='expected a model of x4'):
        model.check(TestSet('Set5', [], 4))


def test_a_full_disk_is_one_line(workplace, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('deplsr_model.benchmark.cache.Cache.add', full)
    assert workplace.benchmark('--bicubic') == 2
    assert "cannot write to 'table': No space left on device; correct this" in capsys.readouterr().err


def test_a_checkpoint_with_its_option_file_is_the_model_of_upscale(workplace, capsys):
    """Weights that are not recognised by their keys; the option file alone names other weights."""
    block = {**STOCK, 'type': 'EDSR', 'num_feat': 8}
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save({'params': build_network(dict(block)).state_dict()}, f'edsr{seed}.pth')
    options = workplace.options('edsr', network_g=block, path={'pretrain_network_g': 'edsr1.pth'})
    found = entries.find_model_entry(f'second=edsr2.pth:{options}', 'cpu', 'fp32', None)
    expected = Upscaler('edsr2.pth', options, device='cpu')
    assert found.name == 'second'
    assert found.upscaler.model_hash == expected.model_hash
    assert found.facts()['options'] == options
    assert entries.find_model_entry(f'edsr2.pth:{options}', 'cpu', 'fp32', None).name == 'edsr2'
    for text, message in (
        (f'none.pth:{options}', "got 'none.pth', which does not exist"),
        ('edsr2.pth:none.yml', 'none.yml'),
        ('edsr2.pth', 'name its option file as CHECKPOINT:YAML'),
    ):
        assert workplace.benchmark(text) == 2
        line = capsys.readouterr().err.strip()
        assert line.count('\n') == 0
        assert f'{text}: ' in line
        assert message in line


def test_a_corrupt_checkpoint_and_a_corrupt_image_are_named(workplace, capsys):
    (workplace.path / 'broken.pth').write_bytes(b'no checkpoint')
    assert workplace.benchmark('broken.pth') == 2
    assert 'broken.pth cannot be read as a checkpoint' in capsys.readouterr().err
    image = workplace.path / 'sets/small/GT/cat.png'
    image.write_bytes(image.read_bytes()[:300])
    assert workplace.benchmark('--bicubic') == 2
    assert "sets/small/GT/cat.png': expected a readable image" in capsys.readouterr().err


def test_outputs_of_another_size_are_refused(workplace, capsys):
    write(workplace.path / 'theirs/cat.png', np.zeros((40, 48, 3), np.uint8))
    assert workplace.benchmark('--outputs', 'theirs=theirs', '--common') == 2
    assert 'theirs, small/cat: expected an output of 48 x 48 pixels, got 48 x 40' in capsys.readouterr().err


def test_part_of_the_weights_is_counted_where_the_option_file_allows_it_and_refused_elsewhere(workplace, capsys):
    state = torch.load('stock.pth')['params']
    torch.save({'params': {key: value for key, value in state.items() if 'conv_hr' not in key}}, 'part.pth')
    for name, strict in (('loose', False), ('exact', True)):
        workplace.options(name, path={'pretrain_network_g': 'part.pth', 'strict_load_g': strict})
    assert workplace.benchmark('exact.yml', '--metrics', 'exact.yml') == 2
    assert 'part.pth does not fit MSRResNet: 2 missing: ' in capsys.readouterr().err
    assert workplace.benchmark('loose.yml', '--metrics', 'loose.yml') == 0
    count = f'{len(state) - 2} of {len(state)} weights of MSRResNet were loaded; missing: conv_hr.weight, conv_hr.bias'
    assert count in capsys.readouterr().err
    torch.save({'params': {'other': torch.zeros(1)}}, 'part.pth')
    assert workplace.benchmark('loose.yml', '--metrics', 'loose.yml') == 2
    assert f'part.pth does not fit MSRResNet: {len(state)} missing: ' in capsys.readouterr().err
