"""What BasicSR counts: learning rates after a warm-up, and the iteration of the last validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.errors import OptionError, UserError

apply_fixes()


def rates(scheduler, iterations, warmup, **settings):
    """Learning rates that BasicSR's model has in each iteration."""
    from basicsr.models import lr_scheduler
    from basicsr.models.base_model import BaseModel

    model = BaseModel({'num_gpu': 0, 'is_train': True})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    model.optimizers = [optimizer]
    model.schedulers = [getattr(lr_scheduler, scheduler)(optimizer, **settings)]
    found = []
    for iteration in range(1, iterations + 1):
        model.update_learning_rate(iteration, warmup_iter=warmup)
        found += model.get_current_learning_rate()
        optimizer.step()
    return found


def test_the_rate_after_a_warm_up_is_that_of_the_schedule():
    assert rates('MultiStepRestartLR', 6, 4, milestones=[100]) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_milestones_within_and_after_a_warm_up_count():
    plain = rates('MultiStepRestartLR', 8, -1, milestones=[2, 6], gamma=0.5)
    warm = rates('MultiStepRestartLR', 8, 4, milestones=[2, 6], gamma=0.5)
    assert plain[3:] == pytest.approx(warm[3:])
    assert warm[:3] == pytest.approx([0.25, 0.5, 0.75])


@pytest.mark.parametrize('warmup', [-1, 1, 3])
def test_a_cosine_schedule_is_what_it_was(warmup):
    settings = {'periods': [8], 'eta_min': 0.1}
    plain = rates('CosineAnnealingRestartLR', 8, -1, **settings)
    assert rates('CosineAnnealingRestartLR', 8, warmup, **settings)[3:] == pytest.approx(plain[3:])


def test_the_last_validation_has_the_number_of_the_last_iteration(workplace):
    opt = workplace.options(val__val_freq=3, val__save_img=True)
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 0
    assert '@ 4 iter' in workplace.log()
    assert '@ 5 iter' not in workplace.log()
    written = {path.stem for path in (workplace.path / 'experiments/run/visualization').rglob('*.png')}
    assert {name for name in written if name.startswith('0_')} == {'0_3', '0_4'}


@pytest.mark.parametrize(
    'network',
    [
        {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 5},
        {'type': 'SwinIR', 'embed_dim': 30, 'depths': [2], 'num_heads': [7]},
        {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'act_type': 'rleu'},
        {'type': 'MSRResNet', 'num_feat': 0},
    ],
)
def test_a_network_that_cannot_be_built_is_one_line(workplace, network, capsys):
    opt = workplace.options(network_g=network)
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('basicsr: error: ')]
    assert len(errors) == 1
    assert 'network_' in errors[0]


def test_a_network_that_can_be_built_is_that_of_basicsr():
    from basicsr.archs import build_network

    with pytest.raises(OptionError, match=r'^network_\*: EDSR cannot be built with these arguments: ValueError'):
        build_network({'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 5})
    assert type(build_network({'type': 'MSRResNet', 'num_block': 1})).__name__ == 'MSRResNet'


@pytest.mark.parametrize(
    ('metric', 'sides', 'line'),
    [
        (
            {'type': 'calculate_niqe', 'crop_border': 0},
            (95,),
            'expected output images of 96 pixels or more for calc',
        ),
        (
            {'type': 'calculate_ssim', 'crop_border': 4},
            (18, 18),
            'expected output images of 19 pixels or more for calc',
        ),
        (
            {'type': 'calculate_psnr', 'crop_border': 8},
            (16, 16),
            'expected output images of 17 pixels or more for calc',
        ),
        (
            {'type': 'calculate_psnr', 'crop_border': 0},
            (16, 32),
            'expected an output of 32x32 pixels, the size of GT',
        ),
    ],
)
def test_a_metric_of_images_that_it_cannot_measure_is_one_line(metric, sides, line):
    from basicsr.metrics import calculate_metric

    images = [np.zeros((side, side, 3), np.uint8) for side in sides]
    with pytest.raises(UserError, match=line):
        calculate_metric(dict(zip(('img', 'img2'), images, strict=False)), metric)
