from __future__ import annotations

import pickle

import numpy as np
import open_clip
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from PIL import Image
from skimage import data

from basicsr_plugin.errors import UserError
from basicsr_plugin.sampling_index import SampleIndex
from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.deferred import degrade_deferred
from deplsr_data.degradation.effective import statistics_of
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.records import from_json
from deplsr_data.files.crops import draw_shrunk_side
from deplsr_data.ops.usm import sharpen

EFFECTIVE, NOMINAL = level_table('effective'), level_table('nominal')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for name in ('astronaut', 'chelsea', 'coffee'):
        Image.fromarray(getattr(data, name)()[:150, :181]).save(folder / f'{name}.png')
    return folder


def _opt(root, **changes):
    train = {
        'name': 'photos',
        'type': 'CaptionedDegradationDataset',
        'phase': 'train',
        'scale': 4,
        'dataroot_gt': str(root),
        'io_backend': {'type': 'disk'},
        'gt_size': 64,
        'num_worker_per_gpu': 0,
        'batch_size_per_gpu': 2,
        'dataset_enlarge_ratio': 4,
        'recipe': {'type': 'semantic'},
    }
    opt = {**train, **changes}
    if opt['phase'] != 'train' and 'gt_size' not in changes:
        del opt['gt_size']
    return opt


def test_basicsr_builds_it_by_name(root):
    dataset = build_dataset(_opt(root))
    assert isinstance(dataset, CaptionedDegradationDataset)
    assert dataset.opt['name'] == 'photos'
    assert len(dataset) == 3


def test_an_item_holds_the_pair_its_captions_and_its_record(root):
    item = CaptionedDegradationDataset(_opt(root))[1]
    assert set(item) == {'lq', 'gt', 'captions', 'tokens', 'levels', 'record', 'lq_path', 'gt_path'}
    assert (item['lq'].shape, item['gt'].shape) == ((3, 16, 16), (3, 64, 64))
    assert item['lq'].dtype == item['gt'].dtype == item['levels'].dtype == torch.float32
    record = from_json(item['record'])
    gt = np.ascontiguousarray(item['gt'].numpy().transpose(1, 2, 0))
    levels = EFFECTIVE.levels(record, statistics_of(gt))
    assert item['captions'] == EFFECTIVE.captions(levels)
    np.testing.assert_allclose(item['levels'], levels, rtol=1e-6)
    np.testing.assert_array_equal(
        item['lq'].numpy(),
        apply(record, gt).transpose(2, 0, 1),
    )
    assert torch.equal(item['tokens'], open_clip.get_tokenizer('ViT-B-32')(item['captions']))
    assert item['gt_path'].endswith('chelsea.png')


@pytest.mark.parametrize(
    ('table', 'levels', 'length'),
    [(EFFECTIVE, (2.9, 29.9, 57.4, 57.4, 69.9, 12.3, 34.5, 1.0), 77), (NOMINAL, (2.9, 29.9, 0, 57.4, 1.0), 40)],
)
def test_a_short_context_holds_every_whole_caption(root, table, levels, length):
    item = CaptionedDegradationDataset(_opt(root, context_length=length, levels=table.name))[0]
    assert item['tokens'].shape == (2 + len(table.types), length)
    text = table.whole_caption(levels)
    assert int(open_clip.get_tokenizer('ViT-B-32')([text]).count_nonzero()) <= length


def _records(dataset, workers, epoch):
    sampler = EnlargedSampler(dataset, 1, 0, 4)
    sampler.set_epoch(epoch)
    opt = {**dataset.opt, 'num_worker_per_gpu': workers}
    items = list(build_dataloader(dataset, opt, sampler=sampler, seed=3))
    return [text for item in items for text in item['record']], torch.cat([item['gt'] for item in items])


def test_records_and_crops_do_not_depend_on_the_workers_but_on_the_epoch(root):
    dataset = CaptionedDegradationDataset(_opt(root))
    none, two = _records(dataset, 0, epoch=1), _records(dataset, 2, epoch=1)
    assert none[0] == two[0]
    assert torch.equal(none[1], two[1])
    assert len(set(none[0])) == 12  # each round of a photo draws for itself
    assert not set(none[0]) & set(_records(dataset, 0, epoch=2)[0])


def test_the_seed_changes_the_draws(root):
    first, again, other = (CaptionedDegradationDataset(_opt(root, seed=seed))[0]['record'] for seed in (1, 1, 2))
    assert first == again != other


