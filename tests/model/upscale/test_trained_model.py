"""What needs a trained model: tiles without seams, and edits that act in proportion."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from trained_cases import SCALE, degraded, train

from deplsr_model import Upscaler

PHOTOS = {
    'face': lambda: data.astronaut()[:256, 100:356],
    'suit': lambda: data.astronaut()[256:512, 200:456],
    'man': lambda: np.repeat(data.camera()[100:356, 100:356, None], 3, axis=2),
}


@pytest.fixture(scope='module')
def upscaler(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    train(folder)
    return Upscaler(folder / 'net_g.pth', folder / 'options.yml', device='cpu')


def lq_of(photo, blur, noise):
    torch.manual_seed(0)
    gt = torch.from_numpy(photo / np.float32(255)).movedim(2, 0)[None]
    lq = degraded(gt, torch.tensor([[blur / 3, noise / 30]]))
    return (lq[0].movedim(0, 2) * 255).round().byte().numpy()


def flat_regions(photo):
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    variance = cv2.blur(gray**2, (9, 9)) - cv2.blur(gray, (9, 9)) ** 2
    return variance < np.quantile(variance, 0.3)


def residual_noise(image, where):
    gray = image.astype(np.float32).mean(axis=2)
    return np.sqrt(np.maximum(cv2.blur(gray**2, (5, 5)) - cv2.blur(gray, (5, 5)) ** 2, 0))[where].mean()


def sharpness(image):
    return np.abs(cv2.Laplacian(image.astype(np.float32).mean(axis=2), cv2.CV_32F)).mean()


@pytest.mark.parametrize('name', PHOTOS)
def test_the_more_noise_is_assumed_the_less_is_left_on_flat_regions(upscaler, name):
    photo = PHOTOS[name]()
    lq = lq_of(photo, 0.5, 12)
    left = [residual_noise(upscaler(lq, noise=f'{edit:+d}%'), flat_regions(photo)) for edit in (-80, -40, 0, 40, 80)]
    assert all(more > less for more, less in itertools.pairwise(left)), left
    assert left[0] > 1.1 * left[-1]  # 1.17 to 1.4, by the rounding of the short training


@pytest.mark.parametrize('name', PHOTOS)
def test_the_more_blur_is_assumed_the_sharper_the_result(upscaler, name):
    lq = lq_of(PHOTOS[name](), 1.5, 2)
    sharp = [sharpness(upscaler(lq, blur=f'{edit:+g}')) for edit in (-1, -0.5, 0, 0.5, 1)]
    assert all(more < less for more, less in itertools.pairwise(sharp)), sharp
    assert sharp[-1] > 1.01 * sharp[0]


def test_tiles_agree_with_the_complete_photo_and_leave_no_seam(upscaler):
    lq = lq_of(data.astronaut(), 1.0, 8)
    found = {}
    for tile in (0, 96):
        upscaler.network.tile = tile
        found[tile] = upscaler(lq).astype(np.float64)
    error = np.square(found[0] - found[96]).mean()
    assert 10 * np.log10(255**2 / error) >= 45
    borders = np.zeros(found[0].shape[0] - 1, bool)
    for start in (0, 80, 160):  # of the tiles of 96 with 16 shared, 256 in all; see deplsr_arch.grid.starts
        for edge in (start, start + 96):
            if 0 < edge < 256:
                borders[edge * SCALE - 2 : edge * SCALE + 1] = True
    ratios = []
    for axis in (0, 1):
        tiled, complete = (np.abs(np.diff(found[tile].mean(axis=2), axis=axis)) for tile in (96, 0))
        tiled, complete = tiled.mean(axis=1 - axis), complete.mean(axis=1 - axis)
        ratios.append(tiled[borders].sum() / complete[borders].sum())
        ratios.append(tiled[~borders].sum() / complete[~borders].sum())
    assert ratios[0] / ratios[1] == pytest.approx(1, abs=0.02)
    assert ratios[2] / ratios[3] == pytest.approx(1, abs=0.02)
