"""The rule behind all reference numbers, compared with its own check values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from weight_rule import weight

CHECKS = json.loads((Path(__file__).parent / 'golden' / 'weight_rule_check.json').read_text())['keys']


@pytest.mark.parametrize('check', CHECKS, ids=lambda check: check['key'])
def test_the_weight_rule_returns_the_check_values(check):
    values = weight(check['key'], check['shape'])
    np.testing.assert_allclose(values.ravel()[: len(check['first'])], check['first'], rtol=1e-6)
    np.testing.assert_allclose(values.astype(np.float64).sum(), check['sum_float64'], rtol=1e-9)
