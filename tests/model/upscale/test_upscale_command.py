from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from upscale_cases import NETWORK_G, STOCK, failure, pixels, randomly

from deplsr_model.upscaling import photo_jobs
from deplsr_model.upscaling.image_files import decode_image

RRDBNET = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}


def test_a_folder_is_upscaled_with_its_subfolders_and_a_second_run_skips_what_exists(workplace, capsys):
    model = workplace.stock()
    for name in ('photos/a.png', 'photos/sub/b.jpg', 'photos/sub/c.webp'):
        workplace.photo(name)
    assert workplace.run('upscale', 'photos', '-o', 'out', '-m', model) == 0
    assert capsys.readouterr().out == 'out: 3 photos upscaled, 0 existed, 0 failed; 3 photos found\n'
    out = workplace.path / 'out'
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob('*.*'))
    assert found == ['a.png', 'sub/b.png', 'sub/c.png']
    assert pixels('out/a.png').shape == (60, 82, 3)
    (workplace.path / 'out/a.png').unlink()
    assert workplace.run('upscale', 'photos', '-o', 'out', '-m', model) == 0
    assert capsys.readouterr().out == (
        'out: 1 photos upscaled, 2 existed, 0 failed (existing outputs are kept, whatever their settings; --overwrite '
        'makes them again); 3 photos found\n'
    )
    assert workplace.run('upscale', 'photos', '-o', 'out', '-m', model, '--overwrite') == 0
    assert capsys.readouterr().out == 'out: 3 photos upscaled, 0 existed, 0 failed; 3 photos found\n'


def test_the_output_is_what_the_network_returns(workplace):
    net = randomly(STOCK)
    photo = pixels(workplace.photo())
    workplace.run('upscale', 'photos', '-o', 'out', '-m', workplace.stock())
    with torch.no_grad():
        x = torch.from_numpy(photo.astype(np.float32) / 255).permute(2, 0, 1)[None]
        expected = (net(x)[0].clamp(0, 1) * 255).round().permute(1, 2, 0).byte().numpy()
    assert np.abs(pixels('out/photo.png').astype(int) - expected).max() <= 1


@pytest.mark.parametrize('scale', [1, 2, 4])
@pytest.mark.parametrize('size', [(1, 1), (3, 50), (17, 5)])
def test_tiny_and_odd_sizes(workplace, scale, size):
    torch.save(randomly({**RRDBNET, 'scale': scale}).state_dict(), 'rrdb.pth')
    workplace.photo(size=size)
    assert workplace.run('upscale', 'photos', '-o', 'out', '-m', 'rrdb.pth', '--tile', '32') == 0
    assert pixels('out/photo.png').shape[:2] == (size[0] * scale, size[1] * scale)


def test_a_safetensors_file_and_an_experiment_folder_are_models_too(workplace):
    workplace.photo()
    workplace.conditioned()
    save_file(randomly(STOCK).state_dict(), 'a.safetensors')
    assert workplace.run('upscale', 'photos', '-o', 'safe', '-m', 'a.safetensors') == 0
    run = workplace.path / 'experiments/run'
    (run / 'models').mkdir(parents=True)
    for source, target in {'net_g.pth': 'models/net_g_latest.pth', 'options.yml': 'options.yml'}.items():
        (workplace.path / source).rename(run / target)
    assert workplace.run('upscale', 'photos', '-o', 'folder', '-m', 'experiments/run') == 0
    assert workplace.run('upscale', 'photos', '-o', 'file', '-m', 'experiments/run/models/net_g_latest.pth') == 0
    assert np.array_equal(pixels('folder/photo.png'), pixels('file/photo.png'))


def test_the_averaged_weights_are_used_where_there_are_any(workplace):
    workplace.photo()
    block = STOCK
    averaged = randomly(block, 1).state_dict()
    torch.save({'params': randomly(block, 0).state_dict(), 'params_ema': averaged}, 'both.pth')
    torch.save(averaged, 'averaged.pth')
    for name in ('both', 'averaged'):
        assert workplace.run('upscale', 'photos', '-o', name, '-m', f'{name}.pth') == 0
    assert np.array_equal(pixels('both/photo.png'), pixels('averaged/photo.png'))


