"""Data that are gone for a while are read again, and are not taken for damaged photos."""

from __future__ import annotations

import errno
import os

import pytest

from basicsr_plugin import patience
from basicsr_plugin.errors import UserError
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
    assert capsys.readouterr().err.count("'a.png' cannot be read: Input/output error; trying again in 0 s") == 2


def test_data_that_stay_away_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^'a.png' cannot be read: Stale file handle, for 0 s; check the disk of '"):
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
