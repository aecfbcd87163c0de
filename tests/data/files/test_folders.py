"""What a folder of photos holds: each photo once, and what is left out is counted."""

from __future__ import annotations

import os
from collections import Counter

import cv2
import numpy as np
import pytest

from basicsr_plugin.errors import UserError
from deplsr_data.commands.arguments import Skipped
from deplsr_data.files.folders import left_out_text, walk_photos
from deplsr_data.files.photos import list_photos


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode('.png', np.zeros((4, 4, 3), np.uint8))[1].tobytes())


@pytest.fixture
def root(tmp_path):
    photo(tmp_path / 'photos' / 'a.png')
    photo(tmp_path / 'photos' / 'sub' / 'b.png')
    photo(tmp_path / 'elsewhere' / 'c.png')
    return tmp_path / 'photos'


def names(root, left_out=None):
    return [os.path.relpath(path, root) for path in walk_photos(str(root), left_out)]


@pytest.mark.parametrize(
    ('link', 'target'), [('up', '.'), ('sub/up', '..'), ('sub/above', '../..'), ('again', 'sub'), ('self', 'self')]
)
def test_a_link_that_leads_back_adds_no_photo_and_is_counted(root, link, target):
    (root / link).symlink_to(target)
    left_out = Counter()
    assert names(root, left_out) == ['a.png', 'sub/b.png']
    assert sum(left_out.values()) == 1
    assert 'link' in left_out_text(left_out)


def test_a_link_to_another_folder_is_followed_once(root):
    (root / 'one').symlink_to(root.parent / 'elsewhere')
    (root / 'two').symlink_to(root.parent / 'elsewhere')
    assert names(root) == ['a.png', 'one/c.png', 'sub/b.png']


def test_a_folder_that_cannot_be_read_is_named(root, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith('sub'):
            raise PermissionError(13, 'Permission denied')
        return scan(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    left_out = Counter()
    assert names(root, left_out) == ['a.png']
    assert left_out_text(left_out) == f"1 left out: 1 folder '{root / 'sub'}': Permission denied"
    with pytest.raises(UserError, match='expected a readable folder, got Permission denied; check its rights'):
        walk_photos(str(root / 'sub'))


def test_other_suffixes_are_counted_and_those_of_images_explained(root):
    for name in ('a.heic', 'b.HEIC', 'c.nef', 'd.txt', 'no_suffix', '.hidden'):
        (root / name).write_bytes(b'x')
    photo(root / 'e.jfif')
    left_out = Counter()
    assert names(root, left_out) == ['a.png', 'e.jfif', 'sub/b.png']
    assert left_out_text(left_out) == (
        '5 left out: 2 .heic, 1 .nef, 1 .txt, 1 without suffix; convert .heic, .nef to PNG or JPEG to use them'
    )


def test_a_folder_without_photos_states_what_it_holds(tmp_path):
    (tmp_path / 'a.heic').write_bytes(b'x')
    with pytest.raises(UserError, match=r"found none in '.*', 1 left out: 1 \.heic; convert \.heic to"):
        list_photos(str(tmp_path), where='--input')


def test_a_command_of_whose_photos_none_can_be_used_fails():
    skipped = Skipped(10, 2)
    skipped.add("'a.png': damaged")
    with pytest.raises(UserError, match=r'^--input: expected a photo that can be used, got none of 2, the last: '):
        skipped.add("'b.png': damaged")