def test_validation_does_not_depend_on_the_epoch_and_keeps_the_photo(root):
    dataset = CaptionedDegradationDataset(_opt(root, phase='val'))
    plain, indexed = dataset[0], dataset[SampleIndex(0, epoch=5, round=2)]
    assert plain['record'] == indexed['record']
    assert torch.equal(plain['lq'], indexed['lq'])
    assert (plain['gt'].shape, plain['lq'].shape) == ((3, 148, 180), (3, 37, 45))
    photo = data.astronaut()[1:149, :180].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(plain['gt'], photo, atol=1e-6)


def test_validation_draws_a_photo_as_often_as_asked(root):
    dataset = CaptionedDegradationDataset(_opt(root, phase='val', draws_per_image=4, gt_size=64))
    items = [dataset[index] for index in range(len(dataset))]
    assert len(items) == 12
    assert len({item['record'] for item in items}) == 12
    assert len({item['lq_path'] for item in items}) == 12
    assert [item['gt_path'] for item in items[:4]] == [items[0]['gt_path']] * 4
    assert torch.equal(items[0]['gt'], items[3]['gt'])


def test_a_photo_smaller_than_the_crop_is_mirrored_in_training_and_kept_in_validation(tmp_path):
    Image.fromarray(data.astronaut()[:50, :30]).save(tmp_path / 'small.png')
    train = CaptionedDegradationDataset(_opt(tmp_path, use_hflip=False, use_rot=False))[0]['gt']
    assert train.shape == (3, 64, 64)
    assert torch.equal(train[:, :50, 30:59], train[:, :50, :29].flip(2))
    assert CaptionedDegradationDataset(_opt(tmp_path, phase='val', gt_size=64))[0]['gt'].shape == (3, 48, 28)


def test_a_photo_of_one_pixel_is_mirrored_in_training_and_skipped_in_validation(root, tmp_path, caplog):
    Image.fromarray(data.astronaut()[:1, :1]).save(tmp_path / 'pixel.png')
    train = CaptionedDegradationDataset(_opt(tmp_path))[0]['gt']
    assert torch.equal(train, train[:, :1, :1].expand(3, 64, 64))
    Image.fromarray(data.astronaut()[:64, :64]).save(tmp_path / 'usable.png')
    item = CaptionedDegradationDataset(_opt(tmp_path, phase='val'))[0]
    assert item['gt_path'].endswith('usable.png')
    assert 'pixel.png' in caplog.text


def _hwc(image):
    return np.ascontiguousarray(image.numpy().transpose(1, 2, 0))


def test_in_training_the_sharpened_gt_is_degraded_and_both_are_delivered(root):
    item = CaptionedDegradationDataset(_opt(root, recipe={'gt_usm': True}))[0]
    np.testing.assert_array_equal(_hwc(item['gt_usm']), sharpen(_hwc(item['gt'])))
    np.testing.assert_array_equal(_hwc(item['lq']), apply(from_json(item['record']), _hwc(item['gt_usm'])))
    assert item['gt_usm'].std() > item['gt'].std()


def test_in_validation_lq_comes_from_the_sharpened_photo_and_gt_is_the_photo_itself(root):
    plain, sharp = (
        CaptionedDegradationDataset(_opt(root, phase='val', recipe={'gt_usm': usm}))[0] for usm in (False, True)
    )
    assert plain['record'] == sharp['record']
    assert torch.equal(plain['gt'], sharp['gt'])
    assert 'gt_usm' not in sharp
    np.testing.assert_array_equal(_hwc(sharp['lq']), apply(from_json(sharp['record']), sharpen(_hwc(sharp['gt']))))


@pytest.mark.parametrize('usm', [False, True])
def test_a_crop_is_cut_out_of_a_larger_one_that_was_degraded(root, usm):
    recipe = {'type': 'realesrgan', 'gt_usm': usm}
    inner = CaptionedDegradationDataset(_opt(root, recipe=recipe, degrade_size=100))
    outer = CaptionedDegradationDataset(_opt(root, recipe=recipe, gt_size=100))
    places = set()
    for round in range(6):
        small, large = (dataset[SampleIndex(1, epoch=0, round=round)] for dataset in (inner, outer))
        assert small['record'] == large['record']
        windows = large['lq'].unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4)  # (10, 10, 3, 16, 16)
        found = (windows == small['lq']).flatten(2).all(2).nonzero().tolist()
        assert len(found) == 1
        y, x = found[0]
        places.add((y, x))
        for name in ('gt', 'gt_usm') if usm else ('gt',):
            assert torch.equal(large[name][:, 4 * y : 4 * y + 64, 4 * x : 4 * x + 64], small[name])
    assert len(places) > 3


