from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from skimage import data

from basicsr_plugin import cli
from basicsr_plugin.errors import UserError
from basicsr_plugin.parse_options import read_yaml
from deplsr_model import Upscaler, describe
from deplsr_model.tiling import Tile
from deplsr_model.upscaling.photo_prior import local_prior, observe
from deplsr_model.upscaling.tile_size import bytes_per_pixel, choose_tile, free_memory, is_out_of_memory

PHOTO = data.astronaut()[100:148, 150:214]


@pytest.fixture
def stock(workplace):
    return Upscaler(workplace.stock(), device='cpu', tile=0)


@pytest.fixture
def upscaler(workplace):
    workplace.conditioned()
    return Upscaler('net_g.pth', 'options.yml', device='cpu', tile=0)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize('channels', [0, 3, 4])
def test_arrays_keep_their_type_and_channels(stock, dtype, channels):
    photo = PHOTO.astype(dtype) * (257 if dtype is np.uint16 else 1)
    photo = photo / np.float32(255) if dtype is np.float32 else photo
    photo = photo[..., 0] if channels == 0 else np.dstack([photo, photo[..., 0]])[..., :channels]
    large = stock(photo)
    assert large.dtype == dtype
    assert large.shape == (96, 128, *photo.shape[2:])


@pytest.mark.parametrize(
    ('mode', 'returned'), [('L', 'L'), ('RGB', 'RGB'), ('RGBA', 'RGBA'), ('P', 'RGB'), ('LA', 'RGBA')]
)
def test_pil_images_keep_their_mode(stock, mode, returned):
    large = stock(Image.fromarray(PHOTO).convert(mode))
    assert (large.mode, large.size) == (returned, (128, 96))


def test_the_result_is_that_of_basicsr_test(workplace, stage2):
    workplace.conditioned()
    workplace.photo('photos/photo.png', (48, 64))
    options = read_yaml('options.yml')
    options['datasets'] = {
        'test': {
            'name': 'photos',
            'type': 'SingleImageDataset',
            'dataroot_lq': 'photos',
            'io_backend': {'type': 'disk'},
        }
    }
    options['val'] = {'save_img': True, 'suffix': 'x'}
    workplace.path.joinpath('test.yml').write_text(yaml.safe_dump(_plain(options)))
    assert cli.main(['test', '-opt', 'test.yml']) == 0
    expected = np.asarray(Image.open('results/small/visualization/photos/photo_x.png'))
    large = Upscaler('net_g.pth', 'options.yml', device='cpu', tile=0)(np.asarray(Image.open('photos/photo.png')))
    assert np.array_equal(large, expected)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def test_an_edit_of_0_percent_and_full_strength_change_no_bit(upscaler):
    expected = upscaler(PHOTO)
    for choices in ({'noise': '0%'}, {'noise': '+0%', 'blur': '-0'}, {'strength': 1.0}, {'prior': 'estimated'}):
        assert np.array_equal(upscaler(PHOTO, **choices), expected)
    assert not np.array_equal(upscaler(PHOTO, noise='30'), expected)


def test_no_strength_is_no_prior(upscaler):
    expected = upscaler(PHOTO, prior='none')
    assert np.array_equal(upscaler(PHOTO, strength=0), expected)
    assert not np.array_equal(upscaler(PHOTO), expected)
    assert not np.array_equal(upscaler(PHOTO, strength=0.5), expected)


def test_stated_captions_replace_the_estimate(upscaler):
    captions = 'noise with sigma:25.0'
    found = [upscaler.enlarge(photo, upscaler.steering(prior=captions)) for photo in (PHOTO, PHOTO[:, ::-1])]
    assert not np.array_equal(found[0], upscaler(PHOTO))
    steering = upscaler.steering(prior=captions, noise='-40%')
    assert dict(zip(*_named(upscaler.used(PHOTO, steering)), strict=True))['noise'] == pytest.approx(15)


