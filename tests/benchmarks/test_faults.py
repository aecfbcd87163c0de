"""Mutated option files: what is mutated, and that none of them ends in a traceback or is wrongly accepted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults.mutations import Mutation, drawn, mutations
from benchmarks.faults.options import ALLOWED, allowed

ROOT = Path(__file__).parents[2]
OPTIONS = {
    'name': 'run',
    'scale': 2,
    'datasets': {'train': {'type': 'PairedImageDataset', 'dataroot_gt': 'gt', 'use_rot': True}},
    'train': {'total_iter': 4, 'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]}},
}


def test_each_mutation_changes_one_thing_and_the_draw_is_fixed():
    found = mutations(OPTIONS)
    sorts = {mutation.sort for mutation in found}
    assert {'misspelt key', 'missing key', 'key twice', 'out of range', 'unknown name', 'YAML itself'} <= sorts
    assert len({mutation.text for mutation in found}) > 0.95 * len(found)
    first, second = (drawn(found, 30, np.random.default_rng(0)) for _ in range(2))
    assert first == second
    assert {mutation.sort for mutation in first} == sorts


def test_what_may_be_accepted_has_a_reason():
    assert all(reason for *_, reason in ALLOWED)
    assert allowed(Mutation('null', 'path.resume_state', 'null', ''))
    assert allowed(Mutation('out of range', 'datasets.train.gt_size', '-1', '')) is None


@pytest.mark.slow
def test_mutated_option_files_are_refused_in_one_line_or_run():
    command = [sys.executable, '-m', 'benchmarks.faults', 'options', '--count', '63', '--seed', '1']
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
