"""Published weights of Real-ESRGAN, where they are at hand: recognised, and tiled without a visible difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from deplsr_model import Upscaler

WEIGHTS = Path(__file__).parents[4] / 'shared/data/weights/RealESRGAN_x4plus_anime_6B_fp16.pth'


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.exists(), reason=f'needs {WEIGHTS.name} in ../shared')
def test_real_esrgan_is_recognised_and_its_tiles_agree_with_the_complete_photo():
    photo = data.astronaut()[40:168, 160:320]
    complete, tiled = (Upscaler(WEIGHTS, device='cpu', tile=tile)(photo).astype(float) for tile in (0, 96))
    assert complete.shape == (512, 640, 3)
    assert 10 * np.log10(255**2 / np.square(complete - tiled).mean()) >= 45