def _named(estimate):
    return estimate.names, estimate.levels


def test_mistakes_in_choices_are_one_line(upscaler, stock):
    with pytest.raises(UserError, match="--nois: the model estimates no level called 'nois'; did you mean 'noise'"):
        upscaler(PHOTO, nois='-50%')
    with pytest.raises(UserError, match="'strong noise' is no caption"):
        upscaler(PHOTO, prior='strong noise')
    with pytest.raises(UserError, match='--noise: expected a model with a degradation estimator, got SRVGGNetCompact'):
        stock(PHOTO, noise='-50%')


@pytest.mark.parametrize('error', [RuntimeError('CUDA out of memory'), torch.OutOfMemoryError('x'), MemoryError()])
def test_tiles_shrink_when_memory_runs_out(workplace, capsys, error):
    upscaler = Upscaler(workplace.stock(), device='cpu', tile=128)
    photo = data.astronaut()[:200, :180]
    expected = Upscaler(workplace.stock(), device='cpu', tile=64)(photo)
    run = upscaler.network.run

    def limited(x, *prior):
        if x.shape[-1] > 70:
            raise error
        return run(x, *prior)

    upscaler.network.run = limited
    assert np.array_equal(upscaler(photo), expected)
    assert upscaler.tile == 64
    assert capsys.readouterr().err == 'basicsr: warning: out of memory; tiles are 64 pixels from here on\n'


def test_memory_that_does_not_suffice_for_the_smallest_tile_is_one_line(workplace):
    upscaler = Upscaler(workplace.stock(), device='cpu', tile=64)

    def never(x):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    upscaler.network.run = never
    with pytest.raises(UserError, match='expected memory for tiles of 32 pixels, got too little on cpu'):
        upscaler(data.astronaut()[:200, :200])


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    assert not is_out_of_memory(RuntimeError('shapes do not fit'))
    assert not is_out_of_memory(ValueError('out of memory'))


def test_the_tile_follows_the_free_memory():
    assert choose_tile(1000, 2 * 10**9) == 512
    assert choose_tile(10_000, 2 * 10**9) == 256
    assert choose_tile(10_000, 10**6) == 32
    assert choose_tile(10_000, None) == 256
    assert (free_memory(torch.device('cpu')) or 1) > 0


def test_the_memory_of_a_pixel_is_that_of_the_tensors_that_live_together():
    device = torch.device('cpu')

    def two(x):  # 12 bytes of the input's copy and 12 of the sum's, a pixel
        y = x + 1
        return y + y

    one = bytes_per_pixel(lambda x: x + 1, device)
    assert bytes_per_pixel(two, device) == pytest.approx(2 * one)
    assert bytes_per_pixel(lambda x: [x + 1 for _ in range(1)] and x * 2, device) == pytest.approx(one)
    assert one == 24


def test_the_tile_is_chosen_when_none_is_given(workplace):
    workplace.conditioned()
    assert Upscaler('net_g.pth', 'options.yml', device='cpu').tile in (32, 64, 96, 128, 192, 256, 384, 512)


def test_a_large_photo_is_estimated_from_crops(upscaler):
    photo = np.tile(data.astronaut(), (3, 3, 1))[:1100, :1300]
    seen = []
    net = upscaler.model.estimator
    run = net.features
    net.features = lambda lq: seen.append(tuple(lq.shape)) or run(lq)
    upscaler.estimate(photo)
    assert seen == [(1, 3, 256, 256)] * 16


