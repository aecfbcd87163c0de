"""Training of the runs: order, interruption, and no held-out photo in the training set."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from benchmarks.prior import train
from benchmarks.prior.hashes import photo_hash, same_photos
from benchmarks.prior.runs import CONTEXT, SCALE, Setup

RESULTS = Path(__file__).parents[2] / 'benchmarks/results'


def test_a_run_is_trained_after_the_one_it_needs_and_not_at_all_if_that_failed(tmp_path, monkeypatch):
    opt, order = {'train': {'total_iter': 1}}, []
    runs = {'sr': ({**opt, 'name': 'sr'}, 'estimator'), 'other': ({**opt, 'name': 'other'}, None),
            'estimator': ({**opt, 'name': 'estimator'}, None)}  # fmt: skip

    def fake_train(opt, work, deadline):
        order.append(opt['name'])
        if opt['name'] in broken:
            return False
        (work / 'experiments' / opt['name'] / 'models').mkdir(parents=True)
        (work / 'experiments' / opt['name'] / 'models/net_g_latest.pth').touch()
        (work / f'{opt["name"]}.yml').write_text('train: {total_iter: 1}')
        return True

    monkeypatch.setattr(train, 'train', fake_train)
    broken = ['estimator']
    with pytest.raises(SystemExit, match='needs a run that failed: estimator, sr;'):
        train.train_all(runs, tmp_path, 1, math.inf)
    assert order == ['estimator', 'other']
    broken.clear()
    train.train_all(runs, tmp_path, 1, math.inf)
    assert order == ['estimator', 'other', 'estimator', 'sr']


def test_a_run_whose_estimator_is_missing_names_it(tmp_path):
    alone = {'sr_oracle': (Setup().stage2('oracle', 30), 'estimator_adaptor_short')}
    with pytest.raises(SystemExit, match='sr_oracle: expected the weights of estimator_adaptor_short, got none'):
        train.train_all(alone, tmp_path, 1, 0.0)


def test_a_run_that_was_trained_for_other_steps_is_refused(tmp_path):
    (tmp_path / 'sr_constant.yml').write_text('train: {total_iter: 7}')
    (tmp_path / 'experiments/sr_constant/models').mkdir(parents=True)
    (tmp_path / 'experiments/sr_constant/models/net_g_latest.pth').touch()
    with pytest.raises(SystemExit, match='sr_constant: expected a training of 30 steps, got one of 7'):
        train.train_all({'sr_constant': (Setup().stage2('constant', 30), None)}, tmp_path, 1, 0.0)


def test_no_held_out_photo_and_no_test_image_is_in_the_training_set():
    rows = list(csv.DictReader((RESULTS / 'photos.tsv').open(encoding='utf-8'), delimiter='\t'))
    splits = {
        part: {row['name']: (int(row['hash'], 16), int(row['mirrored'], 16)) for row in rows if row['split'] == part}
        for part in ('train', 'heldout', 'RealSR100', 'Set14SE')
    }
    counts = {part: len(photos) for part, photos in splits.items()}
    assert counts == {'train': 234, 'heldout': 30, 'RealSR100': 100, 'Set14SE': 14}
    for part in ('heldout', 'RealSR100', 'Set14SE'):
        assert same_photos(splits['train'], splits[part]) == []


def test_a_photo_is_recognized_resized_compressed_and_mirrored_and_not_confused_with_others():
    photos = {name: getattr(data, name)()[..., :3] for name in ('astronaut', 'coffee', 'chelsea', 'rocket')}
    known = {name: (photo_hash(photo), photo_hash(photo[:, ::-1])) for name, photo in photos.items()}
    small = cv2.resize(photos['astronaut'][:, ::-1], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    copy = cv2.imdecode(cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    found = same_photos({'copy': (photo_hash(copy), 0)}, known)
    assert [pair[1] for pair in found] == ['astronaut']


def test_a_held_out_photo_in_the_training_folder_is_refused(tmp_path):
    for part in ('train', 'heldout'):
        (tmp_path / part).mkdir()
        cv2.imwrite(str(tmp_path / part / f'{part}.png'), data.astronaut())
    with pytest.raises(SystemExit, match=r'no held-out photo in train/, got train\.png, the same as heldout\.png'):
        train.prepare(tmp_path, tmp_path / 'work')
    assert not (tmp_path / 'work').exists()


def test_tiles_of_small_photos_are_no_smaller_than_a_training_crop(tmp_path):
    train._write_tiles(np.zeros((300, 700, 3), np.uint8), (0.7, 0.5), tmp_path / 'photo')
    sizes = {cv2.imread(str(path)).shape[:2] for path in tmp_path.iterdir()}
    assert min(min(size) for size in sizes) == CONTEXT * SCALE
    assert len({path.name.split('_')[1] for path in tmp_path.iterdir()}) == 1  # both sizes are the smallest: once


def test_tiles_of_other_sizes_in_the_work_folder_are_refused(tmp_path):
    (tmp_path / 'tiles.json').write_text('{"tile": 64}')
    with pytest.raises(SystemExit, match='--work: expected tiles of the sizes'):
        train.prepare(tmp_path, tmp_path)


def test_a_run_trains_with_the_plugin_is_recorded_and_is_not_repeated(tmp_path):
    (tmp_path / 'photos/train').mkdir(parents=True)
    (tmp_path / 'photos/heldout').mkdir()
    cv2.imwrite(str(tmp_path / 'photos/train/a.png'), data.astronaut())
    cv2.imwrite(str(tmp_path / 'photos/heldout/b.png'), data.coffee())
    work = tmp_path / 'work'
    work.mkdir()
    train.prepare(tmp_path / 'photos', work)
    assert len(list((work / 'train').iterdir())) == 5  # 2 x 2 of 358 pixels, one of 256
    assert len(list((work / 'train_full').iterdir())) == 4
    opt = Setup().stage2('numbers', 2)  # its prior and its network are known to the plug-in alone
    opt['datasets']['train']['batch_size_per_gpu'] = 2
    runs = {'sr_numbers': (opt, None)}
    train.train_all(runs, work, 1, math.inf)
    assert train.is_done(work, 'sr_numbers'), (work / 'sr_numbers.log').read_text()
    train.train_all(runs, work, 1, math.inf)
    name, minutes, commit, machine = (work / 'hours.tsv').read_text().strip('\n').split('\t')  # one line: one training
    assert name == 'sr_numbers'
    assert float(minutes) > 0
    assert commit == train.commit()
    assert 'CPU cores' in machine
