"""DePLSRGANModel through the stock loop: our data, pairs, and a Real-ESRGAN option file."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

import cv2
import torch


def test_a_hundred_steps_learn_and_an_interrupted_run_ends_where_an_uninterrupted_one_does(workplace, gan, caplog):
    caplog.set_level('INFO')
    changes = {'train__total_iter': 100, 'logger__save_checkpoint_freq': 50, 'val__val_freq': 100}
    changes['train__prior_dropout'] = 0.3
    assert workplace.run('train', gan, **changes) == 0
    log = caplog.text
    for name in ('l_g_pix', 'l_g_gan', 'l_d_real', 'l_d_fake'):
        assert f'{name}: ' in log
    pixel = [float(value) for value in re.findall(r'l_g_pix: (\S+)', log)]
    assert sum(pixel[-10:]) < sum(pixel[:10])
    complete = {net: torch.load(f'experiments/gan/models/net_{net}_latest.pth') for net in 'gd'}
    assert set(complete['g']) == {'params', 'params_ema'}

    assert workplace.run('train', gan, name='cut', **changes | {'train__total_iter': 50}) == 0
    assert workplace.run('train', gan, '--auto_resume', name='cut', **changes) == 0
    assert 'Resuming training from epoch' in caplog.text
    for net, key in (('g', 'params'), ('g', 'params_ema'), ('d', 'params')):
        again = torch.load(f'experiments/cut/models/net_{net}_latest.pth')[key]
        for name, value in complete[net][key].items():
            torch.testing.assert_close(again[name], value, atol=1e-6, rtol=1e-5, msg=f'{net} {key} {name}')


def test_a_real_esrgan_option_file_runs_with_three_changes(workplace, real_esrgan, caplog):
    caplog.set_level('INFO')
    assert workplace.run('train', real_esrgan) == 0
    assert 'iter:       4' in caplog.text
    state = torch.load(f'experiments/{real_esrgan["name"]}/models/net_g_latest.pth')['params']
    assert any(key.startswith('fusion_blocks.') for key in state)


def test_a_real_esrgan_training_script_runs_it_with_one_more_import(workplace, real_esrgan):
    script = workplace.path / 'train.py'
    script.write_text(
        textwrap.dedent("""
            import os.path as osp
            import deplsr_arch, deplsr_data, deplsr_model
            from basicsr.train import train_pipeline

            if __name__ == '__main__':
                root_path = osp.abspath(osp.join(__file__, osp.pardir))
                train_pipeline(root_path)
        """)
    )
    line = [sys.executable, 'train.py', '-opt', workplace.write(real_esrgan), '--auto_resume']
    done = subprocess.run(line, cwd=workplace.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'iter:       4' in done.stdout + done.stderr


def test_a_missing_degradation_key_of_real_esrgan_is_named(workplace, real_esrgan, capsys):
    del real_esrgan['jpeg_range2']
    assert workplace.run('train', real_esrgan) == 2
    assert "missing key 'jpeg_range2'" in capsys.readouterr().err


def test_fine_tuning_starts_from_the_published_weights_and_the_average_from_the_same_fusion(
    workplace, real_esrgan, caplog
):
    caplog.set_level('INFO')
    from basicsr.archs.rrdbnet_arch import RRDBNet

    plain = {key: value for key, value in real_esrgan['network_g'].items() if key not in ('type', 'prior_dim')}
    state = RRDBNet(**plain).state_dict()
    torch.save({'params_ema': state}, workplace.path / 'RealESRGAN_x2plus.pth')
    train = real_esrgan['train']
    real_esrgan['train'] = {**train, 'optim_g': {**train['optim_g'], 'lr': 0.0}, 'total_iter': 1}
    real_esrgan['path']['pretrain_network_g'] = 'RealESRGAN_x2plus.pth'
    assert workplace.run('train', real_esrgan) == 0
    name = real_esrgan['name']
    assert len(re.findall('has no fusion weights', caplog.text)) == 1
    saved = torch.load(f'experiments/{name}/models/net_g_latest.pth')
    for key, value in state.items():
        assert torch.equal(saved['params'][f'backbone.{key}'], value)
    for key, value in saved['params'].items():
        torch.testing.assert_close(saved['params_ema'][key], value, atol=1e-6, rtol=0)


def test_plain_pairs_are_sharpened_where_the_target_shall_be(workplace, gan):
    (workplace.path / 'lr').mkdir()
    for path in sorted((workplace.path / 'photos').iterdir()):
        photo = cv2.imread(str(path))
        cv2.imwrite(str(workplace.path / 'lr' / path.name), cv2.resize(photo, None, fx=0.5, fy=0.5))
    pairs = {'name': 'pairs', 'type': 'PairedImageDataset', 'dataroot_gt': 'photos', 'dataroot_lq': 'lr'}
    pairs |= {'io_backend': {'type': 'disk'}, 'gt_size': 32, 'use_hflip': True, 'use_rot': False}
    pairs |= {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'dataset_enlarge_ratio': 4}
    assert workplace.run('train', gan, datasets__train=pairs) == 0


def test_the_discriminator_is_compiled_without_cuda_graphs(workplace, gan, monkeypatch):
    modes = []
    monkeypatch.setattr(torch, 'compile', lambda function, mode=None, **_: modes.append(mode) or function)
    assert workplace.run('train', gan, compile='reduce-overhead', train__total_iter=1) == 0
    assert modes == ['reduce-overhead', None, None, None]  # training and evaluation, generator and discriminator
