"""Starts of crops and tiles, compared with the two functions that computed them in version 0.1."""

from __future__ import annotations

import itertools
import math

import pytest

from deplsr_arch.grid import starts


def tile_starts_v0_1(length, tile, overlap):
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def crop_starts_v0_1(length, size):
    count = min(math.ceil(length / size), 3)
    return sorted({int(index * (length - size) / max(count - 1, 1)) // 16 * 16 for index in range(count)})


@pytest.mark.parametrize(('tile', 'overlap'), [(1, 0), (8, 3), (64, 0), (64, 16), (64, 63)])
def test_tiles_start_where_they_did_in_version_0_1(tile, overlap):
    for length in range(1, 400):
        assert starts(length, tile, overlap) == tile_starts_v0_1(length, tile, overlap)


@pytest.mark.parametrize('size', [16, 32, 33, 48, 224])
def test_clip_crops_start_where_they_did_in_version_0_1(size):
    for length in range(size, 1200):
        assert starts(length, size, step=16, max_count=3) == crop_starts_v0_1(length, size)


@pytest.mark.parametrize(('length', 'size', 'overlap'), [(100, 32, 8), (33, 32, 0), (1000, 64, 32)])
def test_neighbours_share_at_least_the_overlap_and_the_last_piece_ends_at_the_border(length, size, overlap):
    found = starts(length, size, overlap)
    assert found[0] == 0
    assert found[-1] + size == length
    assert all(before + size - after >= overlap for before, after in itertools.pairwise(found))
