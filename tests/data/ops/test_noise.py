from __future__ import annotations

import numpy as np
import pytest
from basicsr.data import degradations
from scipy import stats

from deplsr_data.ops.noise import add_gaussian_noise, add_poisson_noise

GRAY = np.full((200, 200, 3), 0.5, np.float32)


@pytest.mark.parametrize('gray', [False, True])
def test_gaussian_noise_has_the_named_mean_and_sigma(gray):
    field = (add_gaussian_noise(GRAY, 12.0, gray, seed=3) - GRAY) * 255
    assert field.mean() == pytest.approx(0, abs=0.2)
    assert field.std() == pytest.approx(12, rel=0.01)
    assert stats.kstest(field[..., 0].ravel() / 12, 'norm').pvalue > 1e-3
    assert bool((field[..., 0] == field[..., 1]).all()) is gray


@pytest.mark.parametrize('brightness', [0.1, 0.5, 0.8])
def test_poisson_noise_has_the_stated_sigma(brightness):
    clean = np.full((200, 200, 3), brightness, np.float32)
    field = add_poisson_noise(clean, 0.7, False, seed=5) - clean
    assert field.mean() == pytest.approx(0, abs=1e-3)
    assert field.std() == pytest.approx(0.7 * np.sqrt(brightness / 256), rel=0.02)


def test_poisson_noise_is_as_strong_as_basicsrs_on_a_photo(photo):
    ours = add_poisson_noise(photo, 1.0, False, seed=1) - photo
    np.random.seed(0)
    theirs = np.clip(photo + degradations.generate_poisson_noise(photo, 1.0), 0, 1) - photo
    assert ours.std() == pytest.approx(theirs.std(), rel=0.03)


def test_gray_poisson_noise_is_the_same_in_all_channels():
    field = add_poisson_noise(GRAY, 1.0, True, seed=5) - GRAY
    np.testing.assert_allclose(field[..., 0], field[..., 2], atol=1e-6)
    assert field.std() > 0.01


@pytest.mark.parametrize('add', [add_gaussian_noise, add_poisson_noise])
def test_the_field_follows_from_the_seed(add, photo):
    first = add(photo, 2.0, False, 7)
    np.testing.assert_array_equal(first, add(photo, 2.0, False, 7))
    assert not np.array_equal(first, add(photo, 2.0, False, 8))
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.parametrize('add', [add_gaussian_noise, add_poisson_noise])
def test_level_zero_is_the_identity(add, photo):
    np.testing.assert_array_equal(add(photo, 0.0, False, 7), photo)
