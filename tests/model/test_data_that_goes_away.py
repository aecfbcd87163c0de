"""Data that are gone for a while are read again; a training whose data or workers stay away saves and ends."""

from __future__ import annotations

import errno
import multiprocessing
import os
import select
import signal
import sys
import time

import pytest
import torch

from basicsr_plugin import patience
from basicsr_plugin.errors import UnavailableError
from basicsr_plugin.patience import read_patiently
from deplsr_data.files.photos import PhotoReader


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(patience, 'PAUSES', (0.0, 0.0))


def failing(times, code):
    calls = []

    def read():
        calls.append(1)
        if len(calls) <= times:
            raise OSError(code, os.strerror(code))
        return 'content'

    return read, calls


def test_an_error_of_the_disk_is_tried_again_with_a_warning(tmp_path, capsys):
    read, calls = failing(2, errno.EIO)
    assert read_patiently(read, 'a.png', str(tmp_path)) == 'content'
    assert len(calls) == 3
    assert capsys.readouterr().err.count("'a.png' cannot be read: Input/output error; trying again") == 2


def test_data_that_stay_away_are_one_line(tmp_path):
    with pytest.raises(
        UnavailableError, match=r"^'a.png' cannot be read: Stale file handle, for 0 s; check the disk of '"
    ):
        read_patiently(failing(9, errno.ESTALE)[0], 'a.png', str(tmp_path))


def test_a_missing_file_is_not_waited_for_but_a_missing_folder_is(tmp_path):
    read, calls = failing(1, errno.ENOENT)
    with pytest.raises(FileNotFoundError):
        read_patiently(read, 'a.png', str(tmp_path))
    read, calls = failing(1, errno.ENOENT)
    assert read_patiently(read, 'a.png', str(tmp_path / 'gone')) == 'content'
    assert len(calls) == 2


def test_a_photo_on_a_disk_that_has_an_error_does_not_count_as_damaged(workplace, monkeypatch):
    from basicsr.utils import FileClient

    photo = str(workplace.path / 'photos/0.png')
    reader = PhotoReader(str(workplace.path / 'photos'), {'type': 'disk'})
    reader(photo)
    get, calls = FileClient.get, []

    def broken(self, *arguments):
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return get(self, *arguments)

    monkeypatch.setattr(FileClient, 'get', broken)
    assert reader(photo).shape == (48, 56, 3)


READS = 13  # in a worker, of two photos an iteration
LONG = {
    'train__total_iter': 10_000,
    'train__scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [10_000]},
    'logger__save_checkpoint_freq': 100_000,
    'val__val_freq': 100_000,
}


def disk_error():
    raise OSError(errno.EIO, os.strerror(errno.EIO))


FAULTS = {
    'data': (disk_error, "cannot be read: Input/output error, for 0 s; check the disk of '"),
    'hung worker': (lambda: time.sleep(1000), 'datasets.train.worker_timeout: no batch 2 seconds, a worker hangs'),
    'killed worker': (lambda: os.kill(os.getpid(), signal.SIGKILL), 'datasets.train: a worker was killed'),
}


@pytest.mark.parametrize('mode', [None, 'cpu'])
@pytest.mark.parametrize('fault', FAULTS)
def test_a_training_without_data_saves_and_ends_in_one_line(workplace, stage1, monkeypatch, capfd, fault, mode):
    from basicsr.utils import FileClient

    loader = {'num_worker_per_gpu': 1, 'prefetch_mode': mode, 'worker_timeout': 2}
    changes = {**LONG, **{f'datasets__train__{key}': value for key, value in loader.items()}}
    broken, line = FAULTS[fault]
    get, calls, main = FileClient.get, [], os.getpid()

    def gone(self, *arguments):
        calls.append(1)
        if os.getpid() != main and len(calls) > READS:
            broken()
        return get(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FileClient, 'get', gone)
        begin = time.monotonic()
        assert workplace.run('train', stage1, **changes) == 75
        assert time.monotonic() - begin < 25  # a worker that hangs is not waited for
    error = capfd.readouterr().err
    done = max(int(path.stem) for path in (workplace.path / 'experiments/adaptor/training_states').iterdir())
    last = error.splitlines()[-1]
    assert line in last
    assert last.endswith(f'the latest checkpoint is that of iteration {done}, resume with --auto_resume')
    assert 'Traceback' not in error

    changes['train__total_iter'] = done + 3
    assert workplace.run('train', stage1, '--auto_resume', **changes) == 0
    assert workplace.run('train', stage1, name='straight', **changes) == 0
    resumed, straight = (
        torch.load(f'experiments/{name}/models/net_da_latest.pth', weights_only=True)['params']
        for name in ('adaptor', 'straight')
    )
    assert all(torch.equal(value, straight[name]) for name, value in resumed.items())


