"""Gains, shares and comparisons of made-up measurements whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.figures import bootstrap_ranks
from benchmarks.prior import statistics
from benchmarks.prior.photos import COLUMNS, DEGRADATIONS, IN_CROPS


def _scores(*values, sets=('heldout', 'whole')):
    return {f'{part}/{column}': {'psnr': list(values), 'ssim': list(values)} for part in sets for column in COLUMNS}


def test_gains_are_paired_by_photo_and_by_seed():
    found = {
        'constant': _scores(20, 30), 'constant_1': _scores(22, 32),
        'oracle': _scores(22, 32), 'oracle_1': _scores(22, 32),
        'adaptor': _scores(21, 33),
    }  # fmt: skip
    assert statistics.gains(found, 'oracle', 'constant', ('heldout',))['blur'] == [1.0, 1.0, 1.0]
    only_first_seed = statistics.gains(found, 'adaptor', 'constant', ('heldout',))['blur']
    assert only_first_seed == [2.0, 1.0, 3.0]
    assert statistics.gains(found, 'oracle', 'missing', ('heldout',)) == {}
    assert statistics.gains(found, 'oracle', 'constant', ('Set14',)) == {}


def test_gains_over_several_sets_weigh_each_photo_equally():
    sets = statistics.TEST_SETS
    found = {'constant': _scores(20, sets=sets), 'oracle': _scores(21, sets=sets)}
    for column in COLUMNS:
        for run, values in (('constant', [20, 20, 20]), ('oracle', [23, 23, 23])):
            found[run][f'B100/{column}'] = {'psnr': values}
    assert statistics.gains(found, 'oracle', 'constant', sets)['mild'][0] == pytest.approx((1 + 3 * 3 + 1) / 5)


def test_no_share_is_given_of_a_gain_that_may_be_zero():
    found = {'constant': _scores(20, 20), 'oracle': _scores(19, 22), 'adaptor': _scores(20, 21)}
    assert statistics.shares(found, 'adaptor', ('heldout',)) == {}
    found['oracle'] = _scores(22, 22)
    shares = statistics.shares(found, 'adaptor', ('heldout',))
    assert shares['blur'] == [0.25, 0.0, 0.5]
    assert set(shares) == set(DEGRADATIONS)  # none of Real-ESRGAN's recipe


def test_a_share_is_of_the_oracle_of_the_same_seeds():
    found = {
        'constant': _scores(20, 20), 'constant_1': _scores(20, 20),
        'oracle': _scores(22, 22), 'oracle_1': _scores(30, 30),
        'adaptor': _scores(21, 21),
    }  # fmt: skip
    assert statistics.shares(found, 'adaptor', ('heldout',))['mild'] == [0.5, 0.5, 0.5]


def test_means_are_over_photos_and_seeds():
    found = {'oracle': _scores(20, 30), 'oracle_1': _scores(24, 34)}
    assert statistics.averaged(found, 'oracle', 'psnr')['heldout/blur'].tolist() == [22, 32]


def _points(**noise):
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 3, (30, 20))
    return {
        size: {'blur': [true.tolist(), (true + scale * rng.normal(0, 1, true.shape)).tolist()]}
        for size, scale in noise.items()
    }


def test_the_regressor_in_crops_is_compared_with_the_adaptor_on_the_same_photos():
    sizes = ('64', '128', IN_CROPS)
    points = {
        'adaptor': _points(**dict(zip(sizes[:2], (0.5, 0.2), strict=True))),
        'regressor': _points(**dict(zip(sizes, (0.5, 1.0, 0.2), strict=True))),
    }
    ranks = statistics.compare_estimators(points, bootstrap_ranks)
    errors = statistics.compare_estimators(points, statistics.error_difference)
    assert set(ranks) == set(errors) == set(sizes)
    assert ranks['128']['blur'][1] > 0 > errors['128']['blur'][2]
    for size in ('64', IN_CROPS):
        assert abs(ranks[size]['blur'][0]) < 0.02
    assert statistics.compare_estimators({'adaptor': points['adaptor']}, statistics.error_difference) == {}


def test_estimators_of_different_photos_are_not_compared():
    points = {'adaptor': _points(**{'128': 0.5}), 'regressor': _points(**{'128': 0.5})}
    points['regressor']['128']['blur'][0][0][0] += 1
    with pytest.raises(ValueError, match="points of '128': expected the same true levels for adaptor and regressor"):
        statistics.compare_estimators(points, statistics.error_difference)
