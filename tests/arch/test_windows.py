"""Windows of attention, compared with slow and plain computations of the same."""

from __future__ import annotations

import pytest
import torch

from deplsr_arch import cpu_attention, windows
from deplsr_arch.cpu_attention import attention_on_cpu

WINDOWS = [(4, 8), (8, 4), (2, 3), (5, 5)]


def windows_by_hand(x, window):
    """Every window of images (B, H, W, ...), one slice after the other: (B, windows, L, ...)."""
    height, width = window
    corners = [(i, j) for i in range(0, x.shape[1], height) for j in range(0, x.shape[2], width)]
    return torch.stack([x[:, i : i + height, j : j + width].flatten(1, 2) for i, j in corners], dim=1)


@pytest.mark.parametrize('window', WINDOWS)
def test_partition_cuts_windows_row_by_row(window):
    x = torch.randn(2, 2 * window[0], 3 * window[1], 3, 2, 5)
    by_hand = windows_by_hand(x, window).flatten(0, 1)  # (windows, L, 3, 2, 5)
    assert torch.equal(windows.partition(x, window), by_hand.permute(2, 0, 3, 1, 4))


@pytest.mark.parametrize(('channels', 'pads'), [(5, 1), (8, 0)])
def test_partition_pads_heads_on_a_gpu_only_where_channels_are_missing(channels, pads, monkeypatch):
    calls = []
    pad = windows.F.pad
    monkeypatch.setattr(windows.F, 'pad', lambda *args: calls.append(args) or pad(*args))
    x = torch.empty(2, 8, 8, 3, 2, channels, device='meta')  # as a GPU, without one
    assert windows.partition(x, (4, 8)).shape[-1] == 8
    assert len(calls) == pads


@pytest.mark.parametrize('window', WINDOWS)
def test_merge_undoes_partition(window):
    x = torch.randn(2, 3 * window[0], window[1], 1, 2, 5)
    assert torch.equal(windows.merge(windows.partition(x, window)[0], window, (3, 1)), x[:, :, :, 0])


@pytest.mark.parametrize('window', WINDOWS)
def test_the_bias_of_two_positions_is_the_tables_value_at_their_offset(window):
    height, width = window
    offsets = windows.offset_grid(window)
    bias = windows.bias_between_positions(offsets.movedim(-1, 0), window)  # each pair gets its own offset as a bias
    rows, columns = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    assert torch.equal(bias[0], (rows[:, None] - rows[None, :]).float())
    assert torch.equal(bias[1], (columns[:, None] - columns[None, :]).float())


@pytest.mark.parametrize('axes', [(1, 1), (1, 0), (0, 1)])
@pytest.mark.parametrize('grid', [(1, 1), (1, 3), (3, 1), (3, 2)])
@pytest.mark.parametrize('window', WINDOWS)
def test_positions_attend_only_within_their_window_and_their_side_of_the_shift(window, grid, axes):
    shift = (window[0] // 2 * axes[0], window[1] // 2 * axes[1])
    height, width = grid[0] * window[0], grid[1] * window[1]
    qkv = torch.randn(2, height, width, 3, 2, 6)
    table = torch.randn(2, 2 * window[0] - 1, 2 * window[1] - 1)
    bias = windows.bias_between_positions(table, window)
    qk, v = qkv.split((2, 1), dim=3)
    biases = windows.biases_of_pieces(table, window, shift)
    got = windows.attend(qk, v, window, shift, biases, scale=0.3)  # (B, H, W, heads, d), not shifted
    got = windows_by_hand(got.roll((-shift[0], -shift[1]), (1, 2)), window).transpose(2, 3)

    # a pixel came over the border with the shift if it is now among the last shift[...] rows or columns
    wrapped = 2 * (torch.arange(height) >= height - shift[0])[:, None] + (torch.arange(width) >= width - shift[1]).int()
    side = windows_by_hand(wrapped[None, ..., None], window)[0, :, :, 0]
    apart = (side[:, :, None] != side[:, None, :])[None, :, None]  # (1, windows, 1, L, L)
    rolled = qkv.roll((-shift[0], -shift[1]), (1, 2))
    q, k, v = (windows_by_hand(rolled[:, :, :, i], window).transpose(2, 3) for i in range(3))
    logits = (0.3 * q @ k.transpose(-2, -1) + bias).masked_fill(apart, -torch.inf)
    torch.testing.assert_close(got, logits.softmax(-1) @ v)


@pytest.mark.parametrize('heads', [1, 3])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_attention_on_the_cpu_has_the_gradients_of_plain_products(heads, dtype):
    q, k, v, upstream = (torch.randn(9, 3, 12, 5).to(dtype) for _ in range(4))
    bias = torch.randn(1, heads, 12, 12)
    forbidden = torch.zeros(12, 12, dtype=torch.bool)
    forbidden[:5, 5:] = True
    masked = bias.masked_fill(forbidden, -torch.inf)
    gradients = []
    for attend in (
        lambda q, k, v, bias: attention_on_cpu(q, k, v, bias, 0.3),
        lambda q, k, v, bias: ((0.3 * q.float() @ k.float().mT + bias).softmax(-1) @ v.float()).to(dtype),
    ):
        leaves = [x.clone().requires_grad_() for x in (q, k, v, masked)]
        out = attend(*leaves)
        out.backward(upstream)
        gradients.append([out, *(leaf.grad.masked_fill(leaf.isinf(), 0) for leaf in leaves)])
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, **({'rtol': 2e-2, 'atol': 3e-2} if dtype == torch.bfloat16 else {}))