def test_batches_that_nobody_takes_do_not_delay_the_end_and_have_one_set_of_workers(workplace, stage1, monkeypatch):
    from basicsr.models.base_model import BaseModel

    update, workers = BaseModel.update_learning_rate, []

    def counted(*arguments, **more):
        workers.append(len(multiprocessing.active_children()))
        update(*arguments, **more)

    monkeypatch.setattr(BaseModel, 'update_learning_rate', counted)
    loader = {'num_worker_per_gpu': 1, 'prefetch_mode': 'cpu'}
    assert workplace.run('train', stage1, **{f'datasets__train__{key}': value for key, value in loader.items()}) == 0
    assert set(workers) == {1}
    assert not multiprocessing.active_children()  # SIGTERM at the end of the process would leave it 30 s


@pytest.mark.skipif(sys.platform != 'linux', reason='ends at once on Linux alone')
@pytest.mark.parametrize('early', [True, False], ids=['before the worker has started', 'after that'])
def test_a_worker_ends_when_its_training_is_killed(early):
    from basicsr_plugin.interruption import start_worker

    context = multiprocessing.get_context('fork')
    alive, ready = os.pipe(), context.Event()

    def work(parent):
        os.close(alive[0])
        while early and os.getppid() == parent:
            time.sleep(0.01)
        start_worker(None, 0)
        ready.set()
        time.sleep(100)

    def train():
        context.Process(target=work, args=(os.getpid(),)).start()
        if not early:
            ready.wait()
        os.kill(os.getpid(), signal.SIGKILL)

    training = context.Process(target=train)
    training.start()
    os.close(alive[1])  # the worker holds the other one
    assert select.select([alive[0]], [], [], 20)[0]
    assert os.read(alive[0], 1) == b''
    os.close(alive[0])
    training.join()


class _Numbers:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index


@pytest.mark.skipif('forkserver' not in multiprocessing.get_all_start_methods(), reason='no fork server here')
@pytest.mark.parametrize('context', ['forkserver', None], ids=['of the loader', 'by default'])
def test_workers_of_a_fork_server_deliver_batches(context):
    from basicsr_plugin.interruption import end_with_parent

    before = multiprocessing.get_start_method(allow_none=True)
    if context is None:
        multiprocessing.set_start_method('forkserver', force=True)
    try:
        loader = torch.utils.data.DataLoader(
            _Numbers(), num_workers=1, worker_init_fn=end_with_parent, multiprocessing_context=context
        )
        assert [int(number) for number in loader] == [0, 1, 2, 3]
    finally:
        multiprocessing.set_start_method(before, force=True)


@pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='functions of a test are forked')
@pytest.mark.parametrize('persistent', [False, True])
def test_the_end_of_a_loop_kills_workers_but_no_other_process(persistent):
    from basicsr_plugin.interruption import WorkerDeaths

    context, deaths = multiprocessing.get_context('fork'), WorkerDeaths()
    loader = torch.utils.data.DataLoader(
        _Numbers(), num_workers=2, persistent_workers=persistent, multiprocessing_context=context
    )
    deaths.watch(loader)
    first = iter(loader)
    next(first)
    end = context.Event()
    try:
        second = iter(loader)
        next(second)
        workers = multiprocessing.active_children()
        assert len(workers) == (2 if persistent else 4)
        other = context.Process(target=end.wait, args=(30,))
        other.start()
        deaths.end_workers()
        assert multiprocessing.active_children() == [other]
        assert {worker.exitcode for worker in workers} == {-signal.SIGKILL}
    finally:
        end.set()
        deaths.remove()
    other.join(10)
    assert other.exitcode == 0  # ended by itself


def test_a_worker_that_dies_within_a_step_is_raised_when_the_next_batch_is_taken():
    from basicsr_plugin.interruption import WorkerDeaths

    calls, before = [], signal.getsignal(signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, lambda *_: calls.append(1))
    deaths = WorkerDeaths()
    try:
        with deaths.raised():
            pass
        os.kill(os.getpid(), signal.SIGCHLD)
        assert not calls
        with deaths.raised():
            assert len(calls) == 1
            os.kill(os.getpid(), signal.SIGCHLD)
            assert len(calls) == 2
    finally:
        deaths.remove()
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize(('error', 'line'), [
    (ConnectionResetError(errno.ECONNRESET, 'Connection reset by peer'), 'datasets.train: a worker was killed'),
    (EOFError(), 'datasets.train: a worker was killed'),
    (ConnectionResetError('Caught ConnectionResetError in DataLoader worker process 0.\nx'), 'datasets.train: '),
])  # fmt: skip
def test_a_connection_that_is_lost_with_a_worker_is_named_as_its_end(error, line):
    from basicsr_plugin.errors import no_batch

    found = no_batch(error)
    assert found.startswith(line)
    assert ('worker was killed' in found) == ('worker was killed' in line)