@pytest.mark.parametrize('extension', ['png', 'jpg', 'webp'])
def test_alpha_gray_16_bits_profile_and_dpi_survive(workplace, extension):
    model = workplace.stock()
    workplace.photo('photos/plain.jpg', dpi=(300, 300), quality=95)
    photo = pixels('photos/plain.jpg')
    Image.fromarray(np.dstack([photo, photo[..., 0]])).save('photos/alpha.png')
    Image.fromarray(photo[..., 1]).save('photos/gray.png')
    Image.fromarray(photo[..., 1].astype(np.uint16) * 257).save('photos/deep.png')
    assert workplace.run('upscale', 'photos', '-o', 'out', '-m', model, '--ext', extension) == 0
    alpha = Image.open('out/alpha.png' if extension == 'jpg' else f'out/alpha.{extension}')
    assert alpha.mode == 'RGBA'
    assert Image.open(f'out/plain.{extension}').size == (82, 60)
    if extension == 'png':
        deep = decode_image((workplace.path / 'out/deep.png').read_bytes(), 'x').pixels
        assert deep.dtype == np.uint16
        assert (deep % 257).any()
        assert Image.open('out/gray.png').mode == 'L'
        assert Image.open('out/plain.png').info['dpi'] == pytest.approx((300, 300), abs=0.1)


def test_outscale_and_scale(workplace, capsys):
    model = workplace.stock()
    workplace.photo()
    for arguments, factor in ((['--outscale', '1.5'], 1.5), (['--scale', '4'], 4), (['--scale', '3'], 3)):
        assert workplace.run('upscale', 'photos', '-o', 'out', '-m', model, *arguments, '--overwrite') == 0
        assert pixels('out/photo.png').shape[:2] == (round(30 * factor), round(41 * factor))
    err = capsys.readouterr().err
    assert '--scale 4: the network enlarges x2 and runs 2 times\n' in err
    assert '--scale 3: the network enlarges x2 and runs 2 times; the output of x4 is resized to x3\n' in err


def test_suffix_and_equal_names(workplace):
    model = workplace.stock()
    workplace.photo('photos/a.png')
    workplace.photo('photos/a.jpg')
    for _ in range(2):
        workplace.run('upscale', 'photos', '-o', 'photos', '-m', model, '--suffix', '_x2', '--ext', 'auto')
    assert sorted(os.listdir('photos')) == ['a.jpg', 'a.png', 'a_jpg_x2.jpg', 'a_png_x2.png']


def test_an_unreadable_photo_is_named_and_the_others_are_made(workplace, capsys):
    model = workplace.stock()
    workplace.photo('photos/a.png')
    workplace.path.joinpath('photos/b.png').write_bytes(b'damaged')
    workplace.path.joinpath('photos/c.jpg').write_bytes(b'')
    assert workplace.run('upscale', 'photos', '-o', 'out', '-m', model) == 1
    shown = capsys.readouterr()
    assert shown.out == 'out: 1 photos upscaled, 0 existed, 2 failed; 3 photos found\n'
    lines = shown.err.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("basicsr: warning: failed: 'photos/b.png': expected a readable image")
    assert "'photos/c.jpg': expected a readable image, got an empty file" in lines[1]
    assert os.listdir('out') == ['a.png']


def test_mistakes_are_one_line(workplace, capsys):
    model = workplace.stock()
    workplace.photo()
    (workplace.path / 'empty').mkdir()
    (workplace.path / 'film.mp4').write_bytes(b'x')
    (workplace.path / 'corrupt.pth').write_bytes(b'\x80no checkpoint')
    torch.save({'params': {'a.weight': torch.zeros(3)}}, 'other.pth')
    cases = {
        ('nowhere', '-o', 'out', '-m', model): "INPUT: expected photos, got 'nowhere', which does not exist",
        ('empty', '-o', 'out', '-m', model): 'INPUT: expected photos (.png',
        (
            'film.mp4',
            '-o',
            'out',
            '-m',
            model,
        ): "got the video 'film.mp4'; extract its frames first: ffmpeg -i film.mp4",
        (
            'photos',
            '-o',
            'out',
            '-m',
            'nowhere.pth',
        ): '-m: expected a checkpoint, the folder of an experiment or a preset, got',
        ('photos', '-o', 'out', '-m', 'corrupt.pth'): '-m: corrupt.pth cannot be read as a checkpoint of plain tensors',
        ('photos', '-o', 'out', '-m', 'other.pth'): '-m: expected weights of RRDBNet, SRVGGNetCompact',
        (
            'photos',
            '-o',
            'out',
            '-m',
            'empty',
        ): '-m: expected the folder of an experiment, got empty, which has no option',
        ('photos', '-o', 'film.mp4/out', '-m', model): "-o: expected a folder to write to, got 'film.mp4/out'",
        ('photos', '-o', 'photos', '-m', model): "-o: expected another folder than that of 'photos/photo.png'",
        ('photos', '-m', model): '-o: expected a folder for the outputs, got none',
        ('-o', 'out', '-m', model): 'INPUT: expected photos, got none',
        ('photos', '-o', 'out', '-m', model, '--noise=-50%'): '--noise: expected a model with a degradation estimator',
        ('photos', '-o', 'out', '-m', model, '--noise', 'much'): '--noise: expected a percentage such as -50%',
        ('photos', '-o', 'out', '-m', model, '--level', 'blur'): '--level: expected NAME=EDIT',
        ('photos', '-o', 'out', '-m', model, '--device', 'tpu9'): "--device: expected cpu, cuda or cuda:1, got 'tpu9'",
        ('photos', '-o', 'out', '-m', model, '--device', 'cpu', '--fp16'): '--fp16: expected a GPU, got the CPU',
        ('photos', '-o', 'out', '-m', model, '--tile', '8'): '--tile-overlap: expected less than the tile (8), got 16',
    }
    for arguments, line in cases.items():
        assert line in failure(capsys, workplace, 'upscale', *arguments)


