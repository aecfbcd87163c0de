from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from PIL import Image
from skimage import data

from basicsr_plugin import cli
from basicsr_plugin.errors import UserError
from basicsr_plugin.sampling_index import SampleIndex
from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset
from deplsr_data.captioned_pair_dataset import CaptionedPairDataset, read_captions
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.records import from_json

EFFECTIVE, NOMINAL = level_table('effective'), level_table('nominal')
COLUMNS = 'filepath\ttitle\ttitle2\ttitle3\ttitle4\ttitle5\ttitle6\ttitle7\n'
FINE = [
    'blur with sigma:1.2',
    'gaussian noise with sigma:0.0',
    'poisson noise with scale:1.5',
    'jpeg with quality factor:57.4',
    'no ringing and overshoot artifacts',
]


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Sets of two photos, written in several ways."""
    root = tmp_path_factory.mktemp('written')
    (root / 'photos' / 'sub').mkdir(parents=True)
    for name, photo in (('a', data.astronaut()), ('sub/b', data.chelsea())):
        Image.fromarray(photo[:90, :121]).save(root / 'photos' / f'{name}.png')
    (root / 'titles.tsv').write_text('filepath\ttitle\na.png\ta face\nsub/b.png\ta cat\n')
    ways = {'plain': [], 'tiles': ['--gt-size', '40', '--draws', '2'], 'no_gt': ['--gt-size', '40', '--no-gt']}
    ways['nominal'] = ['--levels', 'nominal']
    ways['lmdb'] = [*ways['tiles'], '--format', 'lmdb']
    shared = ['synthesize', '--input', f'{root}/photos', '--meta-info', f'{root}/titles.tsv', '--scale', '4']
    for way, arguments in ways.items():
        assert cli.main([*shared, '--output', f'{root}/{way}', *arguments]) == 0
    return root


def options(root, **changes):
    opt = {
        'name': 'pairs',
        'type': 'CaptionedPairDataset',
        'phase': 'val',
        'scale': 4,
        'dataroot_lq': f'{root}/lq',
        'dataroot_gt': f'{root}/gt',
        'meta_info': f'{root}/captions.tsv',
        **changes,
    }
    return {key: value for key, value in opt.items() if value is not None}


def published(root, **changes):
    """Options of a table that is written by hand with the captions of LSDIR-DE."""
    return options(root, levels='nominal', **changes)


def train(root, **changes):
    return options(
        root, **{'phase': 'train', 'gt_size': 16, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, **changes}
    )


def authors_layout(root, rows, lq_suffix='png', gt_suffix='png'):
    """LR and GT folders with a table next to them, as LSDIR-DE has it."""
    for name in ('a', 'b'):
        for folder, side, suffix in (('lq', 12, lq_suffix), ('gt', 48, gt_suffix)):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(data.astronaut()[:side, :side]).save(root / folder / f'{name}.{suffix}')
    (root / 'captions.tsv').write_text(COLUMNS + ''.join('\t'.join(row) + '\n' for row in rows))
    return root


def test_basicsr_builds_it_by_name_and_its_items_are_like_those_of_the_other_data_set(written):
    pair = build_dataset(options(written / 'plain'))
    drawn = CaptionedDegradationDataset(
        {'name': 'x', 'type': 'x', 'phase': 'val', 'scale': 4, 'dataroot_gt': str(written / 'photos')}
    )
    assert isinstance(pair, CaptionedPairDataset)
    assert len(pair) == 2
    item, other = pair[0], drawn[0]
    assert set(item) == set(other)
    assert [(type(item[key]), getattr(item[key], 'dtype', None)) for key in other] == [
        (type(value), getattr(value, 'dtype', None)) for value in other.values()
    ]
    assert torch.equal(item['gt'], other['gt'])
    assert item['tokens'].shape == other['tokens'].shape


@pytest.mark.parametrize('way', ['plain', 'tiles', 'nominal'])
def test_what_was_written_is_read(written, way):
    table = NOMINAL if way == 'nominal' else EFFECTIVE
    dataset = CaptionedPairDataset(options(written / way, levels=table.name))
    rows = [json.loads(line) for line in (written / way / 'records.jsonl').read_text().splitlines()]
    assert len(dataset) == len(rows)
    for index, row in enumerate(rows):
        item = dataset[index]
        record = from_json(item['record'])
        assert record == from_json(json.dumps(row['record']))
        levels = table.ordered_levels(row['levels'])
        assert set(row['levels']) == set(table.names)
        assert item['captions'] == table.captions(levels, {'a.png': 'a face', 'sub/b.png': 'a cat'}[row['photo']])
        np.testing.assert_allclose(item['levels'], levels, rtol=1e-6)
        if table is NOMINAL:
            assert levels == table.levels(record)
        for key, path in (('lq', item['lq_path']), ('gt', item['gt_path'])):
            expected = np.asarray(Image.open(path)).transpose(2, 0, 1) / np.float32(255)
            np.testing.assert_array_equal(item[key], expected)
        assert item['lq_path'] == str(written / way / 'lq' / row['filepath'])


def test_an_lmdb_and_photos_without_written_gt_have_the_same_pairs(written):
    tiles = CaptionedPairDataset(options(written / 'tiles'))
    root = written / 'lmdb'
    packed = CaptionedPairDataset(
        options(root, dataroot_lq=f'{root}/lq.lmdb', dataroot_gt=f'{root}/gt.lmdb', io_backend={'type': 'lmdb'})
    )
    root = written / 'no_gt'
    photos = CaptionedPairDataset(options(root, dataroot_gt=str(written / 'photos')))
    for index in range(len(tiles)):
        assert torch.equal(tiles[index]['lq'], packed[index]['lq'])
        assert torch.equal(tiles[index]['gt'], packed[index]['gt'])
        assert tiles[index]['record'] == packed[index]['record']
    for index in range(len(photos)):
        assert torch.equal(tiles[2 * index]['gt'], photos[index]['gt'])
        assert torch.equal(tiles[2 * index]['lq'], photos[index]['lq'])


def test_a_set_written_by_version_0_1_is_read(written, tmp_path):
    """Version 0.1 names the distribution of the noise ``kind``."""
    rows = (written / 'plain' / 'records.jsonl').read_text()
    assert '"distribution"' in rows
    (tmp_path / 'records.jsonl').write_text(rows.replace('"distribution"', '"kind"'))
    old = CaptionedPairDataset(options(written / 'plain', records=str(tmp_path / 'records.jsonl')))
    new = CaptionedPairDataset(options(written / 'plain'))
    assert [old[index]['record'] for index in range(2)] == [new[index]['record'] for index in range(2)]


def test_several_tables_are_read_one_after_another(written):
    tables = [str(written / way / 'captions.tsv') for way in ('tiles', 'tiles')]
    assert len(CaptionedPairDataset(options(written / 'tiles', meta_info=tables))) == 48


def _with_coordinates(root):
    """A pair in which each pixel holds its coordinates, so that the place of a crop is known."""
    y, x = np.mgrid[:24, :30]
    lq = np.stack([y, x, 0 * x], 2).astype(np.uint8)
    for name in ('lq', 'gt'):
        (root / name).mkdir()
    Image.fromarray(lq).save(root / 'lq' / 'a.png')
    Image.fromarray(lq.repeat(4, 0).repeat(4, 1)).save(root / 'gt' / 'a.png')
    (root / 'captions.tsv').write_text(COLUMNS + '\t'.join(['a.png', '', '', *FINE]) + '\n')
    return root


def test_both_images_of_a_pair_are_cropped_and_flipped_alike(tmp_path):
    dataset = CaptionedPairDataset(train(_with_coordinates(tmp_path), levels='nominal'))
    seen = set()
    for round in range(40):
        item = dataset[SampleIndex(0, 0, round)]
        assert (item['lq'].shape, item['gt'].shape) == ((3, 4, 4), (3, 16, 16))
        assert torch.equal(item['lq'].repeat_interleave(4, 1).repeat_interleave(4, 2), item['gt'])
        corner, across, down = (item['lq'][:2, i, j] * 255 for i, j in ((0, 0), (0, 1), (1, 0)))
        seen.add((tuple((across - corner).round().int().tolist()), tuple((down - corner).round().int().tolist())))
    assert len(seen) == 8  # all flips and quarter turns
    plain = CaptionedPairDataset(train(tmp_path, levels='nominal', use_hflip=False, use_rot=False))
    steps = [plain[SampleIndex(0, 0, round)]['lq'] * 255 for round in range(20)]
    assert all(((step[1, :, 1] - step[1, :, 0]).round() == 1).all() for step in steps)
    assert len({tuple(step[:2, 0, 0].round().int().tolist()) for step in steps}) > 10


def test_a_pair_smaller_than_the_crop_is_mirrored_alike(tmp_path):
    dataset = CaptionedPairDataset(train(_with_coordinates(tmp_path), levels='nominal', gt_size=160))
    item = dataset[0]
    assert (item['lq'].shape, item['gt'].shape) == ((3, 40, 40), (3, 160, 160))
    assert torch.equal(item['lq'].repeat_interleave(4, 1).repeat_interleave(4, 2), item['gt'])


def test_validation_crops_the_middle(tmp_path):
    item = CaptionedPairDataset(published(_with_coordinates(tmp_path), gt_size=32))[0]
    assert item['lq'].shape == (3, 8, 8)
    assert (item['lq'][:2, 0, 0] * 255).round().tolist() == [8, 11]
    assert torch.equal(item['lq'].repeat_interleave(4, 1).repeat_interleave(4, 2), item['gt'])


def test_crops_depend_on_epoch_index_and_round_and_not_on_workers(written):
    def epoch(number, workers):
        opt = train(written / 'tiles', num_worker_per_gpu=workers)
        dataset = build_dataset(opt)
        sampler = EnlargedSampler(dataset, 1, 0, 1)
        sampler.set_epoch(number)
        return torch.cat([batch['gt'] for batch in build_dataloader(dataset, opt, sampler=sampler, seed=0)])

    assert torch.equal(epoch(0, 0), epoch(0, 2))
    assert not torch.equal(epoch(0, 0), epoch(1, 0))


def test_a_table_is_completed_where_a_degradation_type_is_missing(tmp_path):
    rows = [
        ['a.png', 'a face', 'blur with sigma:1.2', FINE[0], '', '', '', ''],
        ['b.png', '', '', FINE[3], FINE[0], 'ringing and overshoot artifacts', '', FINE[2]],
    ]
    dataset = CaptionedPairDataset(published(authors_layout(tmp_path, rows)))
    first, second = dataset[0], dataset[1]
    assert first['captions'] == [
        *('a face', 'blur with sigma:1.2', 'blur with sigma:1.2', 'gaussian noise with sigma:0.0'),
        *('poisson noise with scale:0.0', 'jpeg with quality factor:100.0', 'no ringing and overshoot artifacts'),
    ]
    assert first['levels'].tolist() == pytest.approx([1.2, 0, 0, 100, 0])
    assert second['levels'].tolist() == pytest.approx([1.2, 0, 1.5, 57.4, 1])
    assert second['captions'][1] == (
        'blur with sigma:1.2, poisson noise with scale:1.5, jpeg with quality factor:57.4, '
        'ringing and overshoot artifacts'
    )
    assert second['captions'][0] == 'a photo'
    assert first['record'] == second['record'] == ''


def test_empty_captions_mean_no_degradation():
    texts, found = read_captions([''] * 7, NOMINAL)
    assert texts[:2] == ('a photo', 'no degradation')
    assert found == (0, 0, 0, 100, 0)


def test_clean_images_may_have_another_suffix(tmp_path):
    rows = [[f'{name}.jpg', '', '', *FINE] for name in 'ab']
    item = CaptionedPairDataset(published(authors_layout(tmp_path, rows, 'jpg', 'webp')))[1]
    assert item['gt_path'].endswith('b.webp')
    assert item['lq_path'].endswith('b.jpg')


def test_bad_pairs_are_replaced_and_named(tmp_path, caplog):
    rows = [[f'{name}.png', '', '', *FINE] for name in 'ab']
    authors_layout(tmp_path, rows)
    (tmp_path / 'lq' / 'a.png').write_bytes(b'')
    dataset = CaptionedPairDataset(published(tmp_path))
    assert dataset[0]['lq_path'].endswith('b.png')
    assert 'a.png' in caplog.text
    Image.fromarray(data.astronaut()[:50, :48]).save(tmp_path / 'gt' / 'b.png')
    with pytest.raises(UserError, match=r'expected 48 x 48 pixels, 4 times those of .*, got 50 x 48; check scale'):
        CaptionedPairDataset(published(tmp_path, max_bad_images=0))[1]


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        ({'dataroot_lq': None}, "datasets.val: missing key 'dataroot_lq'; expected text"),
        ({'dataroot_lqq': 'x'}, "datasets.val: unknown key 'dataroot_lqq'; did you mean 'dataroot_lq'?"),
        (
            {'meta_info': 'no.tsv'},
            "datasets.val.meta_info: expected a text file, got 'no.tsv': No such file or directory",
        ),
        ({'records': 'no.jsonl'}, "datasets.val.records: expected a file, got 'no.jsonl': No such file or directory"),
        ({'dataroot_lq': 'nowhere'}, "datasets.val.dataroot_lq: expected a folder, got 'nowhere'"),
        (
            {'dataroot_gt': '.'},
            "datasets.val.dataroot_gt: expected the folder that meta_info's paths begin in, got '.'",
        ),
        ({'gt_size': 30}, 'datasets.val.gt_size: expected a multiple of scale 4, got 30; take 32'),
        ({'tokenizer': 'ViT-B-33'}, "datasets.val.tokenizer: expected the name of an open_clip model, got 'ViT-B-33'"),
        ({'phase': 'train'}, "datasets.train: missing key 'gt_size'"),
    ],
)
def test_a_wrong_option_is_one_clear_line(tmp_path, changes, line):
    root = authors_layout(tmp_path, [['a.png', '', '', *FINE]])
    with pytest.raises(UserError) as error:
        CaptionedPairDataset(published(root, **changes))
    assert str(error.value).startswith(line)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('filepath\ttitle\na.png\tx\n', "expected the columns 'filepath', 'title', 'title2', "),
        (COLUMNS, 'expected rows, got none'),
        (COLUMNS + 'a.png\t\t\tblurry\t\t\t\t\n', "row 1 of '"),
        (COLUMNS + f'a.png\t\t\t{FINE[0]}\t{FINE[0]}\t\t\t\n', 'expected one fine caption of each degradation type'),
        (COLUMNS + 'a.png\tx\n', 'expected 8 columns in line 2'),
    ],
)
def test_a_wrong_table_is_one_clear_line(tmp_path, text, line):
    root = authors_layout(tmp_path, [['a.png', '', '', *FINE]])
    (root / 'captions.tsv').write_text(text)
    with pytest.raises(UserError) as error:
        CaptionedPairDataset(published(root))
    assert str(error.value).startswith('datasets.val.meta_info: ')
    assert line in str(error.value)
    assert '\n' not in str(error.value)


def test_a_records_file_of_another_format_is_one_clear_line(written, tmp_path):
    shutil.copy(written / 'plain' / 'captions.tsv', tmp_path / 'records.jsonl')
    with pytest.raises(UserError, match=r'datasets\.val\.records: expected rows .* in line 1 of'):
        CaptionedPairDataset(options(written / 'plain', records=str(tmp_path / 'records.jsonl')))


@pytest.mark.parametrize(('way', 'levels'), [('plain', 'nominal'), ('nominal', 'effective')])
def test_a_set_with_other_levels_is_refused_in_one_line(written, way, levels):
    other = 'effective' if levels == 'nominal' else 'nominal'
    with pytest.raises(UserError) as error:
        CaptionedPairDataset(options(written / way, levels=levels))
    assert str(error.value) == (
        f"datasets.val.levels: expected {other}, with which the set in '{written / way}' was written, got {levels}; "
        f'set levels: {other} here and at the top level, or write the set with --levels {levels}'
    )


def test_a_set_of_version_0_1_has_nominal_levels(written, tmp_path):
    shutil.copytree(written / 'nominal', tmp_path / 'old')
    settings = json.loads((tmp_path / 'old' / 'settings.json').read_text())
    del settings['levels']
    (tmp_path / 'old' / 'settings.json').write_text(json.dumps(settings))
    assert len(CaptionedPairDataset(options(tmp_path / 'old', levels='nominal'))) == 2
    with pytest.raises(UserError, match=r'datasets\.val\.levels: expected nominal'):
        CaptionedPairDataset(options(tmp_path / 'old'))


def test_a_table_with_captions_of_other_levels_is_refused_with_the_name_of_the_levels(tmp_path):
    authors_layout(tmp_path, [['a.png', '', '', *FINE]])
    with pytest.raises(UserError) as error:
        CaptionedPairDataset(options(tmp_path))
    assert str(error.value) == (
        f"datasets.val.meta_info: row 1 of '{tmp_path}/captions.tsv': expected a fine caption of effective levels, "
        "such as 'noise with sigma:12.5', got 'gaussian noise with sigma:0.0'; correct it, or set levels: nominal"
    )