def test_attention_on_the_cpu_takes_a_fixed_mask():
    q, k, v = (torch.randn(2, 3, 12, 5, requires_grad=True) for _ in range(3))
    mask = torch.zeros(1, 1, 12, 12)
    mask[..., 6:, :6] = -torch.inf
    attention_on_cpu(q, k, v, mask, 0.3).sum().backward()
    got = [x.grad for x in (q, k, v)]
    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
    ((0.3 * q @ k.mT + mask).softmax(-1) @ v).sum().backward()
    torch.testing.assert_close(got, [x.grad for x in (q, k, v)])


def _attention_in_double(q, k, v, bias, scale):
    return ((scale * q.double() @ k.double().mT + bias.double()).softmax(-1) @ v.double()).float()


def _count_calls(monkeypatch):
    """Returns a list that grows with each call of torch's fused kernel."""
    calls, kernel = [], torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counted = lambda *args, **kwargs: calls.append(1) or kernel(*args, **kwargs)  # noqa: E731
    monkeypatch.setattr(torch.ops.aten, '_scaled_dot_product_flash_attention_for_cpu', counted)
    return calls


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason='torch takes its fused kernel without MKL')
@pytest.mark.parametrize(
    ('size', 'offset', 'fused'),
    [(0.1, 0, 0), (2, 0, 0), (1, 30, 0), (1, -30, 0), (1, 200, 1), (1, -200, 1), (30, 0, 1)],
)
def test_attention_on_the_cpu_is_exact_for_logits_of_any_size(size, offset, fused, monkeypatch):
    calls = _count_calls(monkeypatch)
    q, k, v = (torch.randn(5, 3, 12, 6) for _ in range(3))
    q, k = q * size, k * size
    bias = torch.randn(1, 3, 12, 12) + offset
    got = attention_on_cpu(q, k, v, bias, 0.4)
    torch.testing.assert_close(got, _attention_in_double(q, k, v, bias, 0.4), rtol=1e-4, atol=1e-4)
    assert len(calls) == fused  # without subtracting the largest logit, exponentials leave the range of float32


def test_one_window_with_large_logits_does_not_spoil_the_others():
    q, k, v = (torch.randn(3, 2, 12, 6) for _ in range(3))
    q[1] *= 100
    got = attention_on_cpu(q, k, v, None, 1.0)
    torch.testing.assert_close(got, _attention_in_double(q, k, v, torch.zeros(()), 1.0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('heads', [1, 3, None])
@pytest.mark.parametrize('cached', [0.5, 1, 2, 3])
def test_attention_on_the_cpu_does_not_depend_on_how_windows_are_grouped(cached, heads, monkeypatch):
    monkeypatch.setattr(cpu_attention, '_CACHED', int(cached * 3 * 12 * 12))  # weights of so many windows
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 1)
    calls = _count_calls(monkeypatch)
    q, k, v = (torch.randn(7, 3, 12, 5) for _ in range(3))
    bias = None if heads is None else torch.randn(1, heads, 12, 12)
    got = attention_on_cpu(q, k, v, bias, 0.3)
    torch.testing.assert_close(got, _attention_in_double(q, k, v, torch.zeros(()) if bias is None else bias, 0.3))
    assert bool(calls) == (cached < 1 or not torch.backends.mkl.is_available())


def test_attention_in_float32_stays_so_under_autocast():
    q, k, v = (torch.randn(4, 3, 12, 6) for _ in range(3))
    want = attention_on_cpu(q, k, v, None, 0.4)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(attention_on_cpu(q, k, v, None, 0.4), want)


def test_the_logarithm_of_the_sums_is_that_of_torchs_kernel():
    q, k, v = (torch.randn(4, 3, 12, 6) for _ in range(3))
    out, sums = cpu_attention._forward(q, k, v, None, 0.4)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, scale=0.4)
    torch.testing.assert_close((out, sums), kernel)


def test_padding_reaches_the_next_multiple_with_zeros():
    x = torch.ones(1, 5, 8, 2)
    padded = windows.pad_to_multiple(x, 8)
    assert padded.shape == (1, 8, 8, 2)
    assert padded.sum() == x.sum()
    assert windows.pad_to_multiple(padded, 8) is padded


def test_both_orientations_of_a_window_fit_the_common_side():
    assert windows.common_side((8, 32)) == 32
    assert windows.common_side((4, 6)) == 12
