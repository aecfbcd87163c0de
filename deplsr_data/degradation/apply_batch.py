"""Makes the LR images of a whole batch on its device, each sample by its own record.

:mod:`deplsr_data.degradation.apply` is the reference. Every operator takes many samples at once with one kernel, level,
size and so on for each; images of different sizes lie in the upper left corner of a common canvas. Only the codecs WebP
and AVIF take one after the other, and on the CPU also JPEG, resizes and blurs where that is faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deplsr_data.degradation.operators import BatchFunction
from deplsr_data.degradation.packing import same_size_operators
from deplsr_data.ops.execution import full_precision, in_threads
from deplsr_data.ops.filter_resize_batch import Plan, transform
from deplsr_data.ops.filter_resize_each import filter_resize_each, is_fused_faster

__all__ = ['apply_batch']

# Samples worked on at a time on the CPU: few fit into its caches and leave little canvas empty, many share overhead.
_GROUP, _GROUP_OF_MANY_SIZES = 12, 8


@torch.no_grad()
def apply_batch(packed: Mapping[str, Tensor], gt: Tensor, group: int | None = None) -> Tensor:
    """Degrades a batch of clean images, in float32 also under autocast.

    A sample's result does not depend on the others of its batch. Compared with
    :func:`deplsr_data.degradation.apply.apply`, the noise field and the JPEG codec agree to the bit, filters and
    resizes to 5e-4; where such a difference falls on the border between two grey levels or two steps of a codec, single
    pixels or blocks differ (40 dB or more).

    Args:
        packed: Collated :func:`~deplsr_data.degradation.packing.pack` of the records; best left on the CPU, where the
            work is planned without waiting for the device.
        gt: (B, 3, H, W) float32 RGB, 0..1, all of the size that the records were packed for.
        group: Samples that are worked on at a time; if None all on a GPU, up to 8 or 12 on the CPU.

    Returns:
        (B, 3, h, w) float32 RGB in 0..1, rounded to 8 bits, on the device of ``gt``.

    Raises:
        ValueError: ``packed`` and ``gt`` do not belong together, or the LR images differ in size.
    """
    planned = ('terms', 'taps', 'sizes', 'modes', *same_size_operators())
    plan = {name: packed[name].tolist() for name in planned}
    _check(plan, gt)
    height, width = plan['sizes'][0][-1]
    work = {name: tensor.to(gt.device, non_blocking=True) for name, tensor in packed.items()}
    out = gt.new_empty(len(gt), 3, height, width, dtype=torch.float32)

    def degrade(members: list[int]) -> None:
        index = torch.tensor(members, device=gt.device)
        part = {name: [column[b] for b in members] for name, column in plan.items()}
        x = gt.transpose(1, 2).index_select(0, index).float()  # rows of three channels
        x = _degrade(x, {name: tensor[index] for name, tensor in work.items()}, part)
        x = x[:, :height, :, :width].clamp(0, 1).mul_(255).round_().div_(255)
        out[index] = x.transpose(1, 2)

    with full_precision(gt.device):
        in_threads(degrade, _groups(plan, gt.device, group))
    return out


def _groups(plan: dict[str, list[Any]], device: torch.device, size: int | None) -> list[list[int]]:
    """Splits a batch into groups of samples of similar size and similar kernels, so that little work is wasted."""
    keys = [
        (_area(sizes), *columns) for sizes, *columns in zip(plan['sizes'], plan['modes'], plan['terms'], strict=True)
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
    if size is None:
        resized = len({_area(sizes) for sizes in plan['sizes']}) > 1
        shared = -(-len(order) // torch.get_num_threads())
        size = min(shared, _GROUP_OF_MANY_SIZES if resized else _GROUP) if device.type == 'cpu' else len(order)
    return [order[start : start + size] for start in range(0, len(order), size)]


def _area(sizes: list[list[int]]) -> int:
    return max(height * width for height, width in sizes[1:])


def _degrade(x: Tensor, work: dict[str, Tensor], plan: dict[str, list[Any]]) -> Tensor:
    """Takes images (B, H, 3, W) through all rounds; operators that no sample needs are skipped."""
    same_size = same_size_operators()
    for r in range(len(plan['modes'][0])):
        before, after = ([tuple(sizes[place]) for sizes in plan['sizes']] for place in (r, r + 1))
        modes = [mode[r] for mode in plan['modes']], [0] * len(x)
        for place, sizes in enumerate((before, after)):
            terms, taps = ([entry[r][place] for entry in plan[name]] for name in ('terms', 'taps'))
            x = _transformed(x, work['filters'][:, r, place], Plan(terms, taps, modes[place], sizes, after))
        for name, operator in same_size.items():
            choices = [choice[r] for choice in plan[name]]
            if any(choices):
                parameters = {parameter: work[f'{name}.{parameter}'][:, r] for parameter in operator.empty}
                for number, function in enumerate(operator.functions, 1):
                    needed = [choice == number for choice in choices]
                    x = _on_some(x, needed, function, parameters, work['sizes'][:, r + 1])
    return x


def _transformed(x: Tensor, filters: Tensor, plan: Plan) -> Tensor:
    """Blurs and resizes the samples that need it."""
    if not any(plan.terms) and plan.size_in == plan.size_out:
        return x
    canvas = _canvas(plan.size_out)
    if x.device.type != 'cpu':
        return transform(x, filters, plan, canvas)
    alike: dict[object, list[int]] = {}  # samples whose matrices of a resize are the same
    for b, setting in enumerate(zip(plan.mode, plan.size_in, plan.size_out, strict=True)):
        if is_fused_faster(plan.terms[b], *setting):
            alike.setdefault(setting, []).append(b)
    if any(len(members) == len(x) for members in alike.values()):
        return transform(x, filters, plan, canvas)
    fused = {b for members in alike.values() for b in members}
    out = filter_resize_each(x, filters, plan, canvas, [b for b in range(len(x)) if b not in fused])
    for members in alike.values():
        index = torch.tensor(members)
        part = Plan._make([column[b] for b in members] for column in plan)
        out.index_copy_(0, index, transform(x[index], filters[index], part, canvas))
    return out


def _on_some(
    x: Tensor, needed: list[bool], function: BatchFunction, parameters: Mapping[str, Tensor], size: Tensor
) -> Tensor:
    """Applies an operator to the samples that need it."""
    if all(needed):
        return function(x, parameters, size)
    if any(needed):
        index = torch.tensor([b for b, here in enumerate(needed) if here], device=x.device)
        some = {name: tensor[index] for name, tensor in parameters.items()}
        x.index_copy_(0, index, function(x[index], some, size[index]))  # x is never the caller's
    return x


def _canvas(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Returns a canvas that holds all samples; its sides are multiples of a JPEG block's."""
    height, width = (-(-max(size[axis] for size in sizes) // 16) * 16 for axis in (0, 1))
    return height, width


def _check(plan: dict[str, list], gt: Tensor) -> None:
    if gt.ndim != 4 or gt.shape[1] != 3 or len(plan['sizes']) != len(gt):
        raise ValueError(f'expected gt of shape ({len(plan["sizes"])}, 3, H, W), got {tuple(gt.shape)}')
    wrong = [sizes[0] for sizes in plan['sizes'] if sizes[0] != list(gt.shape[2:])]
    if wrong:
        raise ValueError(f'expected gt of {wrong[0]} pixels, for which its record was packed, got {list(gt.shape[2:])}')
    ends = {tuple(sizes[-1]) for sizes in plan['sizes']}
    if len(ends) > 1:
        raise ValueError(f'expected records that all end in the same size, got {sorted(ends)}')
