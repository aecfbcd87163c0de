"""Parts of BasicSR that need no fix with today's libraries, so that one which stops working is noticed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from basicsr_plugin.compat import apply_fixes

apply_fixes()


def textured(size=192):
    generator = np.random.default_rng(0)
    smooth = cv2.resize(generator.integers(0, 256, (24, 24, 3), dtype=np.uint8), (size, size))
    return np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def test_niqe_is_worse_for_a_noisy_photo():
    from basicsr.metrics import calculate_niqe
    from skimage import data

    photo = data.astronaut()[:288, :288, ::-1]
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 40, photo.shape), 0, 255).astype(np.uint8)
    assert 2 < calculate_niqe(photo, 0) < calculate_niqe(noisy, 0)


def test_psnr_and_ssim_agree_with_scikit_image():
    from basicsr.metrics import calculate_psnr, calculate_ssim
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    clean = textured()
    noisy = np.clip(clean + np.random.default_rng(1).normal(0, 5, clean.shape), 0, 255).astype(np.uint8)
    assert calculate_psnr(noisy, clean, 0) == pytest.approx(peak_signal_noise_ratio(clean, noisy), abs=1e-6)
    expected, full = structural_similarity(
        clean[..., 0], noisy[..., 0], gaussian_weights=True, use_sample_covariance=False, data_range=255, full=True
    )
    del expected
    one = np.repeat(clean[..., :1], 3, 2), np.repeat(noisy[..., :1], 3, 2)
    assert calculate_ssim(*one, 0) == pytest.approx(full[5:-5, 5:-5].mean(), abs=2e-3)


@pytest.mark.parametrize(
    'kernel_type', ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
)
def test_kernels_of_real_esrgan_sum_to_one(kernel_type):
    from basicsr.data.degradations import random_mixed_kernels

    np.random.seed(0)
    kernel = random_mixed_kernels([kernel_type], [1], 21, noise_range=[0.75, 1.25])
    assert kernel.shape == (21, 21)
    assert kernel.sum() == pytest.approx(1)


def test_noise_of_real_esrgan_keeps_shape_and_range():
    from basicsr.data import degradations

    img = textured(32).astype(np.float32) / 255
    batch = torch.from_numpy(img).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
    for grey in (0, 1):
        for add in (degradations.random_add_gaussian_noise, degradations.random_add_poisson_noise):
            assert add(img, gray_prob=grey).shape == img.shape
        for add in (degradations.random_add_gaussian_noise_pt, degradations.random_add_poisson_noise_pt):
            noisy = add(batch, gray_prob=grey)
            assert noisy.shape == batch.shape
            assert 0 <= noisy.min() <= noisy.max() <= 1


def test_lmdb_holds_the_same_pairs_as_the_folder(workplace):
    from basicsr.data import build_dataset
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    opt = {**workplace.options()['datasets']['val'], 'scale': 2, 'phase': 'val'}
    names = [str(index) for index in range(4)]
    for folder in ('gt', 'lq'):
        make_lmdb_from_imgs(folder, f'{folder}.lmdb', [f'{name}.png' for name in names], names)
    stored = {**opt, 'dataroot_gt': 'gt.lmdb', 'dataroot_lq': 'lq.lmdb', 'io_backend': {'type': 'lmdb'}}
    folder, lmdb = build_dataset(opt), build_dataset(stored)
    assert len(folder) == len(lmdb) == 4
    by_name = {str(item['gt_path']).split('/')[-1].split('.')[0]: item for item in (folder[i] for i in range(4))}
    for index in range(4):
        item = lmdb[index]
        assert torch.equal(item['gt'], by_name[item['gt_path']]['gt'])
        assert torch.equal(item['lq'], by_name[item['gt_path']]['lq'])
