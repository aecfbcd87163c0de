"""The benchmark of damaged files sees what it looks for, and its files are the same in every run."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from basicsr_plugin.errors import UserError
from benchmarks.faults.bad_checkpoints import mutated_checkpoints
from benchmarks.faults.bad_images import bad_images
from benchmarks.faults.forked import HARM, table, try_all


def refuse():
    raise UserError('-m: no checkpoint')


def repeat_the_advice():
    raise UserError('set weights_only=False')


def die():
    os.kill(os.getpid(), 9)


def hang():
    while True:
        pass


def run_code():
    Path(HARM).touch()
    refuse()


def fail():
    raise KeyError('x')


def test_each_outcome_is_recognised(tmp_path):
    doors = {
        'refused': refuse,
        'right': lambda: '',
        'allowed': lambda: 'a reason',
        'wrong': lambda: None,
        'advice': repeat_the_advice,
        'dies': die,
        'fails': fail,
        'hangs': hang,
        'runs': run_code,
    }
    begin = time.monotonic()
    found = try_all(list(doors.items()), tmp_path, 0.3)
    assert [outcome for _, outcome, _ in found] == [
        *('one-line error', 'accepted', 'allowed', 'wrongly accepted', 'traceback', 'traceback', 'traceback'),
        *('hang', 'code run'),
    ]
    assert time.monotonic() - begin < 20
    assert '| all | 9 | 1 | 1 | 1 | 1 | 3 | 1 | 1 |' in table('file', found)


def test_the_files_are_the_same_in_every_run():
    state = torch.nn.Conv2d(3, 3, 3).state_dict()
    first, again = (
        [one.write(state) for one in mutated_checkpoints(300, 20) if 'code' not in one.name] for _ in range(2)
    )
    assert [suffix for suffix, _ in first] == [suffix for suffix, _ in again]
    assert len(mutated_checkpoints(300, 20)) == 300
    images = bad_images(200, 20)
    assert len(images) == 200
    assert [image.content for image in images] == [image.content for image in bad_images(200, 20)]
