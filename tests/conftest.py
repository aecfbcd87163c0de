"""Settings of all tests."""

from __future__ import annotations

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')  # tests run side by side, one process a core

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_random_numbers_for_each_test():
    torch.set_num_threads(1)
    torch.manual_seed(0)
