"""What is drawn depends only on seed, epoch, index and round; not on workers, interruptions or damaged files."""

from __future__ import annotations

import logging

import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from PIL import Image
from skimage import data

from basicsr_plugin.errors import UserError
from basicsr_plugin.resume import ResumePosition
from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset

PHOTOS = 5
RATIO = 4
BATCH = 2


@pytest.fixture
def root(tmp_path):
    for place in range(PHOTOS):
        Image.fromarray(data.astronaut()[place * 40 :][:60, :75]).save(tmp_path / f'{place}.png')
    return tmp_path


def options(root, **changes):
    return {
        'name': 'photos',
        'type': 'CaptionedDegradationDataset',
        'phase': 'train',
        'scale': 4,
        'dataroot_gt': str(root),
        'gt_size': 32,
        'num_worker_per_gpu': 0,
        'batch_size_per_gpu': BATCH,
        'dataset_enlarge_ratio': RATIO,
        'context_length': 40,
        **changes,
    }


def batches(opt, epoch, taken=None, resume_position=None):
    """What an epoch of training sees: records, captions, and the images themselves."""
    dataset = build_dataset(opt)
    sampler = EnlargedSampler(dataset, 1, 0, RATIO)
    sampler.set_epoch(epoch)
    sampler.resume_position = resume_position
    found = []
    for batch in build_dataloader(dataset, opt, sampler=sampler, seed=0):
        found.append((tuple(batch['record']), tuple(map(tuple, batch['captions'])), batch['lq'].numpy().tobytes()))
        if len(found) == taken:
            break
    return found


MIXTURE = {'type': 'mixture', 'recipes': [{'weight': 1, 'type': name} for name in ('clean', 'bsrgan', 'camera')]}


@pytest.mark.parametrize('recipe', [{'type': 'semantic'}, {'type': 'realesrgan'}, MIXTURE])
def test_two_and_eight_workers_draw_the_same_as_the_main_process(root, recipe):
    none, two, eight = (
        batches(options(root, num_worker_per_gpu=workers, recipe=recipe), epoch=3) for workers in (0, 2, 8)
    )
    assert len(none) == PHOTOS * RATIO // BATCH
    assert none == two == eight


def test_two_epochs_and_two_seeds_have_no_record_in_common(root):
    drawn = [
        {record for records, _, _ in batches(options(root, seed=seed), epoch) for record in records}
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert [len(records) for records in drawn] == [PHOTOS * RATIO] * 3
    assert len(set.union(*drawn)) == 3 * PHOTOS * RATIO


@pytest.mark.parametrize(('before', 'after'), [(0, 2), (2, 0), (2, 8)])
def test_an_interrupted_epoch_resumes_with_the_samples_that_are_left(root, before, after):
    """The run is stopped in epoch 1 after four batches and resumes with another number of workers."""
    whole = batches(options(root), epoch=1)
    first = batches(options(root, num_worker_per_gpu=before), epoch=1, taken=4)
    position = ResumePosition(epoch=1, iteration=len(whole) + 4, batch=BATCH)
    rest = batches(options(root, num_worker_per_gpu=after), epoch=1, resume_position=position)
    assert first + rest == whole
    following = batches(options(root, num_worker_per_gpu=after), epoch=2, resume_position=position)
    assert following == batches(options(root), epoch=2)


def test_a_damaged_photo_is_replaced_by_the_same_photo_in_any_worker(root, caplog):
    (root / '2.png').write_bytes((root / '2.png').read_bytes()[:-100])
    (root / '3.png').write_bytes(b'')
    with caplog.at_level(logging.WARNING, 'basicsr'):
        none = batches(options(root), epoch=0)
    assert sorted(record.getMessage().split("'")[1] for record in caplog.records) == [
        str(root / name) for name in ('2.png', '3.png')
    ]
    assert none == batches(options(root, num_worker_per_gpu=2), epoch=0)
    assert len({record for records, _, _ in none for record in records}) == PHOTOS * RATIO
    dataset = CaptionedDegradationDataset(options(root))
    assert [dataset[index]['gt_path'][-5] for index in range(PHOTOS)] == ['0', '1', '4', '4', '4']


def test_other_photos_keep_their_draws_when_one_is_damaged(root):
    sound = CaptionedDegradationDataset(options(root))
    before = [sound[index] for index in range(PHOTOS)]
    (root / '0.png').write_bytes(b'')
    damaged = CaptionedDegradationDataset(options(root))
    for index in range(1, PHOTOS):
        assert damaged[index]['record'] == before[index]['record']
        assert torch.equal(damaged[index]['lq'], before[index]['lq'])


@pytest.mark.parametrize('workers', [0, 2])
def test_bad_photos_are_counted_once_over_epochs_and_workers_until_there_are_too_many(root, workers):
    (root / '0.png').write_bytes(b'')
    (root / '4.png').write_bytes(b'GIF89a')
    for epoch in (0, 1):
        assert len(batches(options(root, max_bad_images=2, num_worker_per_gpu=workers), epoch)) == 10
    with pytest.raises(UserError) as error:
        batches(options(root, max_bad_images=1, num_worker_per_gpu=workers), epoch=0)
    line = str(error.value)
    assert line.startswith(
        'datasets.train.max_bad_images: expected at most 1 unreadable photos of 5, got more, the last:'
    )
    assert '\n' not in line


def test_the_first_bad_photo_stops_a_run_that_allows_none(root):
    (root / '1.png').write_bytes(b'')
    with pytest.raises(UserError, match=r"at most 0 .* '.*1\.png': expected a readable image, got an empty file"):
        batches(options(root, max_bad_images=0), epoch=0)


def test_a_replacement_has_a_different_result_path_in_validation(root):
    (root / '1.png').write_bytes(b'')
    opt = options(root, phase='val', draws_per_image=2)
    dataset = CaptionedDegradationDataset(opt)
    paths = [dataset[index]['lq_path'] for index in range(len(dataset))]
    assert len(set(paths)) == len(paths) == 2 * PHOTOS