def test_a_shrunk_crop_is_that_of_pillow_at_some_place_of_the_photo(root):
    opt = _opt(root, shrink=[0.5, 0.5], use_hflip=False, use_rot=False)
    gt = _hwc(CaptionedDegradationDataset(opt)[0]['gt'])
    photo = Image.open(root / 'astronaut.png')
    windows = ((x, y, x + 128, y + 128) for x in range(photo.width - 127) for y in range(photo.height - 127))
    nearest = min(
        np.abs(np.asarray(photo.crop(box).resize((64, 64), Image.Resampling.BICUBIC), np.float32) / 255 - gt).mean()
        for box in windows
    )
    assert gt.shape == (64, 64, 3)
    assert nearest < 1 / 255


def test_photos_are_shrunk_by_all_factors_of_the_range_but_no_further_than_the_crop_allows():
    rng = np.random.default_rng(0)
    sides = [draw_shrunk_side((600, 400), 64, rng, (0.5, 0.8)) for _ in range(200)]
    assert min(sides) == 80
    assert max(sides) in (127, 128)
    assert draw_shrunk_side((600, 100), 64, rng, (0.5, 0.5)) == 100
    assert draw_shrunk_side((600, 50), 64, rng, (0.5, 0.5)) == 64


@pytest.mark.parametrize('place', ['worker', 'device'])
def test_the_context_is_the_larger_crop_of_which_lq_is_a_part(root, place):
    opt = _opt(root, degrade_size=128, context=True, degrade_on=place)
    items = [CaptionedDegradationDataset(opt)[i] for i in range(2)]
    batch = degrade_deferred(torch.utils.data.default_collate(items), torch.device('cpu'))
    assert batch['context'].shape == (2, 3, 32, 32)
    for lq, context in zip(batch['lq'], batch['context'], strict=True):
        side = lq.shape[-1]
        places = range(32 - side + 1)
        assert any(torch.equal(lq, context[:, y : y + side, x : x + side]) for y in places for x in places)
    assert 'keep_context' not in batch


@pytest.mark.parametrize('recipe', [{'type': 'realesrgan'}, {'type': 'semantic', 'gt_usm': True}])
@pytest.mark.parametrize('degrade_size', [None, 100])
def test_a_batch_left_to_the_device_is_that_of_the_workers(root, recipe, degrade_size):
    batches = [
        next(
            iter(
                torch.utils.data.DataLoader(
                    CaptionedDegradationDataset(_opt(root, recipe=recipe, degrade_size=degrade_size, degrade_on=place)),
                    batch_size=3,
                )
            )
        )
        for place in ('worker', 'device')
    ]
    assert 'lq' not in batches[1]
    worker, device = batches[0], degrade_deferred(batches[1], torch.device('cpu'))
    assert set(device) == set(worker)
    assert device['record'] == worker['record']
    assert torch.equal(device['gt'], worker['gt'])
    torch.testing.assert_close(device['gt_usm'], worker['gt_usm'], atol=2e-3, rtol=0)
    for ours, theirs in zip(device['lq'], worker['lq'], strict=True):
        assert float((ours - theirs).square().mean()) < 1e-4  # 40 dB


def test_a_mixture_is_degraded_in_the_workers_and_on_the_device(root):
    types = ('semantic', 'realesrgan', 'bsrgan', 'camera', 'clean')
    recipe = {'type': 'mixture', 'gt_usm': False, 'recipes': [{'weight': 1, 'type': name} for name in types]}
    indices = [SampleIndex(index, epoch) for epoch in range(4) for index in range(3)]
    datasets = [CaptionedDegradationDataset(_opt(root, recipe=recipe, degrade_on=on)) for on in ('worker', 'device')]
    worker, device = (torch.utils.data.default_collate([one[index] for index in indices]) for one in datasets)
    assert device['degradation']['modes'].shape == (12, 5)
    device = degrade_deferred(device, torch.device('cpu'))
    assert device['record'] == worker['record']
    assert len({len(from_json(record).steps) for record in device['record']}) > 3
    assert set(device) == set(worker)
    errors = (device['lq'] - worker['lq']).square().mean((1, 2, 3))
    assert sorted(errors.tolist())[-2] < 1e-4  # 40 dB, except where a codec takes another decision
    assert errors.max() < 1e-3


