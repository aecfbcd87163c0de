"""The runner of jobs: what needs another waits for it, what needs a failed one is not run, nothing starts too late."""

from __future__ import annotations

import math
import time

from benchmarks.jobs import run_all, run_process

NEEDS = {'figure': ['weights', 'sets'], 'weights': ['pairs'], 'pairs': [], 'sets': []}


def run(done, fails=(), deadline=math.inf, at_once=2):
    order = []

    def job(name):
        order.append(name)
        if name in fails:
            return False
        done.add(name)
        return True

    return order, run_all(NEEDS, done.__contains__, job, at_once, deadline)


def test_a_job_waits_for_those_that_it_needs():
    order, failed = run(set())
    assert sorted(order) == sorted(NEEDS)
    assert failed == []
    assert order.index('pairs') < order.index('weights') < order.index('figure')


def test_what_is_done_is_not_repeated():
    assert run({'pairs', 'weights'}, at_once=1) == (['sets', 'figure'], [])


def test_all_that_need_a_failed_job_fail_and_the_others_are_run():
    order, failed = run(set(), fails=['pairs'], at_once=1)
    assert order == ['pairs', 'sets']
    assert sorted(failed) == ['figure', 'pairs', 'weights']


def test_none_starts_after_the_deadline():
    assert run(set(), deadline=time.time() - 1) == ([], [])


def test_a_process_writes_its_log_and_is_stopped_at_the_deadline(tmp_path, capsys):
    log = tmp_path / 'logs' / 'a.log'
    assert run_process('a', ['-c', 'print(1)'], log, math.inf)
    assert log.read_text() == '1\n'
    assert not run_process('a', ['-c', 'raise SystemExit(3)'], log, math.inf)
    assert run_process('a', ['-c', 'import time; time.sleep(60)'], log, time.time())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(' after ')[0] for line in lines] == [
        'a: done', f'a: FAILED, see {log}', 'a: stopped; the same command resumes it'
    ]  # fmt: skip