def test_a_local_prior_varies_over_the_photo_and_agrees_with_the_global_one_on_an_even_photo(upscaler):
    even = np.tile(data.astronaut()[:64, :64], (6, 6, 1))
    at = local_prior(upscaler.estimator, even, torch.device('cpu'), ())
    corners = [at(Tile(top, left, 32, 32))[1] for top in (0, 352) for left in (0, 352)]
    whole = upscaler.estimator.prior(observe(upscaler.estimator, even, torch.device('cpu')))[1]
    for corner in corners:
        assert (corner - whole).abs().max() < 0.2 * whole.abs().max()
    pasted = even.copy()
    pasted[:, 192:] = 128
    at = local_prior(upscaler.estimator, pasted, torch.device('cpu'), ())
    left, middle, right = (at(Tile(100, place, 64, 64))[1] for place in (0, 160, 320))
    assert (left - right).abs().max() > 3 * (corners[0] - corners[1]).abs().max()
    span = (left - right).abs()
    assert ((middle - left).abs() <= span + 1e-5).float().mean() > 0.9
    assert upscaler(pasted, local=True).shape == (768, 768, 3)
    assert not np.array_equal(upscaler(pasted, local=True), upscaler(pasted))


def test_bf16_is_close_to_fp32(workplace):
    large = [Upscaler(workplace.stock(), device='cpu', precision=one)(PHOTO).astype(int) for one in ('fp32', 'bf16')]
    assert 0 < np.abs(large[0] - large[1]).max() < 12


def test_a_network_that_cannot_be_compiled_runs_as_it_is(workplace, monkeypatch, capsys):
    def failing(net, dynamic):
        def run(*inputs):
            raise RuntimeError('no compiler')

        return run

    monkeypatch.setattr(torch, 'compile', failing)
    expected = Upscaler(workplace.stock(), device='cpu')(PHOTO)
    assert np.array_equal(Upscaler(workplace.stock(), device='cpu', compiled=True)(PHOTO), expected)
    assert '--compile: this machine cannot compile the network (no compiler)' in capsys.readouterr().err


def test_the_network_runs_again_to_reach_a_scale(stock):
    assert [stock.passes(scale) for scale in (None, 1, 2, 3, 4, 8, 16)] == [1, 1, 1, 2, 2, 3, 4]
    progress = []
    stock.enlarge(PHOTO, scale=4, progress=progress.append)
    assert progress == sorted(progress)
    assert progress[-1] == 1


def test_describe_takes_an_upscaler_or_a_path(upscaler, stock):
    found = describe(PHOTO, upscaler)
    by_path = describe(Image.fromarray(PHOTO), 'net_g.pth', 'options.yml')  # on a GPU if there is one
    assert by_path.names == found.names
    assert by_path.levels == pytest.approx(found.levels, abs=0.01)
    assert found.names[:2] == ('blur', 'noise')
    for low, level, high in zip(found.low, found.levels, found.high, strict=True):
        assert low <= level <= high
    with pytest.raises(UserError, match='expected one with a degradation estimator, got SRVGGNetCompact'):
        describe(PHOTO, stock)


PEAK = """
import resource, sys
import numpy as np
import torch
from deplsr_model import Upscaler
torch.set_num_threads(1)
photo = np.random.default_rng(0).integers(0, 256, (int(sys.argv[1]), int(sys.argv[2]), 3), dtype=np.uint8)
large = Upscaler('stock.pth', device='cpu', tile=256)(photo)
assert large.shape == (4 * photo.shape[0], 4 * photo.shape[1], 3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, large.nbytes + photo.nbytes)
"""


def peak(height, width):
    """Peak memory of a process in bytes, and the bytes of input and output."""
    run = subprocess.run(
        [sys.executable, '-c', PEAK, str(height), str(width)], capture_output=True, text=True, check=True
    )
    return tuple(map(int, run.stdout.split()))


def test_3_megapixels_at_x4_stay_below_3_gigabytes_and_memory_grows_by_input_and_output_only(workplace):
    workplace.stock(num_feat=32, num_conv=4, upscale=4)
    small, small_arrays = peak(500, 2000)
    large, large_arrays = peak(1500, 2000)
    assert large < 3e9
    assert large - small < 1.25 * (large_arrays - small_arrays)
