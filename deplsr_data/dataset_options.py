"""Options that the data sets have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from basicsr_plugin.errors import OptionError
from deplsr_data.tokens import check_tokenizer

__all__ = ['DatasetOptions', 'check_options', 'place_of', 'require_gt_size']


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Keys of a data set's block; those of the loader are read by BasicSR and only checked here."""

    name: str
    type: str
    phase: Literal['train', 'val', 'test']
    scale: Annotated[int, Field(ge=1)]
    dataroot_gt: str
    io_backend: dict[str, Any] = field(default_factory=lambda: {'type': 'disk'})
    gt_size: Annotated[int, Field(ge=1)] | None = None
    use_hflip: bool = True
    use_rot: bool = True
    tokenizer: str = 'ViT-B-32'
    context_length: Annotated[int, Field(ge=8)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    max_bad_images: Annotated[int, Field(ge=0)] = 10
    batch_size_per_gpu: Annotated[int, Field(ge=1)] | None = None
    num_worker_per_gpu: Annotated[int, Field(ge=0)] | None = None
    dataset_enlarge_ratio: Annotated[float, Field(gt=0)] = 1
    use_shuffle: bool = True
    pin_memory: bool = False
    persistent_workers: bool = False
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    num_prefetch_queue: Annotated[int, Field(ge=1)] = 1

    @property
    def in_lmdb(self) -> bool:
        """Whether images are read from LMDBs."""
        return bool(self.io_backend['type'] == 'lmdb')


def place_of(opt: Mapping[str, Any]) -> str:
    """Returns the place of a data set's block in the option file, for messages."""
    return f'datasets.{opt.get("phase", "?")}'


def check_options(options: DatasetOptions, where: str) -> None:
    """Checks what spans several keys.

    Raises:
        OptionError: One line that begins with ``where``.
    """
    if options.io_backend.get('type') not in ('disk', 'lmdb'):
        raise OptionError(f"{where}.io_backend: expected type 'disk' or 'lmdb', got {options.io_backend}; name one")
    if options.gt_size is not None and options.gt_size % options.scale:
        nearest_size = max(1, round(options.gt_size / options.scale)) * options.scale
        raise OptionError(
            f'{where}.gt_size: expected a multiple of scale {options.scale}, got {options.gt_size}; take {nearest_size}'
        )
    check_tokenizer(options.tokenizer, f'{where}.tokenizer')


def require_gt_size(options: DatasetOptions, where: str) -> None:
    """Checks that training, which needs crops of one size, has it.

    Raises:
        OptionError: One line that begins with ``where``.
    """
    if options.phase == 'train' and options.gt_size is None:
        raise OptionError(f"{where}: missing key 'gt_size'; expected the side of the training crops in GT pixels")
