from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from basicsr.utils import FileClient
from damaged_files import damaged_files
from PIL import Image
from skimage import data

from basicsr_plugin import cli
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.records import from_json
from deplsr_data.files import written_set
from deplsr_data.files.photos import PhotoReader, list_photos

COLUMNS = ['filepath', 'title', *(f'title{number}' for number in range(2, 11))]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with five photos in ``photos``, one in a subfolder, two that differ in the suffix alone."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(['a.png', 'b.png', 'b.jpg', 'sub/ä b.png', 'c.webp']):
        path = tmp_path / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.astronaut()[number * 30 :][:70, :101]).save(path)
    return tmp_path


def synthesize(output, *arguments, scale=('--scale', '4')):
    return cli.main(['synthesize', '--input', 'photos', '--output', str(output), *scale, *arguments])


def contents(folder):
    """All files of a set, as bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file() and path.name != 'lock.mdb'
    }


def table(folder):
    lines = (folder / 'captions.tsv').read_text(encoding='utf-8').splitlines()
    assert lines[0].split('\t') == COLUMNS
    return [line.split('\t') for line in lines[1:]]


def rows(folder):
    return [json.loads(line) for line in (folder / 'records.jsonl').read_text(encoding='utf-8').splitlines()]


def image(path):
    return np.asarray(Image.open(path))


def error_of(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith('basicsr: error: ')
    return lines[-1].removeprefix('basicsr: error: ')


MIXTURE = 'type: mixture\nrecipes: [{weight: 1, type: camera}, {weight: 1, type: bsrgan}, {weight: 1, type: clean}]\n'


@pytest.mark.parametrize('recipe', ['type: semantic\n', 'type: realesrgan\n', MIXTURE])
def test_a_set_holds_pairs_captions_and_records_that_agree(place, capsys, recipe):
    (place / 'recipe.yml').write_text(f'{recipe}gt_usm: false\n')
    assert synthesize('set', '--draws', '2', '--recipe', 'recipe.yml') == 0
    assert (
        capsys.readouterr().out == 'set: 5 photos degraded, 0 done before, 0 unreadable; 10 LR images; 5 photos found\n'
    )
    made, written = rows(place / 'set'), table(place / 'set')
    assert [row['filepath'] for row in made] == [cells[0] for cells in written]
    assert {row['gt'] for row in made} == {'a.png', 'b_png.png', 'b_jpg.png', 'sub/ä b.png', 'c.png'}
    assert len({json.dumps(row['record']) for row in made}) == 10
    for row, cells in zip(made, written, strict=True):
        record = from_json(json.dumps(row['record']))
        table_ = level_table('effective')
        assert cells[1:] == table_.captions(table_.ordered_levels(row['levels']))
        gt = image(place / 'set' / 'gt' / row['gt'])
        assert gt.shape == (68, 100, 3)
        lq = apply(record, gt.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(image(place / 'set' / 'lq' / row['filepath']), np.rint(lq * 255))
    assert not (place / 'set' / 'parts').exists()
    photo = image(place / 'photos' / 'a.png')
    np.testing.assert_array_equal(image(place / 'set' / 'gt' / 'a.png'), photo[1:69, :100])


def test_workers_and_shards_change_nothing(place, capsys):
    arguments = ['--gt-size', '32', '--draws', '2', '--seed', '5']
    assert synthesize('one', *arguments) == 0
    assert synthesize('two', *arguments, '--workers', '2') == 0
    for part in ('2/3', '3/3', '1/3'):
        assert synthesize('three', *arguments, '--shard', part) == 0
        assert not (place / 'three' / 'captions.tsv').exists()
    assert 'run this without --shard' in capsys.readouterr().out
    assert synthesize('three', *arguments) == 0
    assert ' 0 photos degraded, 5 done before' in capsys.readouterr().out
    assert contents(place / 'one') == contents(place / 'two') == contents(place / 'three')
    assert len(table(place / 'one')) == 5 * 6 * 2


def test_processes_of_torchrun_share_the_photos(place):
    import multiprocessing

    def work(rank):
        sys.exit(synthesize_as(rank))

    def synthesize_as(rank):
        os.environ.update(RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='localhost', MASTER_PORT=str(port))
        return synthesize('two', '--draws', '2')

    assert synthesize('one', '--draws', '2') == 0
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    processes = [multiprocessing.get_context('fork').Process(target=work, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]
    assert contents(place / 'one') == contents(place / 'two')
    assert not list(place.glob('*.lock'))


def test_a_set_begun_by_version_0_1_is_resumed(place, capsys):
    """Version 0.1 names the distribution of the noise ``kind``, and does not write the levels, which are nominal."""
    assert synthesize('set', '--levels', 'nominal') == 0
    captions, path = place / 'set' / 'captions.tsv', place / 'set' / 'records.jsonl'
    expected = captions.read_text(encoding='utf-8')
    old = [{key: value for key, value in row.items() if key != 'levels'} for row in rows(place / 'set')]
    lines = ''.join(json.dumps(row) + '\n' for row in old)
    path.write_text(lines.replace('"distribution"', '"kind"'), encoding='utf-8')
    settings = json.loads((place / 'set' / 'settings.json').read_text())
    del settings['levels']
    (place / 'set' / 'settings.json').write_text(json.dumps(settings))
    (place / 'set' / 'lq' / 'a.png').unlink()
    capsys.readouterr()
    assert synthesize('set') == 2
    assert 'expected levels nominal, with which' in error_of(capsys)
    assert synthesize('set', '--levels', 'nominal') == 0
    assert ' 1 photos degraded, 4 done before' in capsys.readouterr().out
    assert captions.read_text(encoding='utf-8') == expected


def test_the_seed_changes_the_draws_and_other_photos_do_not(place):
    assert synthesize('first') == 0
    assert synthesize('other', '--seed', '1') == 0
    (place / 'photos' / 'c.webp').unlink()
    assert synthesize('fewer') == 0
    drawn = {name: {row['photo']: row['record'] for row in rows(place / name)} for name in ('first', 'other', 'fewer')}
    assert all(drawn['first'][photo] != drawn['other'][photo] for photo in drawn['first'])
    assert drawn['fewer'] == {photo: record for photo, record in drawn['first'].items() if photo != 'c.webp'}


def test_photos_added_later_are_degraded_and_nothing_else_changes(place, capsys):
    assert synthesize('set') == 0
    before = contents(place / 'set')
    times = {path: path.stat().st_mtime_ns for path in (place / 'set' / 'lq').rglob('*.png')}
    Image.fromarray(data.chelsea()[:64, :64]).save(place / 'photos' / 'new.png')
    capsys.readouterr()
    assert synthesize('set') == 0
    assert ' 1 photos degraded, 5 done before' in capsys.readouterr().out
    after = contents(place / 'set')
    assert len(rows(place / 'set')) == 6
    assert all(after[name] == before[name] for name in before if name.endswith('.png'))
    assert all(path.stat().st_mtime_ns == then for path, then in times.items())


def test_a_lost_or_truncated_image_is_written_again(place, capsys):
    assert synthesize('set') == 0
    complete = contents(place / 'set')
    (place / 'set' / 'lq' / 'a.png').unlink()
    (place / 'set' / 'gt' / 'c.png').write_bytes(complete['gt/c.png'][:-20])
    capsys.readouterr()
    assert synthesize('set') == 0
    assert ' 2 photos degraded, 3 done before' in capsys.readouterr().out
    assert contents(place / 'set') == complete


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_and_resumed_writes_the_same_set(place, how):
    for number in range(12):
        Image.fromarray(data.astronaut()[number : number + 200, :200]).save(place / 'photos' / f'more{number:02d}.png')
    arguments = ['synthesize', '--input', 'photos', '--output', 'stopped', '--scale', '4', '--draws', '12']
    run = subprocess.Popen(
        [sys.executable, '-m', 'basicsr_plugin.cli', *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a background job inherits it as ignored
    )
    parts = place / 'stopped' / 'parts' / '1-of-1.jsonl'
    while run.poll() is None and not (parts.exists() and parts.read_text().count('\n') > 2):
        time.sleep(0.002)
    os.killpg(run.pid, how)
    error = run.communicate()[1]
    assert run.returncode == (130 if how == signal.SIGINT else -how)
    assert not (place / 'stopped' / 'captions.tsv').exists()
    if how == signal.SIGINT:
        assert error.splitlines()[-1] == 'basicsr: interrupted; run the same command again to resume'
    with parts.open('a') as file:
        file.write('[{"filepath": "cut sh')
    assert synthesize('stopped', '--draws', '12') == 0
    assert synthesize('complete', '--draws', '12') == 0
    assert contents(place / 'stopped') == contents(place / 'complete')


def test_an_lmdb_is_read_by_basicsr_and_holds_the_same_images_as_the_folder(place):
    (place / 'photos' / 'sub' / 'ä b.png').rename(place / 'photos' / 'sub' / 'd.png')
    assert synthesize('folder', '--gt-size', '32') == 0
    assert synthesize('packed', '--gt-size', '32', '--format', 'lmdb', '--workers', '2') == 0
    assert not any((place / 'packed' / name).exists() for name in ('lq', 'gt', 'parts'))
    for name in ('lq', 'gt'):
        root = str(place / 'packed' / f'{name}.lmdb')
        client = FileClient('lmdb', db_paths=[root], client_keys=[name])
        files = {
            path.relative_to(place / 'folder' / name).as_posix(): path
            for path in (place / 'folder').glob(f'{name}/**/*.png')
        }
        assert {f'{photo.path}.png' for photo in list_photos(root, in_lmdb=True)} == set(files)
        for key, path in files.items():
            assert client.get(key[:-4], name) == path.read_bytes()
        client.client._client[name].close()
        line = (place / 'packed' / f'{name}.lmdb' / 'meta_info.txt').read_text().splitlines()[0]
        side = {'lq': 8, 'gt': 32}[name]
        assert line == f'a_s001.png ({side},{side},3) 1'
        reader = PhotoReader(root, {'type': 'lmdb'})
        np.testing.assert_array_equal(reader('sub/d_s002'), image(files['sub/d_s002.png']))
    for name in ('captions.tsv', 'records.jsonl'):
        assert (place / 'folder' / name).read_bytes() == (place / 'packed' / name).read_bytes()


def test_an_lmdb_accepts_later_photos_and_a_folder_can_become_one(place, capsys):
    (place / 'photos' / 'sub' / 'ä b.png').unlink()
    assert synthesize('set') == 0
    assert synthesize('set', '--format', 'lmdb') == 0
    Image.fromarray(data.chelsea()[:64, :64]).save(place / 'photos' / 'new.png')
    capsys.readouterr()
    assert synthesize('set', '--format', 'lmdb') == 0
    assert ' 1 photos degraded, 4 done before' in capsys.readouterr().out
    assert len((place / 'set' / 'lq.lmdb' / 'meta_info.txt').read_text().splitlines()) == 5
    assert synthesize('set') == 2
    assert error_of(capsys) == "--format: expected lmdb, since 'set' has one, got folder; use --format lmdb"


def test_interrupted_packing_is_resumed(place, capsys, monkeypatch):
    (place / 'photos' / 'sub' / 'ä b.png').unlink()
    monkeypatch.setattr(written_set, '_COMMIT_EVERY', 2)
    assert synthesize('complete', '--format', 'lmdb') == 0
    remove, removed = os.remove, []

    def interrupted(path):
        if len(removed) == 3:
            raise KeyboardInterrupt
        removed.append(path)
        remove(path)

    monkeypatch.setattr(os, 'remove', interrupted)
    assert synthesize('set', '--format', 'lmdb') == 130
    monkeypatch.setattr(os, 'remove', remove)
    assert synthesize('set', '--format', 'lmdb') == 0
    assert ' 0 photos degraded, 4 done before' in capsys.readouterr().out
    complete, packed = (
        {name: content for name, content in contents(place / root).items() if not name.endswith('.mdb')}
        for root in ('complete', 'set')
    )
    assert complete == packed
    for name in ('lq', 'gt'):
        for key in ('a', 'b_jpg', 'b_png', 'c'):
            found = [PhotoReader(f'{root}/{name}.lmdb', {'type': 'lmdb'})(key) for root in ('complete', 'set')]
            np.testing.assert_array_equal(*found)


def test_photos_may_come_from_an_lmdb_and_a_table(place):
    (place / 'photos' / 'sub' / 'ä b.png').unlink()
    assert synthesize('set', '--format', 'lmdb') == 0
    (place / 'titles.tsv').write_text('filepath\ttitle\na.png\ta face\nc.png\t\n')
    arguments = ['--input', 'set/gt.lmdb', '--meta-info', 'titles.tsv', '--output', 'again', '--scale', '2']
    assert cli.main(['synthesize', *arguments]) == 0
    assert [cells[:2] for cells in table(place / 'again')] == [['a.png', 'a face'], ['c.png', 'a photo']]


def test_titles_added_later_are_written_without_degrading_again(place, capsys):
    assert synthesize('set') == 0
    (place / 'titles.tsv').write_text('filepath\ttitle\na.png\ta face\n')
    capsys.readouterr()
    assert synthesize('set', '--meta-info', 'titles.tsv') == 0
    assert ' 0 photos degraded, 1 done before' in capsys.readouterr().out
    assert {cells[0]: cells[1] for cells in table(place / 'set')}['a.png'] == 'a face'
    assert len(table(place / 'set')) == 5


def test_without_gt_the_records_hold_the_place_of_an_image_in_its_photo(place):
    assert synthesize('set', '--no-gt', '--gt-size', '32') == 0
    assert not (place / 'set' / 'gt').exists()
    row = next(row for row in rows(place / 'set') if row['filepath'] == 'a_s005.png')
    assert (row['gt'], row['photo'], row['crop']) == (None, 'a.png', [3 + 32, 2 + 32, 32, 32])
    photo = image(place / 'photos' / 'a.png')[35:67, 34:66].astype(np.float32) / np.float32(255)
    lq = apply(from_json(json.dumps(row['record'])), photo)
    np.testing.assert_array_equal(image(place / 'set' / 'lq' / 'a_s005.png'), np.rint(lq * 255))


def test_the_recipe_comes_from_a_file_or_from_an_option_file_with_its_scale(place):
    (place / 'recipe.yml').write_text('blur_sigma: [2.0, 2.0]\njpeg_prob: 0\n')
    (place / 'train.yml').write_text(
        'scale: 2\ndatasets:\n  train:\n    type: x\n    recipe:\n      type: semantic\n      blur_sigma: [2.0, 2.0]\n'
        '      jpeg_prob: 0\n'
    )
    assert synthesize('one', '--recipe', 'recipe.yml', scale=('--scale', '2')) == 0
    assert synthesize('two', '-opt', 'train.yml', scale=()) == 0
    assert contents(place / 'one') == contents(place / 'two')
    for row, cells in zip(rows(place / 'one'), table(place / 'one'), strict=True):
        assert level_table('nominal').levels(from_json(json.dumps(row['record'])))[0] == 2.0
        assert cells[6] == 'jpeg with quality factor:100.0'


def test_the_captions_name_the_levels_of_the_command_or_of_the_option_file(place):
    (place / 'recipe.yml').write_text('type: semantic\n')
    (place / 'paper.yml').write_text('levels: nominal\nscale: 4\ndatasets: {train: {recipe: {type: semantic}}}\n')
    assert synthesize('effective') == 0
    assert synthesize('nominal', '--levels', 'nominal') == 0
    assert synthesize('paper', '-opt', 'paper.yml', scale=()) == 0
    assert contents(place / 'nominal') == contents(place / 'paper')
    for name in ('effective', 'nominal'):
        assert json.loads((place / name / 'settings.json').read_text())['levels'] == name
        levels = level_table(name)
        header, *lines = ((place / name / 'captions.tsv').read_text(encoding='utf-8')).splitlines()
        assert len(header.split('\t')) == 3 + len(levels.types)
        for row, line in zip(rows(place / name), lines, strict=True):
            assert tuple(row['levels']) == levels.names
            assert line.split('\t')[1:] == levels.captions(tuple(row['levels'].values()))
    assert [row['record'] for row in rows(place / 'effective')] == [row['record'] for row in rows(place / 'nominal')]


def test_the_clean_image_is_sharpened_with_gt_usm(place):
    (place / 'recipe.yml').write_text('gt_usm: true\n')
    assert synthesize('set', '--recipe', 'recipe.yml') == 0
    photo, gt = image(place / 'photos' / 'a.png')[1:69, :100].astype(int), image(place / 'set' / 'gt' / 'a.png')
    assert np.abs(gt - photo).max() > 8
    assert gt.astype(float).std() > photo.std()


def test_unreadable_photos_are_named_and_skipped_up_to_a_limit(place, capsys):
    for file in damaged_files(300):
        (place / 'photos' / file.name).write_bytes(file.content)
    Image.fromarray(data.chelsea()[:1, :1]).save(place / 'photos' / 'pixel.png')
    assert synthesize('set', '--max-bad-images', '300', '--workers', '2') == 0
    done, err = capsys.readouterr()
    warnings = [line for line in err.splitlines() if line.startswith('basicsr: warning: skipped photo')]
    named = {line.split("'")[1] for line in warnings}
    assert len(named) == len(warnings) == int(re.search(r'(\d+) unreadable', done)[1])
    assert 'photos/pixel.png' in named
    assert named | {os.path.join('photos', row['photo']) for row in rows(place / 'set')} == {
        photo.path for photo in list_photos('photos')
    }
    assert synthesize('few', '--max-bad-images', '3') == 2
    line = error_of(capsys)
    assert line.startswith('--max-bad-images: expected at most 3 unreadable photos of 306, got more, the last: ')
