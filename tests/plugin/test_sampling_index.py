from __future__ import annotations

import pickle

import pytest
import torch

from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.resume import ResumePosition
from basicsr_plugin.sampling_index import SampleIndex


class Echo:
    """A data set that returns the index it receives."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return int(index), index.epoch, index.round


def sampler(epoch, rank=0, replicas=1, ratio=1):
    apply_fixes()
    from basicsr.data.data_sampler import EnlargedSampler

    made = EnlargedSampler(Echo(), replicas, rank, ratio)
    made.set_epoch(epoch)
    return made


def test_index_is_an_int_that_survives_pickling():
    index = pickle.loads(pickle.dumps(SampleIndex(5, epoch=2, round=1)))
    assert (index, index + 1, index.epoch, index.round, [0] * 5 + [9])[0:4] == (5, 6, 2, 1)
    assert [*'abcdef'][index] == 'f'


@pytest.mark.parametrize(('epoch', 'rank', 'replicas', 'ratio'), [(0, 0, 1, 1), (7, 0, 1, 3), (2, 1, 2, 3)])
def test_sampler_keeps_the_order_of_basicsr_and_adds_epoch_and_round(epoch, rank, replicas, ratio):
    total = -(-3 * ratio // replicas) * replicas
    drawn = torch.randperm(total, generator=torch.Generator().manual_seed(epoch)).tolist()[rank::replicas]
    got = [(int(i), i.epoch, i.round) for i in sampler(epoch, rank, replicas, ratio)]
    assert got == [(draw % 3, epoch, draw // 3) for draw in drawn]
    assert len(set(got)) == len(got)


def test_sampler_leaves_out_what_was_used_before_the_resume_in_the_interrupted_epoch_alone():
    resumed = sampler(epoch=1)
    complete = list(resumed)
    resumed.resume_position = ResumePosition(epoch=1, iteration=3 + 2, batch=1)
    assert list(resumed) == complete[2:]
    resumed.set_epoch(2)
    assert len(list(resumed)) == 3


def test_a_worker_sees_the_epoch():
    loader = torch.utils.data.DataLoader(Echo(), sampler=sampler(4), num_workers=1)
    assert sorted(tuple(int(v) for v in item) for item in loader) == [(0, 4, 0), (1, 4, 0), (2, 4, 0)]
