"""DePLSRGANModel through the stock loop: our data, pairs, and a Real-ESRGAN option file."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from urllib.error import URLError

import cv2
import pytest
import torch

GAN = {
    'network_g': {'type': 'FusedRRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 2, 'num_feat': 16, 'num_block': 2}
    | {'num_grow_ch': 8, 'prior_dim': 16},
    'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4, 'skip_connection': True},
}
ORDER = {
    'resize_prob': [0.2, 0.7, 0.1],
    'resize_range': [0.5, 1.5],
    'gaussian_noise_prob': 0.5,
    'noise_range': [1, 30],
    'poisson_scale_range': [0.05, 3],
    'gray_noise_prob': 0.4,
    'jpeg_range': [30, 95],
}
KERNELS = {
    'blur_kernel_size': 21,
    'kernel_list': ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso'],
    'kernel_prob': [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    'sinc_prob': 0.1,
    'blur_sigma': [0.2, 3],
    'betag_range': [0.5, 4],
    'betap_range': [1, 2],
}
TRAIN = {
    'ema_decay': 0.5,
    'optim_g': {'type': 'Adam', 'lr': 1e-4, 'weight_decay': 0, 'betas': [0.9, 0.99]},
    'optim_d': {'type': 'Adam', 'lr': 1e-4, 'weight_decay': 0, 'betas': [0.9, 0.99]},
    'scheduler': {'type': 'MultiStepLR', 'milestones': [400000], 'gamma': 0.5},
    'total_iter': 4,
    'warmup_iter': -1,
    'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
    'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'real_label_val': 1.0, 'fake_label_val': 0.0}
    | {'loss_weight': 1e-1},
    'net_d_iters': 1,
    'net_d_init_iters': 0,
}


@pytest.fixture
def gan(stage2, trained_adaptor):
    return {
        **stage2,
        **GAN,
        'name': 'gan',
        'model_type': 'DePLSRGANModel',
        'l1_gt_usm': True,
        'percep_gt_usm': True,
        'gan_gt_usm': False,
        'train': TRAIN,
        'path': {'pretrain_network_da': str(trained_adaptor)},
    }


@pytest.fixture
def real_esrgan(workplace, gan, stage2):
    """A Real-ESRGAN option file, key by key, in which three things were changed: see the last lines."""
    (workplace.path / 'names.txt').write_text('0.png\n1.png\n2.png\n3.png\n')
    options = {
        **{key: stage2[key] for key in ('scale', 'num_gpu', 'manual_seed')},
        'name': 'train_RealESRGANx2plus_400k_B12G4',
        'model_type': 'RealESRGANModel',
        'l1_gt_usm': True,
        'percep_gt_usm': True,
        'gan_gt_usm': False,
        **ORDER,
        'second_blur_prob': 0.8,
        **{f'{key}2': value for key, value in ORDER.items()},
        'gt_size': 32,
        'queue_size': 4,
        'datasets': {
            'train': {
                'name': 'DF2K+OST',
                'type': 'RealESRGANDataset',
                'dataroot_gt': 'photos',
                'meta_info': 'names.txt',
                'io_backend': {'type': 'disk'},
                **KERNELS,
                **{f'{key}2': value for key, value in KERNELS.items()},
                'final_sinc_prob': 0.8,
                'gt_size': 32,
                'use_hflip': True,
                'use_rot': False,
                'use_shuffle': True,
                'num_worker_per_gpu': 0,
                'batch_size_per_gpu': 2,
                'dataset_enlarge_ratio': 4,
                'prefetch_mode': None,
            }
        },
        'network_g': {**GAN['network_g'], 'type': 'RRDBNet'},
        'network_d': GAN['network_d'],
        'path': {'pretrain_network_g': None, 'param_key_g': 'params_ema', 'strict_load_g': True, 'resume_state': None},
        'train': TRAIN,
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False, 'wandb': None},
        'dist_params': {'backend': 'nccl', 'port': 29500},
    }
    options['model_type'] = 'DePLSRGANModel'
    options['network_g'] = {**options['network_g'], 'type': 'FusedRRDBNet'}
    options['network_da'] = stage2['network_da']
    options['path'] = {**options['path'], **gan['path']}
    return options


def test_a_hundred_steps_learn_and_an_interrupted_run_ends_where_an_uninterrupted_one_does(workplace, gan, caplog):
    caplog.set_level('INFO')
    changes = {'train__total_iter': 100, 'logger__save_checkpoint_freq': 50, 'val__val_freq': 100}
    assert workplace.run('train', gan, **changes) == 0
    log = caplog.text
    for name in ('l_g_pix', 'l_g_gan', 'l_d_real', 'l_d_fake'):
        assert f'{name}: ' in log
    pixel = [float(value) for value in re.findall(r'l_g_pix: (\S+)', log)]
    assert sum(pixel[-10:]) < sum(pixel[:10])
    whole = {net: torch.load(f'experiments/gan/models/net_{net}_latest.pth') for net in 'gd'}
    assert set(whole['g']) == {'params', 'params_ema'}

    assert workplace.run('train', gan, name='cut', **changes | {'train__total_iter': 50}) == 0
    assert workplace.run('train', gan, '--auto_resume', name='cut', **changes) == 0
    assert 'Resuming training from epoch' in caplog.text
    for net, key in (('g', 'params'), ('g', 'params_ema'), ('d', 'params')):
        again = torch.load(f'experiments/cut/models/net_{net}_latest.pth')[key]
        for name, value in whole[net][key].items():
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

    plain = {key: value for key, value in GAN['network_g'].items() if key not in ('type', 'prior_dim')}
    state = RRDBNet(**plain).state_dict()
    torch.save({'params_ema': state}, workplace.path / 'RealESRGAN_x2plus.pth')
    still = {'optim_g': {**TRAIN['optim_g'], 'lr': 0.0}, 'total_iter': 1}
    real_esrgan['train'] = {**TRAIN, **still}
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


def test_the_perceptual_loss_takes_part_and_missing_vgg_weights_are_one_clear_line(
    workplace, gan, monkeypatch, capsys, caplog
):
    caplog.set_level('INFO')
    from torchvision.models import vgg

    small = vgg.VGG(vgg.make_layers(vgg.cfgs['E']), num_classes=1, init_weights=False)
    small.classifier = torch.nn.Identity()
    perceptual = {'type': 'PerceptualLoss', 'layer_weights': {'conv1_2': 0.1, 'conv5_4': 1}, 'vgg_type': 'vgg19'}
    perceptual |= {'use_input_norm': True, 'range_norm': False, 'criterion': 'l1'}
    monkeypatch.setattr(vgg, 'vgg19', lambda pretrained: small)
    gan['train'] = {**TRAIN, 'perceptual_opt': perceptual}
    assert workplace.run('train', gan) == 0
    assert 'l_g_percep: ' in caplog.text

    def offline(pretrained):
        raise URLError('no route to host')

    monkeypatch.setattr(vgg, 'vgg19', offline)
    assert workplace.run('train', gan, name='offline') == 2
    error = capsys.readouterr().err
    assert 'train.perceptual_opt: the VGG weights could not be downloaded (no route to host)' in error
    assert 'Traceback' not in error
