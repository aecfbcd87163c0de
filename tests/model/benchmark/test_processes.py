"""Several processes share the images; the report is that of one process."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from benchmark_cases import SCALE, environment

from deplsr_model.benchmark.cache import Cache
from deplsr_model.benchmark.entries import Bicubic
from deplsr_model.benchmark.measure import measure
from deplsr_model.benchmark.metrics import find_metrics
from deplsr_model.benchmark.sets import find_sets

RUN = """
from importlib.metadata import EntryPoint
from basicsr_plugin import cli, commands
commands.entry_points = lambda group: [EntryPoint('benchmark', 'deplsr_model.commands.benchmark', group)]
cli.entry()
"""


def test_the_parts_of_all_processes_are_the_whole(workplace, tmp_path):
    test_sets, metrics = find_sets(['small'], tmp_path / 'sets', SCALE), find_metrics(['psnr'])
    complete = measure([Bicubic(SCALE)], test_sets, metrics, Cache(tmp_path / 'one'))
    for rank in range(2):
        measure([Bicubic(SCALE)], test_sets, metrics, Cache(tmp_path / 'two', rank), part=(rank, 2))
    assert len(list((tmp_path / 'two').glob('*.jsonl'))) == 2
    together = Cache(tmp_path / 'two')
    assert [one.rows for one in measure([Bicubic(SCALE)], test_sets, metrics, together)] == [
        one.rows for one in complete
    ]
    assert all(together.get(one.key).values for one in complete)


@pytest.mark.slow
def test_torchrun_writes_the_table_of_one_process(workplace, tmp_path):
    assert workplace.benchmark('stock.pth', '--bicubic', output='alone') == 0
    (tmp_path / 'run.py').write_text(RUN)
    line = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc_per_node',
        '2',
        'run.py',
        'benchmark',
    ]
    line += ['stock.pth', '--bicubic', '--sets', 'small', '--data-root', 'sets', '--scale', str(SCALE), '-o', 'table']
    torch.set_num_threads(1)
    done = subprocess.run(
        [*line, '--device', 'cpu'], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert workplace.rows() == workplace.rows('alone')
    written = [sum(map(bool, path.read_text().splitlines())) for path in (tmp_path / 'table/cache').glob('*.jsonl')]
    assert sorted(written) == [2, 4]