def test_a_batch_that_has_its_lq_passes_unchanged():
    batch = {'lq': torch.rand(1, 3, 4, 4), 'gt': torch.rand(1, 3, 8, 8)}
    assert degrade_deferred(batch, torch.device('cpu')) is batch


def test_a_whole_photo_is_degraded_at_full_size_and_resized_without_antialiasing(root):
    opt = _opt(root, scale=1, input='whole', input_size=32, gt_size=None, recipe={'resize': 'last'})
    item = CaptionedDegradationDataset(opt)[0]
    photo = data.astronaut()[:150, :181].astype(np.float32) / 255
    degraded = apply(from_json(item['record']), photo)
    # no antialiasing: a pixel comes from the 4 x 4 around its place, whatever lies between
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(degraded.transpose(2, 0, 1))[None], (32, 32), mode='bicubic'
    )
    np.testing.assert_allclose(item['lq'], expected[0].clamp(0, 1), atol=1e-6)
    assert 'gt' not in item
    levels = EFFECTIVE.levels(from_json(item['record']), statistics_of(photo))
    assert item['captions'] == EFFECTIVE.captions(levels)


def test_whole_photos_of_any_size_come_in_one_batch(tmp_path):
    for i, (height, width) in enumerate([(60, 90), (90, 60), (33, 47)]):
        Image.fromarray(data.astronaut()[:height, :width]).save(tmp_path / f'{i}.png')
    opt = _opt(tmp_path, input='whole', input_size=24, gt_size=None)
    batch = next(iter(torch.utils.data.DataLoader(CaptionedDegradationDataset(opt), batch_size=3)))
    assert batch['lq'].shape == (3, 3, 24, 24)


def test_flips_and_turns_can_be_switched_off(root):
    fixed = CaptionedDegradationDataset(_opt(root, use_hflip=False, use_rot=False))
    photo = torch.from_numpy(data.astronaut()[:150, :181].transpose(2, 0, 1) / np.float32(255))
    windows = photo.unfold(1, 64, 1).unfold(2, 64, 1)
    turned = CaptionedDegradationDataset(_opt(root))
    indices = [SampleIndex(0, epoch=0, round=round) for round in range(8)]

    def upright(gt):
        return bool((windows[:, :, :, 0, 0] == gt[:, :1, :1]).all(0).any()) and any(
            torch.equal(windows[:, y, x], gt)
            for y, x in (windows[:, :, :, 0, 0] == gt[:, :1, :1]).all(0).nonzero().tolist()
        )

    assert all(upright(fixed[index]['gt']) for index in indices)
    assert not all(upright(turned[index]['gt']) for index in indices)


def test_titles_become_semantic_captions(root, tmp_path):
    table = tmp_path / 'titles.tsv'
    table.write_text('filepath\ttitle\ncoffee.png\ta cup of coffee\n')
    dataset = CaptionedDegradationDataset(_opt(root, meta_info=str(table)))
    assert len(dataset) == 1
    assert dataset[0]['captions'][0] == 'a cup of coffee'


def test_an_lmdb_has_the_items_of_its_folder(root, tmp_path):
    names = ['astronaut', 'chelsea', 'coffee']
    make_lmdb_from_imgs(str(root), str(tmp_path / 'x.lmdb'), [f'{name}.png' for name in names], names)
    lmdb = CaptionedDegradationDataset(_opt(tmp_path / 'x.lmdb', io_backend={'type': 'lmdb'}))
    disk = CaptionedDegradationDataset(_opt(root))
    expected = torch.stack([disk[index]['lq'] for index in range(3)])
    for workers in (0, 2):  # first here, then in processes forked from here
        loader = torch.utils.data.DataLoader(lmdb, batch_size=3, num_workers=workers)
        assert torch.equal(next(iter(loader))['lq'], expected)


def test_a_data_set_can_be_sent_to_a_spawned_worker(root):
    dataset = CaptionedDegradationDataset(_opt(root))
    record = dataset[0]['record']
    assert pickle.loads(pickle.dumps(dataset))[0]['record'] == record


