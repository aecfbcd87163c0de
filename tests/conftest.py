"""Settings of all tests."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault('OMP_NUM_THREADS', '1')  # tests run side by side, one process a core

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_random_numbers_for_each_test():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def real_esrgan_degradation() -> dict[str, dict[str, Any]]:
    """The degradation of a Real-ESRGAN option file in the two places where it stands: top level and training set."""
    order = {
        'resize_prob': [0.2, 0.7, 0.1],
        'resize_range': [0.5, 1.5],
        'gaussian_noise_prob': 0.5,
        'noise_range': [1, 30],
        'poisson_scale_range': [0.05, 3],
        'gray_noise_prob': 0.4,
        'jpeg_range': [30, 95],
    }
    kernels = {
        'blur_kernel_size': 21,
        'kernel_list': ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso'],
        'kernel_prob': [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
        'sinc_prob': 0.1,
        'blur_sigma': [0.2, 3],
        'betag_range': [0.5, 4],
        'betap_range': [1, 2],
    }
    both = [{f'{key}{end}': value for end in ('', '2') for key, value in part.items()} for part in (order, kernels)]
    return {
        'top': {**both[0], 'second_blur_prob': 0.8, 'gt_size': 32},
        'train': {
            'type': 'RealESRGANDataset',
            'io_backend': {'type': 'disk'},
            **both[1],
            'final_sinc_prob': 0.8,
            'gt_size': 32,
            'use_hflip': True,
            'use_rot': False,
            'num_worker_per_gpu': 0,
            'batch_size_per_gpu': 2,
        },
    }
