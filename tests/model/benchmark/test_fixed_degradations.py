"""Fixed degradations: always the same, of the stated size, and harder from mild to heavy."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_cases import write
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from basicsr_plugin.errors import UserError
from deplsr_data.degradation.records import from_json, to_json
from deplsr_model.benchmark.fixed_degradations import DEGRADATIONS, fixed_record, fixed_test_set
from deplsr_model.benchmark.pairs import bicubic
from deplsr_model.benchmark.suites import SUITES, find_suite


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / 'Kodak24/cat.png', data.chelsea()[:97, :122])
    return tmp_path


def test_a_set_has_every_degradation_of_every_image(folder):
    test_set = fixed_test_set('Kodak24', folder / 'Kodak24', 4)
    assert [pair.degradation for pair in test_set.pairs] == list(DEGRADATIONS)
    for pair in test_set.pairs:
        images = pair.load()
        assert images.gt.shape == (96, 120, 3)
        assert images.lq.shape == (24, 30, 3)
        assert images.lq.dtype == np.uint8
        assert images.key == pair.load().key


@pytest.mark.parametrize('recipe', ['semantic', 'realesrgan'])
def test_heavy_is_harder_than_medium_and_that_than_mild(folder, recipe):
    pairs = {pair.degradation: pair.load() for pair in fixed_test_set('set', folder / 'Kodak24', 4).pairs}
    found = [pairs[f'{recipe} {one}'] for one in ('mild', 'medium', 'heavy')]
    quality = [peak_signal_noise_ratio(one.gt, bicubic(one.lq, 4)) for one in found]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] - quality[2] > 1


@pytest.mark.parametrize('name', DEGRADATIONS)
def test_a_degradation_is_a_record(name):
    record = fixed_record(name, (96, 120), 4, 7)
    assert from_json(to_json(record)) == record


def test_a_suite_is_found_by_name(folder):
    assert find_suite('degradations', folder, 4, None)[0].name == 'Kodak24 degraded'
    with pytest.raises(UserError, match='expected Set5, Set14, B100, Urban100 below'):
        find_suite('bicubic', folder, 4, None)
    with pytest.raises(UserError, match='--data-root'):
        find_suite('real', None, 4, None)
    with pytest.raises(UserError, match=f'expected {", ".join(SUITES)}'):
        find_suite('reel', folder, 4, None)