@pytest.mark.parametrize(
    ('changes', 'parts'),
    [
        ({'jpg_range': [30, 95]}, ['datasets.train', "'jpg_range'"]),
        ({'gt_sise': 64}, ["did you mean 'gt_size'"]),
        ({'recipe': {'type': 'semantic', 'jpeg_range': [95, 30]}}, ['datasets.train.recipe.jpeg_range', 'swap them']),
        ({'recipe': {'jpg_range': [30, 95]}}, ['datasets.train.recipe', "did you mean 'jpeg_range'"]),
        ({'dataroot_gt': 'nowhere'}, ['datasets.train.dataroot_gt', "'nowhere'"]),
        ({'gt_size': 66}, ['datasets.train.gt_size', 'multiple of scale 4, got 66; take 64']),
        ({'gt_size': None}, ["missing key 'gt_size'"]),
        ({'tokenizer': 'ViT-B-33'}, ['datasets.train.tokenizer', "did you mean 'ViT-B-32'"]),
        ({'io_backend': {}}, ["datasets.train.io_backend: missing key 'type', 'disk' or 'lmdb'; add it"]),
        ({'io_backend': {'type': 'tape'}}, ['datasets.train.io_backend', 'tape']),
        ({'draws_per_image': 2}, ['draws_per_image', 'dataset_enlarge_ratio']),
        ({'scale': 'four'}, ['datasets.train.scale', 'four']),
        ({'seed': -1}, ['datasets.train.seed', '-1']),
        ({'input_size': 32}, ['datasets.train.input_size', 'input: whole only']),
        ({'input': 'hole'}, ['datasets.train.input', 'hole']),
        ({'input': 'whole', 'gt_size': None}, ["missing key 'input_size'"]),
        ({'input': 'whole', 'input_size': 32}, ['datasets.train.gt_size', 'got 64; remove it']),
        (
            {'input': 'whole', 'input_size': 32, 'gt_size': None, 'degrade_on': 'device'},
            ['datasets.train.degrade_on', 'set it to worker'],
        ),
        ({'degrade_size': 50}, ['datasets.train.degrade_size', 'at least gt_size (64), got 50']),
        ({'context': True}, ['datasets.train.context', 'set degrade_size above gt_size']),
        ({'degrade_size': 101}, ['datasets.train.degrade_size', 'multiple of scale 4', '101']),
        ({'phase': 'val', 'degrade_size': 100}, ['datasets.val.degrade_size', 'in training only']),
        ({'shrink': [0.7, 0.5]}, ['datasets.train.shrink', '0 < low <= high <= 1, got [0.7, 0.5]']),
        ({'shrink': [0, 1]}, ['datasets.train.shrink', 'got [0.0, 1.0]']),
        ({'shrink': 0.5}, ['datasets.train.shrink', 'got 0.5']),
        ({'phase': 'val', 'shrink': [0.5, 1]}, ['datasets.val.shrink', 'in training only']),
        ({'input': 'whole', 'input_size': 32, 'gt_size': None, 'shrink': [0.5, 1]}, ['datasets.train.shrink', 'none']),
    ],
)
def test_a_wrong_option_is_one_clear_line(root, changes, parts):
    with pytest.raises(UserError) as caught:
        CaptionedDegradationDataset(_opt(root, **changes))
    assert '\n' not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_a_missing_root_is_named(root):
    opt = _opt(root)
    del opt['dataroot_gt']
    with pytest.raises(UserError, match="missing key 'dataroot_gt'"):
        CaptionedDegradationDataset(opt)


@pytest.mark.parametrize('workers', [0, 1])
def test_an_unreadable_image_is_named(tmp_path, workers):
    (tmp_path / 'bad.png').write_bytes(b'no image')
    dataset = CaptionedDegradationDataset(_opt(tmp_path))
    loader = torch.utils.data.DataLoader(dataset, num_workers=workers)
    with pytest.raises(UserError, match=r'bad\.png') as caught:
        list(loader)
    assert '\n' not in str(caught.value)


def test_a_photo_smaller_than_the_scale_is_named_in_validation(tmp_path):
    Image.fromarray(data.astronaut()[:3, :30]).save(tmp_path / 'sliver.png')
    with pytest.raises(UserError, match=r'sliver\.png'):
        CaptionedDegradationDataset(_opt(tmp_path, phase='val'))[0]
