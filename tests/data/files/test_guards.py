"""Lists in other encodings, truncated LMDBs, damaged settings and missing packages: one line at every door."""

from __future__ import annotations

import json
import re

import lmdb
import numpy as np
import pytest

from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.lmdb_files import check_lmdb, lmdb_key
from basicsr_plugin.text_files import read_lines
from deplsr_data import tokens
from deplsr_data.commands.degrade_photos import output_names
from deplsr_data.files.photos import Photo, PhotoReader, list_photos
from deplsr_data.files.tables import read_table
from deplsr_data.files.written_set import ImageStore, begin, levels_of_set, read_parts

ENCODINGS = {'utf-16': 'UTF-16; save it again', 'latin-1': 'in another encoding than UTF-8 in line 2; save it again'}


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_lists_in_another_encoding_are_refused_at_every_door(encoding, tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes('filepath\ttitle\nstraße.png\tx\n'.encode(encoding))
    apply_fixes()
    from basicsr.data import data_util, single_image_dataset

    doors = (
        lambda: list_photos(str(tmp_path), str(path)),
        lambda: list(read_lines(str(path), 'list')),
        lambda: read_table(str(path), ('filepath', 'title'), 'meta_info'),
        lambda: data_util.paired_paths_from_meta_info_file(['a', 'b'], ['lq', 'gt'], str(path), '{}'),
        lambda: single_image_dataset.SingleImageDataset(
            {'io_backend': {'type': 'disk'}, 'dataroot_lq': 'a', 'meta_info_file': str(path)}
        ),
    )
    for door in doors:
        with pytest.raises(UserError, match=re.escape(ENCODINGS[encoding])):
            door()


def test_lists_of_basicsr_may_have_a_byte_order_mark_and_blank_lines(tmp_path):
    apply_fixes()
    from basicsr.data import data_util

    (tmp_path / 'list.txt').write_bytes(b'\xef\xbb\xbfa.png (4,4,3)\r\n\r\nb.png (4,4,3)\r\n\n')
    found = data_util.paired_paths_from_meta_info_file(['lq', 'gt'], ['lq', 'gt'], str(tmp_path / 'list.txt'), '{}')
    assert [pair['gt_path'] for pair in found] == ['gt/a.png', 'gt/b.png']


def written(folder, names):
    store = ImageStore(str(folder), 'lq')
    for name in names:
        store.put(name, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    store.pack(dict.fromkeys(names, (64, 64)))
    return folder / 'lq.lmdb'


def test_keys_with_dots_are_read_complete_by_basicsr(tmp_path):
    apply_fixes()
    from basicsr.data import build_dataset
    from basicsr.data.data_util import paths_from_lmdb

    folder = written(tmp_path, ['v1.2/a.b.png', 'c.png'])
    assert paths_from_lmdb(str(folder)) == ['v1.2/a.b', 'c']
    opt = {'name': 'x', 'type': 'SingleImageDataset', 'dataroot_lq': str(folder), 'io_backend': {'type': 'lmdb'}}
    assert build_dataset(opt)[0]['lq'].shape == (3, 64, 64)
    assert lmdb_key('a.b (2).png (4,4,3) 1\n') == 'a.b (2)'


def test_keys_that_are_written_have_no_dots_so_that_any_basicsr_reads_them():
    photos = [Photo('in/v1.2/a.b.png'), Photo('in/c.jpg')]
    assert output_names('in', photos, in_lmdb=False, ascii_only=True) == ['v1_2/a_b', 'c']
    assert output_names('in', photos, in_lmdb=False, ascii_only=False) == ['v1.2/a.b', 'c']


@pytest.mark.parametrize('share', [0.0, 0.3, 0.9])
def test_a_truncated_lmdb_is_refused_before_it_is_read(share, tmp_path):
    folder = written(tmp_path, [f'{number}.png' for number in range(9)])
    check_lmdb(str(folder))
    with lmdb.open(str(folder), readonly=True, lock=False) as environment:
        size = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    content = (folder / 'data.mdb').read_bytes()
    (folder / 'data.mdb').write_bytes(content[: int(share * size)])
    apply_fixes()
    from basicsr.utils import FileClient

    doors = (
        lambda: list_photos(str(folder), in_lmdb=True),
        lambda: PhotoReader(str(folder), {'type': 'lmdb'})('0'),
        lambda: FileClient('lmdb', db_paths=[str(folder)], client_keys=['lq']),
        lambda: ImageStore(str(tmp_path), 'lq'),
    )
    for door in doors:
        with pytest.raises(
            UserError, match='it is truncated; copy it again' if share else 'damaged or none; copy or make'
        ):
            door()


@pytest.mark.parametrize('content', ['{"scale": 4', '[]', '{}', '\0', 'null'])
def test_damaged_settings_are_refused_as_damaged_rows_are(content, tmp_path):
    begin(str(tmp_path / 'set'), {'recipe': {}, 'scale': 4, 'levels': 'effective'})
    assert levels_of_set(str(tmp_path / 'set')) == 'effective'
    (tmp_path / 'set' / 'settings.json').write_text(content)
    for door in (lambda: begin(str(tmp_path / 'set'), {'recipe': {}}), lambda: levels_of_set(str(tmp_path / 'set'))):
        with pytest.raises(UserError, match=r"(expected settings as 'basicsr synthesize' writes them|zero bytes)"):
            door()


def test_damaged_lines_of_parts_are_made_again(tmp_path):
    begin(str(tmp_path), {'recipe': {}, 'levels': 'effective'})
    lines = [b'[1]', b'{}', b'[{"crop": 3}]', b'\xff', json.dumps([{'photo': 'a'}]).encode()]
    (tmp_path / 'parts' / '1-of-1.jsonl').write_bytes(b'\n'.join(lines))
    assert read_parts(str(tmp_path)) == []


@pytest.mark.parametrize('model', ['mt5-base-ViT-B-32', 'coca_roberta-ViT-B-32', 'hf-hub:someone/model'])
def test_a_tokenizer_that_needs_a_missing_package_is_one_line_at_every_door(model, monkeypatch):
    monkeypatch.setattr(tokens, 'find_spec', lambda _: None)
    doors = [lambda: tokens.tokenize(['a'], model, 16)]
    doors += [lambda: tokens.check_tokenizer(model, 'datasets.train.tokenizer')] if ':' not in model else []
    for door in doors:
        with pytest.raises(OptionError, match='needs the package transformers; pip install transformers, or choose'):
            door()
