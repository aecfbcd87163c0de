"""Every fix: the fault without it (faults.py, in its own process), and its absence with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from basicsr_plugin import compat
from basicsr_plugin.errors import UserError

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='the fault shows without CUDA')


@pytest.fixture(scope='module')
def faults(tmp_path_factory):
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name('faults.py')],
        cwd=tmp_path_factory.mktemp('faults'),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture
def real_esrgan(workplace, real_esrgan_degradation):
    """Returns the options of a run on RealESRGANDataset by the type of its model."""

    def options(model_type):
        opt = workplace.options('val', 'datasets__val', model_type=model_type, train__total_iter=2)
        opt.update(real_esrgan_degradation['top'], gt_usm=True, queue_size=2)
        (workplace.path / 'names.txt').write_text('0.png\n1.png\n2.png\n3.png\n')
        data = {'name': 'tiny', 'dataroot_gt': 'gt', 'meta_info': 'names.txt'}
        opt['datasets']['train'] = {**real_esrgan_degradation['train'], **data}
        return opt

    return options


def test_fixing_again_changes_nothing():
    applied = compat.apply_fixes()
    assert applied == compat.apply_fixes()
    assert not any(fix() for fix in compat.FIXES.values())


def test_import_of_basicsr(faults):
    if 'functional_tensor' in compat.apply_fixes():
        assert faults['functional_tensor'].startswith('ModuleNotFoundError')
    from torchvision.transforms.functional import rgb_to_grayscale
    from torchvision.transforms.functional_tensor import rgb_to_grayscale as aliased

    assert aliased is rgb_to_grayscale


def test_replacement_leaves_a_torchvision_that_has_the_module_alone(tmp_path):
    package = tmp_path / 'torchvision' / 'transforms'
    package.mkdir(parents=True)
    (tmp_path / 'torchvision' / '__init__.py').touch()
    (package / '__init__.py').touch()
    (package / 'functional_tensor.py').write_text('rgb_to_grayscale = "its own"')
    code = (
        'from basicsr_plugin.compat import alias_functional_tensor as alias; alias(); alias()\n'
        'from torchvision.transforms.functional_tensor import rgb_to_grayscale as found\n'
        'import sys; sys.exit(found != "its own")'
    )
    root = Path(compat.__file__).parents[1]
    subprocess.run([sys.executable, '-c', code], env={'PYTHONPATH': f'{tmp_path}:{root}'}, check=True)


@without_gpu
def test_resume_needs_cuda_without_the_fix(faults):
    assert 'RuntimeError' in faults['resume'] or 'AssertionError' in faults['resume']


def test_options_and_forced_values_run_code_without_the_fix(faults):
    # what test_parse_options shows to be refused
    assert faults['options'] == faults['force_yml'][0]
    assert Path(faults['options']).name.startswith('faults')


def test_sampler_yields_bare_numbers_without_the_fix(faults):
    assert faults['sampler'] == ['int']


def test_averaged_network_gets_the_batch_norm_statistics(faults):
    assert faults['ema'] == 0
    compat.apply_fixes()
    from basicsr.models.base_model import BaseModel

    model = BaseModel({'num_gpu': 0, 'is_train': True})
    model.net_g, model.net_g_ema = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    model.net_g(torch.rand(2, 2, 4, 4) + 5)
    torch.nn.init.constant_(model.net_g.weight, 3)
    model.model_ema(0.5)
    assert torch.equal(model.net_g_ema.running_mean, model.net_g.running_mean)
    assert model.net_g_ema.num_batches_tracked == 1
    assert torch.equal(model.net_g_ema.weight, torch.full((2,), 2.0))


def test_a_step_of_a_stock_model_that_is_not_finite_is_skipped(faults, workplace, monkeypatch, capsys):
    from basicsr.models.sr_model import SRModel

    assert faults['steps'] == 'nan'
    feed, fed = SRModel.feed_data, []

    def feed_data(self, data):
        feed(self, data)
        fed.append(1)
        if len(fed) >= 2:
            self.lq[0, 0, 0, 0] = float('nan')

    monkeypatch.setattr(SRModel, 'feed_data', feed_data)
    opt = workplace.options('val', 'datasets__val', train__max_skipped_steps=2)
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 2
    assert 'Step is skipped: gradients are not finite in iteration 2, batch: ' in workplace.log()
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('basicsr: error: train: 2 steps in a row, the last: gradients are not finite in iteration 3')
    weights = torch.load('experiments/run/models/net_g_2.pth', weights_only=True)
    assert all(value.isfinite().all() for state in weights.values() for value in state.values())


def test_weights_that_do_not_fit_end_in_one_line(faults, tmp_path):
    assert faults['load_network'].startswith('RuntimeError')
    compat.apply_fixes()
    from basicsr.models.base_model import BaseModel

    model, net, path = BaseModel({'num_gpu': 0, 'is_train': True}), torch.nn.Conv2d(1, 1, 1), tmp_path / 'net.pth'
    torch.save({'params': {'weight': torch.ones(1, 1, 1, 1), 'gain': torch.ones(1)}}, path)
    with pytest.raises(UserError, match=r'net.pth does not fit Conv2d: 1 missing: bias; 1 unexpected: gain; '):
        model.load_network(net, str(path))
    model.load_network(net, str(path), strict=False)
    assert net.weight.item() == 1


@without_gpu
@pytest.mark.parametrize('model_type', ['RealESRNetModel', 'RealESRGANModel'])
def test_real_esrgan_trains_on_the_cpu(faults, workplace, real_esrgan, model_type):
    assert 'RuntimeError' in faults['real_esrgan'] or 'AssertionError' in faults['real_esrgan']
    opt = real_esrgan(model_type)
    if model_type == 'RealESRGANModel':
        opt.update(network_d={'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4})
        opt.update(l1_gt_usm=True, percep_gt_usm=True, gan_gt_usm=False)
        opt['train'].update(optim_d={'type': 'Adam', 'lr': 1e-4})
        opt['train'].update(gan_opt={'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1})
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 0
    assert 'iter:       2' in workplace.log()  # the pool of pairs was full after the first


@without_gpu
def test_launcher_needs_cuda_without_the_fix(faults):
    # test_command runs it with the fix, under torchrun
    assert 'Error' in faults['distributed']


def test_error_in_a_prefetching_thread_reaches_the_loop(faults):
    assert faults['prefetch'] == 'nothing to take'  # BasicSR would wait here forever
    compat.apply_fixes()
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    def batches():
        yield 'batch'
        raise OSError('disk gone')

    generator = PrefetchGenerator(batches(), 1)
    assert next(generator) == 'batch'
    with pytest.raises(OSError, match='disk gone'):
        next(generator)
    assert list(PrefetchGenerator(iter('ab'), 1)) == ['a', 'b']


def test_random_jpeg_takes_any_quality(faults):
    if 'jpeg' in compat.apply_fixes():
        assert 'imencode' in faults['jpeg']
    from basicsr.data.degradations import add_jpg_compression, random_add_jpg_compression

    img = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    assert np.array_equal(add_jpg_compression(img, 60.9), add_jpg_compression(img, 60))
    assert random_add_jpg_compression(img, (30, 95)).shape == img.shape


def test_blur_of_real_esrgan_agrees_with_opencv_in_any_memory_order(faults):
    if 'filter2d' in compat.apply_fixes():
        assert 'view size is not compatible' in faults['filter2d']
    from basicsr.models import realesrnet_model

    generator = np.random.default_rng(0)
    images = generator.random((2, 9, 8, 3), dtype=np.float32)
    kernels = generator.random((2, 3, 3), dtype=np.float32)
    got = realesrnet_model.filter2D(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(kernels))
    for image, kernel, blurred in zip(images, kernels, got, strict=True):
        expected = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        np.testing.assert_allclose(blurred.permute(1, 2, 0), expected, atol=1e-5)


def test_an_image_that_is_not_finite_is_an_error(faults):
    assert faults['tensor2img'] == 0  # black
    compat.apply_fixes()
    from basicsr.utils import tensor2img

    with pytest.raises(UserError, match='an output image has NaN or infinity'):
        tensor2img([torch.full((3, 2, 2), torch.nan)])
    assert tensor2img([torch.ones(3, 2, 2)]).max() == 255


def test_what_cannot_be_saved_is_ignored_without_the_fix(faults):
    assert faults['saving'] == 'carried on'  # test_saving.py has the fixed behaviour


def test_archiving_twice_in_a_second_fails_without_the_fix(faults):
    assert faults['archive'].startswith('OSError')