def test_weights_of_another_network_than_the_option_file_names_are_one_line(workplace, capsys):
    workplace.conditioned()
    workplace.photo()
    line = failure(capsys, workplace, 'upscale', 'photos', '-o', 'out', '-m', workplace.stock(), '-opt', 'options.yml')
    assert '-m: stock.pth does not fit Fused: ' in line


def test_weights_with_code_in_them_are_refused(workplace, capsys):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, ('harmed',)

    torch.save({'params': Harmful()}, 'harmful.pth')
    workplace.photo()
    assert 'cannot be read as a checkpoint' in failure(
        capsys, workplace, 'upscale', 'photos', '-o', 'out', '-m', 'harmful.pth'
    )
    assert not os.path.exists('harmed')


def test_a_full_disk_ends_the_run_in_one_line_without_partial_files(workplace, capsys, monkeypatch):
    model = workplace.stock()
    for name in 'abc':
        workplace.photo(f'photos/{name}.png')

    def replace(source, target):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'replace', replace)
    monkeypatch.setattr('basicsr_plugin.atomic.BACK_OFF', ())
    line = failure(capsys, workplace, 'upscale', 'photos', '-o', 'out', '-m', model)
    assert "cannot write 'out/a.png': No space left on device" in line
    assert 'then run the same command to resume' in line
    assert os.listdir('out') == []


