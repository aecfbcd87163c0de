"""Windows of attention, compared with slow and plain computations of the same."""

from __future__ import annotations

import pytest
import torch

from deplsr_arch import windows

WINDOWS = [(4, 8), (8, 4), (2, 3), (5, 5)]


def windows_by_hand(x, window):
    """Every window of images (B, H, W, ...), one slice after the other: (B, windows, L, ...)."""
    height, width = window
    corners = [(i, j) for i in range(0, x.shape[1], height) for j in range(0, x.shape[2], width)]
    return torch.stack([x[:, i : i + height, j : j + width].flatten(1, 2) for i, j in corners], dim=1)


@pytest.mark.parametrize('window', WINDOWS)
def test_partition_cuts_windows_row_by_row(window):
    x = torch.randn(2, 2 * window[0], 3 * window[1], 5)
    assert torch.equal(windows.partition(x, window).flatten(1, 2), windows_by_hand(x, window))


@pytest.mark.parametrize('window', WINDOWS)
def test_merge_undoes_partition(window):
    x = torch.randn(2, 3 * window[0], window[1], 5)
    assert torch.equal(windows.merge(windows.partition(x, window), window), x)


@pytest.mark.parametrize('window', WINDOWS)
def test_the_bias_of_two_positions_is_the_tables_value_at_their_offset(window):
    height, width = window
    offsets = windows.offset_grid(window)
    bias = windows.bias_between_positions(offsets.movedim(-1, 0), window)  # each pair gets its own offset as a bias
    rows, columns = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    assert torch.equal(bias[0], (rows[:, None] - rows[None, :]).float())
    assert torch.equal(bias[1], (columns[:, None] - columns[None, :]).float())


@pytest.mark.parametrize('grid', [(1, 1), (1, 3), (3, 1), (3, 2)])
@pytest.mark.parametrize('window', WINDOWS)
def test_positions_attend_only_within_their_window_and_their_side_of_the_shift(window, grid):
    shift = (window[0] // 2, window[1] // 2)
    height, width = grid[0] * window[0], grid[1] * window[1]
    qkv = torch.randn(2, height, width, 3, 2, 6)
    bias = torch.randn(1, 2, window[0] * window[1], window[0] * window[1])
    masked = bias + windows.FORBIDDEN * windows.shift_masks(window, shift).unsqueeze(1)
    q, k, v = windows.partition(qkv, window).transpose(3, 5).unbind(4)
    got = windows.attend(q, k, v, masked, scale=0.3)

    # a pixel came over the border with the shift if it is now among the last shift[...] rows or columns
    wrapped = 2 * (torch.arange(height) >= height - shift[0])[:, None] + (torch.arange(width) >= width - shift[1]).int()
    side = windows_by_hand(wrapped[None, ..., None], window)[0, :, :, 0]
    apart = (side[:, :, None] != side[:, None, :])[None, :, None]  # (1, windows, 1, L, L)
    q, k, v = (windows_by_hand(qkv[:, :, :, i], window).transpose(2, 3) for i in range(3))
    logits = (0.3 * q @ k.transpose(-2, -1) + bias).masked_fill(apart, -torch.inf)
    torch.testing.assert_close(got.flatten(1, 2), logits.softmax(-1) @ v)


def test_padding_reaches_the_next_multiple_with_zeros():
    x = torch.ones(1, 5, 8, 2)
    padded = windows.pad_to_multiple(x, 8)
    assert padded.shape == (1, 8, 8, 2)
    assert padded.sum() == x.sum()
    assert windows.pad_to_multiple(padded, 8) is padded


def test_both_orientations_of_a_window_fit_the_common_side():
    assert windows.common_side((8, 32)) == 32
    assert windows.common_side((4, 6)) == 12
