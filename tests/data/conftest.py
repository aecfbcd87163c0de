from __future__ import annotations

import numpy as np
import pytest
from skimage import data

import deplsr_data  # noqa: F401  fixes BasicSR, which the tests use as an oracle


@pytest.fixture(scope='session')
def pixels() -> np.ndarray:
    """(96, 128, 3) uint8 of a face."""
    return np.ascontiguousarray(data.astronaut()[64:160, 160:288])


@pytest.fixture(scope='session')
def photo(pixels: np.ndarray) -> np.ndarray:
    """The same, float32 in 0..1."""
    return pixels.astype(np.float32) / 255