def test_a_killed_run_leaves_no_partial_file_and_is_resumed(workplace, capsys):
    model = workplace.stock()
    for number in range(12):
        workplace.photo(f'photos/{number:02d}.png', (200, 200))
    process = workplace.start('upscale', 'photos', '-o', 'out', '-m', model, '--tile', '32')
    out = workplace.path / 'out'
    deadline = time.monotonic() + 120
    while len(list(out.glob('*.png'))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = {path.name: path.stat().st_mtime_ns for path in out.glob('*.png')}
    assert 3 <= len(made) < 12
    for name in made:
        Image.open(out / name).load()  # complete
    assert workplace.run('upscale', 'photos', '-o', 'out', '-m', model, '--tile', '32') == 0
    assert f'{12 - len(made)} photos upscaled, {len(made)} existed' in capsys.readouterr().out
    assert {name: (out / name).stat().st_mtime_ns for name in made} == made
    assert len(list(out.glob('*.png'))) == 12


def test_two_processes_share_a_folder_without_doing_the_same_work(workplace):
    model = workplace.stock()
    for number in range(8):
        workplace.photo(f'photos/{number}.png', (150, 150))
    both = [workplace.start('upscale', 'photos', '-o', 'out', '-m', model, '--tile', '32') for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(int(one.split(': ')[1].split()[0]) for one in outputs) == 8
    assert len(os.listdir('out')) == 8


def test_the_output_folder_inside_the_input_is_no_input(workplace, capsys):
    model = workplace.stock()
    workplace.photo()
    for _ in range(2):
        assert workplace.run('upscale', 'photos', '-o', 'photos/large', '-m', model) == 0
    summary = capsys.readouterr().out.splitlines()[1]
    assert summary.startswith('photos/large: 0 photos upscaled, 1 existed, 0 failed')
    assert summary.endswith('; 1 photos found')


def test_patterns_are_expanded(workplace):
    for name in ('a1', 'a2', 'b1'):
        workplace.photo(f'photos/{name}.png')
    assert [name for _, name in photo_jobs.find_photos(['photos/a*.png'])] == ['a1.png', 'a2.png']


def test_info_names_network_licence_and_source(workplace, capsys):
    torch.save({'params': randomly({**RRDBNET, 'scale': 4}).state_dict(), 'license': 'CC0', 'source': 'here'}, 'a.pth')
    assert workplace.run('upscale', '--info', '-m', 'a.pth') == 0
    out = capsys.readouterr().out
    for text in ('RRDBNet', 'scale:       4', 'licence:     CC0', 'source:      here'):
        assert text in out


def test_other_networks_are_left_to_spandrel(workplace, monkeypatch, capsys):
    class Descriptor:
        model = torch.nn.Upsample(scale_factor=3)

        def __call__(self, x):
            return self.model(x)

    loader = SimpleNamespace(load_from_state_dict=lambda state: Descriptor())
    module = SimpleNamespace(ModelLoader=lambda device: loader)
    monkeypatch.setitem(sys.modules, 'spandrel', module)
    torch.save({'params': {'a.weight': torch.zeros(3)}}, 'other.pth')
    workplace.photo()
    assert workplace.run('upscale', 'photos', '-o', 'out', '-m', 'other.pth') == 0
    assert pixels('out/photo.png').shape == (90, 123, 3)
    loader.load_from_state_dict = lambda state: 1 / 0
    line = failure(capsys, workplace, 'upscale', 'photos', '-o', 'out', '-m', 'other.pth')
    assert '-m: spandrel does not recognise other.pth (division by zero); use -opt' in line


def test_a_network_with_fusion_and_weights_of_its_backbone_alone_is_noted(workplace, capsys):
    workplace.conditioned()
    torch.save(randomly(NETWORK_G['backbone']).state_dict(), 'net_g.pth')
    workplace.photo()
    assert workplace.run('upscale', 'photos', '-o', 'out', '-m', 'net_g.pth', '-opt', 'options.yml') == 0
    assert 'net_g.pth has no fusion weights: the prior has no trained effect' in capsys.readouterr().err


def test_the_option_file_names_the_weights_where_no_model_is_given(workplace, monkeypatch):
    workplace.conditioned()
    workplace.photo()
    arguments = ['upscale', str(workplace.path / 'photos'), '-o', str(workplace.path / 'out'), '-opt']
    (workplace.path / 'elsewhere').mkdir()
    monkeypatch.chdir('elsewhere')
    assert workplace.run(*arguments, '../options.yml') == 0  # weights next to the option file


def test_levels_are_those_that_the_estimator_was_trained_for(workplace, capsys):
    model = workplace.conditioned('nominal')
    workplace.photo()
    line = failure(capsys, workplace, 'upscale', 'photos', '-o', 'out', *model)
    assert 'network_da.num_degradation_types: expected at most 5, the types of nominal levels, got 8' in line


def test_part_of_the_weights_is_counted_where_the_option_file_allows_it_and_refused_elsewhere(workplace, capsys):
    workplace.conditioned()
    workplace.photo()
    complete = torch.load('net_g.pth')['params']
    part = {key: value for key, value in complete.items() if 'backbone.conv_last' not in key}
    torch.save({'params': part}, 'net_g.pth')
    options = yaml.safe_load(Path('options.yml').read_text())
    options['path']['strict_load_g'] = False
    Path('part.yml').write_text(yaml.safe_dump(options))
    assert workplace.run('upscale', 'photos', '-o', 'out', '-opt', 'part.yml') == 0
    total = sum(key.startswith('backbone.') for key in complete)
    count = f'{total - 2} of {total} weights of Fused were loaded; missing: backbone.conv_last.weight'
    assert count in capsys.readouterr().err
    misfit = 'net_g.pth does not fit Fused: 2 missing: '
    assert misfit in failure(capsys, workplace, 'upscale', 'photos', '-o', 'out', '-opt', 'options.yml')
    for command in ('upscale', 'photos', '-o', 'more'), ('export', '-o', 'out.safetensors'):
        assert misfit in failure(capsys, workplace, *command, '-m', 'net_g.pth', '-opt', 'part.yml')
    torch.save({'params': {'other': torch.zeros(1)}}, 'net_g.pth')
    line = failure(capsys, workplace, 'upscale', 'photos', '-o', 'more', '-opt', 'part.yml')
    assert f'-m: net_g.pth does not fit Fused: {len(complete)} missing: ' in line
