"""Damaged and odd files: no crash, no hang, no wrong caption, and each skipped file is named."""

from __future__ import annotations

import logging
import re
import signal
import zlib

import numpy as np
import pytest
import torch
from damaged_files import damaged_files, undamaged_files

from basicsr_plugin.errors import UserError
from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.recipes import SemanticRecipe, draw
from deplsr_data.degradation.records import from_json, to_json
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.files.photos import PhotoError, decode

FILES = 2000
SECONDS = 20  # a file that takes longer hangs


@pytest.fixture
def impatient():
    """Turns a hang into a failure."""

    def fail(*_):
        raise TimeoutError(f'a file took {SECONDS} seconds')

    before = signal.signal(signal.SIGALRM, fail)
    yield lambda: signal.alarm(SECONDS)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def readable(content):
    try:
        decode(content, 'x')
    except UserError:
        return False
    return True


def test_each_of_2000_files_is_delivered_as_a_pair_or_named_once(tmp_path, caplog, impatient):
    files = sorted(damaged_files(FILES))
    for file in files:
        (tmp_path / file.name).write_bytes(file.content)
    opt = {'name': 'x', 'type': 'CaptionedDegradationDataset', 'phase': 'train', 'scale': 4, 'gt_size': 32}
    dataset = CaptionedDegradationDataset(
        {**opt, 'dataroot_gt': str(tmp_path), 'max_bad_images': FILES, 'context_length': 40, 'seed': 7}
    )
    assert len(dataset) == FILES
    delivered = set()
    with caplog.at_level(logging.WARNING, 'basicsr'):
        for index in range(FILES):
            impatient()
            item = dataset[index]
            record = draw(SemanticRecipe(), 4, rng_for(7, 0, index, 0, 'degradation'), (32, 32))
            assert item['record'] == to_json(record)
            _check(item)
            delivered.add(item['gt_path'])
    records = {id(record): record for record in caplog.records}  # a record with two handlers is listed twice
    messages = [record.getMessage() for record in records.values() if record.levelno >= logging.WARNING]
    messages = [message for message in messages if 'alpha channel is dropped' not in message]  # of a delivered one
    named = [re.search(r"'([^']*)'", message)[1] for message in messages]
    assert len(named) == len(set(named))
    assert not set(named) & delivered
    assert set(named) | delivered == {str(tmp_path / file.name) for file in files}
    assert not any('\n' in message for message in messages)
    assert all(str(tmp_path / file.name) in delivered for file in files if file.how == 'undamaged')


def _check(item):
    assert (item['lq'].shape, item['gt'].shape) == ((3, 8, 8), (3, 32, 32))
    for image in (item['lq'], item['gt']):
        assert bool(torch.isfinite(image).all())
        assert 0 <= image.min() <= image.max() <= 1
    table = level_table('effective')
    assert item['captions'] == table.captions([round(float(level), 1) for level in item['levels']])
    assert len(item['levels']) == len(table.levels(from_json(item['record'])))
    parsed = [table.parse_caption(text) for text in item['captions'][2:]]
    assert tuple(name for name, _ in parsed) == table.names
    np.testing.assert_allclose([level for _, level in parsed], item['levels'], atol=1e-6)


def test_a_damaged_png_is_refused_or_decoded_as_the_undamaged_one():
    """A PNG has checksums; whatever passes them must be what was saved."""
    checked = 0
    for file in damaged_files(FILES):
        if file.undamaged.startswith(b'\x89PNG') and readable(file.content):
            np.testing.assert_array_equal(decode(file.content, 'x'), decode(file.undamaged, 'x'))
            checked += 1
    assert checked > 20


@pytest.mark.parametrize(
    'file_format', ['rgb.png', 'turned.jpg', 'lossless.webp', 'moving.gif', 'raw.tif', 'rgb.bmp', 'deep.tif']
)
def test_a_file_cut_at_any_place_is_refused_in_one_line(file_format):
    content = undamaged_files()[file_format]
    for place in np.linspace(0, len(content) - 200, 40).astype(int):
        if file_format == 'moving.gif' and readable(content[:place]):  # its first image may be complete by then
            np.testing.assert_array_equal(decode(content[:place], 'x'), decode(content, 'x'))
            continue
        with pytest.raises(PhotoError, match=r"^'some\.png': expected [^\n]*, got [^\n]*$"):
            decode(content[:place], 'some.png')


@pytest.mark.parametrize(
    ('file_format', 'at', 'sides'),
    [('rgb.bmp', 18, (60000, 60000)), ('rgb.png', 16, (60000, 60000)), ('rgb.bmp', 18, (9999, 9999))],
)
def test_a_header_with_huge_sides_is_refused_before_memory_is_allocated(file_format, at, sides):
    content = bytearray(undamaged_files()[file_format])
    content[at : at + 8] = b''.join(side.to_bytes(4, 'big' if file_format == 'rgb.png' else 'little') for side in sides)
    if file_format == 'rgb.png':
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, 'big')
    with pytest.raises(PhotoError, match=r'^\'big\': expected .* got .*pixels') as error:
        decode(bytes(content), 'big')
    assert '\n' not in str(error.value)
