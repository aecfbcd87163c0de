"""Acceptance rate, relative performance ratio and worst degradations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from benchmark_cases import SHARED, needs

from basicsr_plugin.errors import UserError
from deplsr_model.benchmark.acceptance import Lines, acceptance, accepted, published_models, read_lines
from deplsr_model.benchmark.pairs import Pair, TestSet
from deplsr_model.benchmark.results import Column

LINES = Lines(np.array([20.0, 22.0, 24.0, 26.0]), np.array([21.0, 24.0, 25.0, 27.0]))


def values(*found: float) -> dict[str, float]:
    return {f'deg_{i}': one for i, one in enumerate(found)}


def test_a_model_on_a_line():
    on_acceptance = acceptance(values(20, 22, 24, 26), LINES)
    assert (on_acceptance.rate, on_acceptance.relative, on_acceptance.worst) == (1, 0.5, 0)
    on_excellence = acceptance(values(21, 24, 25, 27), LINES)
    assert on_excellence.relative == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_worst_tenth_is_that_furthest_below_the_line():
    found = acceptance(values(20.5, 21, 20, 25), LINES)
    assert found.rate == 0.25
    assert found.worst == -4
    assert found.worst_names == ('deg_2',)


def test_a_degradation_without_a_gap_between_the_lines_is_left_out_of_the_ratio():
    lines = Lines(np.array([20.0, 22.0]), np.array([21.0, 21.0]))
    assert acceptance(values(20, 10), lines).relative == 0.5


def test_other_numbers_of_degradations_are_refused():
    with pytest.raises(UserError, match='expected 4 degradations'):
        acceptance(values(20, 21), LINES)


@pytest.mark.parametrize(
    ('protocol', 'images', 'expected'), [('border 0', 1, 1), ('border 4', 1, 0), ('border 0', 2, 0)]
)
def test_only_the_protocol_and_the_images_of_the_lines_are_compared_with_them(tmp_path, protocol, images, expected):
    (tmp_path / 'published_lines.csv').write_text(',fsrcnn_psnr,srresnet_psnr\n0,20,21\n1,22,24\n')
    pairs = [Pair(f'{i}', None, f'deg_{k}') for k in range(2) for i in range(images)]
    test_set = TestSet('set', pairs, 4, 0, 'GT', tmp_path)
    measured = {('deg_0', '0'): 21.0, ('deg_1', '0'): 21.0}
    column = Column('set', 'psnr', f'PSNR, Y of BT.601; {protocol}; GT', False, {'ours': measured})
    found = accepted([column], [test_set])
    assert len(found['acceptance']) == expected
    if expected:
        assert found['acceptance']['set']['ours']['rate'] == 0.5
        assert found['lines']['set'] == {'deg_0': 20.0, 'deg_1': 22.0}


@needs('Set14SE')
@pytest.mark.parametrize(
    ('model', 'rate'), [('BSRNet', 0.55), ('GDRealESRNetx4plus', 0.46), ('swinir-l', 0.38), ('RealESRNet_x4plus', 0.28)]
)
def test_published_models_have_their_published_acceptance_rate(model, rate):
    folder = SHARED / 'Set14SE'
    assert acceptance(published_models(folder)[model], read_lines(folder)).rate == pytest.approx(rate)
