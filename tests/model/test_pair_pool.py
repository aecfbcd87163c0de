from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from basicsr_plugin.errors import OptionError
from deplsr_model.pair_pool import TrainingPairPool


def _batch(first, size=3):
    """Samples whose parts all contain their number."""
    return default_collate(
        [
            {
                'lq': torch.full((3, 2, 2), float(n)),
                'gt': torch.full((3, 4, 4), float(n)),
                'tokens': torch.full((7, 5), n),
                'levels': torch.full((5,), float(n)),
                'captions': [f'{degradation_type} {n}' for degradation_type in range(7)],
                'record': f'{{"number": {n}}}',
            }
            for n in range(first, first + size)
        ]
    )


def _numbers(batch):
    """The numbers of the samples; all parts of a sample must agree."""
    numbers = batch['lq'][:, 0, 0, 0].long().tolist()
    for name in ('gt', 'tokens', 'levels'):
        part = batch[name].flatten(1)
        assert torch.equal(part, torch.tensor(numbers).to(part)[:, None].expand_as(part))
    assert batch['record'] == [f'{{"number": {n}}}' for n in numbers]
    assert [list(column) for column in batch['captions']] == [
        [f'{degradation_type} {n}' for n in numbers] for degradation_type in range(7)
    ]
    return numbers


def test_captions_records_tokens_and_levels_stay_with_their_images():
    pool = TrainingPairPool(9, np.random.default_rng(0))
    given = [_numbers(pool.exchange(_batch(3 * step))) for step in range(40)]
    assert given[:3] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]  # until it is full
    mixed = given[3:]
    assert sum(len({n // 3 for n in batch}) > 1 for batch in mixed) > 30  # from several batches
    assert all(len(set(batch)) == 3 for batch in mixed)


def test_every_sample_is_returned_once_or_still_in_the_pool():
    pool = TrainingPairPool(9, np.random.default_rng(0))
    given = [n for step in range(40) for n in _numbers(pool.exchange(_batch(3 * step)))][9:]
    assert len(set(given)) == len(given)
    assert len(set(range(120)) - set(given)) == 9


def test_the_same_generator_returns_the_same_batches():
    pools = [TrainingPairPool(6, np.random.default_rng(5)) for _ in range(2)]
    for step in range(6):
        assert _numbers(pools[0].exchange(_batch(3 * step))) == _numbers(pools[1].exchange(_batch(3 * step)))


def test_a_sample_in_the_pool_does_not_keep_its_batch():
    pool = TrainingPairPool(6, np.random.default_rng(0))
    batch = _batch(0)
    pool.exchange(batch)
    batch['lq'].zero_()
    pool.exchange(_batch(3))
    assert set(_numbers(pool.exchange(_batch(6)))) <= set(range(6))


def test_a_pool_smaller_than_a_batch_is_refused():
    with pytest.raises(OptionError, match=r'queue_size: expected at least one batch \(3\), got 2'):
        TrainingPairPool(2, np.random.default_rng(0)).exchange(_batch(0))
