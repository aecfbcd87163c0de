"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from basicsr_plugin import atomic
from basicsr_plugin.atomic import DiskError, append_line, save_tensors, write_file

LIMITED = """
import resource, sys, torch
from basicsr_plugin import atomic
atomic.BACK_OFF = (0.0,)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    atomic.save_tensors({'params': torch.zeros(10000)}, 'a.pth', 'free some')
except atomic.DiskError as error:
    sys.exit(str(error))
"""
KILLED = """
import torch
from basicsr_plugin.atomic import save_tensors
number = 0
while True:
    number += 1
    save_tensors({'params': torch.full((200000,), number)}, 'a.pth')
"""


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(atomic, 'BACK_OFF', (0.0, 0.0))


def failing(times, code):
    """Returns ``os.replace`` that fails so many times."""
    replace = os.replace
    calls = []

    def fail(source, target):
        calls.append(target)
        if len(calls) <= times:
            raise OSError(code, os.strerror(code))
        replace(source, target)

    return fail, calls


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    (tmp_path / 'a').write_bytes(b'old')
    write_file(tmp_path / 'a', b'new')
    assert (tmp_path / 'a').read_bytes() == b'new'
    assert os.listdir(tmp_path) == ['a']


def test_file_and_folder_are_flushed_to_the_disk_before_and_after_the_file_gets_its_name(tmp_path, monkeypatch):
    order = []
    flush, replace = os.fsync, os.replace

    def record_flush(descriptor):
        order.append('folder' if os.path.isdir(f'/proc/self/fd/{descriptor}') else 'file')
        flush(descriptor)

    def record_replace(*names):
        order.append('replace')
        replace(*names)

    monkeypatch.setattr(os, 'fsync', record_flush)
    monkeypatch.setattr(os, 'replace', record_replace)
    write_file(tmp_path / 'a', b'new')
    assert order == ['file', 'replace', 'folder']


def test_an_error_that_passes_is_tried_again_with_a_warning(tmp_path, monkeypatch, no_pause, capsys):
    fail, calls = failing(2, errno.EIO)
    monkeypatch.setattr(os, 'replace', fail)
    write_file(tmp_path / 'a', b'new')
    assert (tmp_path / 'a').read_bytes() == b'new'
    assert len(calls) == 3
    assert capsys.readouterr().err.count('trying again') == 2


@pytest.mark.parametrize(('code', 'attempts'), [(errno.ENOSPC, 3), (errno.EROFS, 1)])
def test_an_error_that_stays_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch, no_pause, code, attempts):
    (tmp_path / 'a').write_bytes(b'old')
    fail, calls = failing(9, code)
    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(DiskError, match=rf"^cannot write '.*/a': {os.strerror(code)} \(disk /.* free\); try later$"):
        write_file(tmp_path / 'a', b'new', hint='try later')
    assert len(calls) == attempts
    assert (tmp_path / 'a').read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['a']


def test_tensors_beyond_a_file_size_limit_are_one_line_and_leave_the_old_file(tmp_path):
    save_tensors({'params': torch.ones(3)}, tmp_path / 'a.pth')
    run = subprocess.run([sys.executable, '-c', LIMITED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("cannot write 'a.pth': File too large (disk ")
    assert 'Traceback' not in run.stderr
    assert torch.load(tmp_path / 'a.pth', weights_only=True)['params'].tolist() == [1, 1, 1]
    assert os.listdir(tmp_path) == ['a.pth']


def test_a_kill_while_saving_leaves_a_complete_file(tmp_path):
    for _ in range(3):
        with subprocess.Popen([sys.executable, '-c', KILLED], cwd=tmp_path) as process:
            end = time.monotonic() + 60
            while not (tmp_path / 'a.pth').exists() and time.monotonic() < end:
                time.sleep(0.001)
            time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        values = torch.load(tmp_path / 'a.pth', weights_only=True)['params']
        assert (values == values[0]).all()
        os.remove(tmp_path / 'a.pth')


def test_a_line_is_added_also_after_one_that_a_kill_cut_off(tmp_path):
    path = tmp_path / 'lines'
    append_line(path, 'first')
    path.write_bytes(path.read_bytes() + b'cut o')
    append_line(path, 'second')
    append_line(path, 'third')
    assert path.read_text() == 'first\ncut o\nsecond\nthird\n'
