"""What counts as lost when a training is killed, and as a leak in a long one."""

from __future__ import annotations

import pytest

from benchmarks.faults.cost import _rows
from benchmarks.faults.kills import _lost


@pytest.mark.parametrize(('before', 'after', 'output', 'lost'), [
    ([3, 6], [6, 9], 'Resuming from iteration 6: network_g.', None),
    ([], [3], 'No checkpoint in x: training starts from scratch.', None),
    ([3, 6], [3, 6], '', None),  # killed before it looked for a checkpoint
    ([3, 6], [6, 9], 'Resuming from iteration 3: network_g.', 'resumed from 3 instead of 6'),
    ([3, 6], [3], 'No complete checkpoint in x: training starts from scratch.', 'not used'),
    ([3, 6], [6, 9], 'Checkpoint 6 is skipped: x.\nResuming from iteration 6: x', 'not used'),
    ([3, 6], [6], 'Resuming from iteration 6: network_g.', 'became'),
    ([3, 6], [], '', 'became'),
])  # fmt: skip
def test_a_checkpoint_that_is_not_resumed_from_counts_as_lost(before, after, output, lost):
    found = ', '.join(_lost(before, after, output))
    assert lost in found if lost else not found


@pytest.mark.parametrize(
    ('files', 'failed'), [([30, 29, 29, 29, 33, 29, 29, 33], 0), ([29, 29, 30, 30, 31, 31, 32, 32], 1)]
)
def test_batches_on_their_way_are_no_leak_of_file_handles_but_more_of_them_for_good_are(files, failed):
    samples = [(number, 2**20, count) for number, count in enumerate(files)]
    found = {'samples': samples, 'times': {'checks': 0.0}, 'seconds': 8.0, 'iterations': 8}
    _, handles, _ = _rows('stage', found, 8)
    assert len(handles.failures) == failed
