"""Options of the data sets, and the checks that span several keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from basicsr_plugin.errors import OptionError
from basicsr_plugin.options import SetWhenRead, TypedBlock
from basicsr_plugin.stock_datasets import LoaderOptions
from deplsr_data.degradation.level_tables import LevelName
from deplsr_data.degradation.recipes import RECIPES
from deplsr_data.tokens import check_tokenizer

__all__ = [
    'CaptionedDegradationOptions',
    'CaptionedPairOptions',
    'DatasetOptions',
    'check_degradation_options',
    'check_options',
    'place_of',
    'require_gt_size',
]

_LARGEST = 16_384  # pixels of a side; a square of it is 3 GB in float32
_Side = Annotated[int, Field(ge=1, le=_LARGEST)]


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Keys that all data sets have; those of the loader are read by BasicSR and only checked here.

    Attributes:
        name: Name of the data set in logs and results.
        type: Name of the data set's class.
        phase: ``train``, ``val`` or ``test``, from the name of the block.
        scale: Size of GT over that of LR; BasicSR sets it from the top level.
        dataroot_gt: Folder of the clean images, read with its subfolders, or an LMDB.
        io_backend: ``{type: disk}`` or ``{type: lmdb}``.
        gt_size: Side of the crop in GT pixels, a multiple of scale; required in training.
        use_hflip: In training, flip left and right half of the time.
        use_rot: In training, flip up and down, and turn by 90 degrees, half of the time each.
        levels: What captions and levels describe: ``effective``, what the LR image shows; ``nominal``, what was set at
            the steps, as published. That of the top level.
        tokenizer: open_clip model whose tokenizer the captions go through.
        context_length: Length of the token rows, if not that of the model; longer texts are cut.
        seed: Seed of all draws.
        max_bad_images: How many unreadable photos are skipped, each with a warning, before the run stops.
        batch_size_per_gpu: Samples in a batch.
        num_worker_per_gpu: Worker processes of the loader.
        dataset_enlarge_ratio: How often an epoch visits each image.
        use_shuffle: Visit the images in random order.
        pin_memory: Load batches into pinned memory.
        worker_timeout: Seconds to wait for a batch of the workers before the training saves and ends; 0 for no limit.
        persistent_workers: Keep the workers from one epoch to the next.
        prefetch_mode: ``cpu`` or ``cuda`` loads batches ahead of time.
        num_prefetch_queue: Length of the queue of ``prefetch_mode: cpu``.
    """

    name: str
    type: str
    phase: Annotated[Literal['train', 'val', 'test'], SetWhenRead()]
    scale: Annotated[int, Field(ge=1)]
    dataroot_gt: str
    io_backend: dict[str, Any] = field(default_factory=lambda: {'type': 'disk'})
    gt_size: _Side | None = None
    use_hflip: bool = True
    use_rot: bool = True
    levels: LevelName = 'effective'
    tokenizer: str = 'ViT-B-32'
    context_length: Annotated[int, Field(ge=8, le=4096)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    max_bad_images: Annotated[int, Field(ge=0)] = 10
    batch_size_per_gpu: Annotated[int, Field(ge=1)] | None = None
    num_worker_per_gpu: Annotated[int, Field(ge=0)] | None = None
    dataset_enlarge_ratio: Annotated[float, Field(gt=0)] = 1
    use_shuffle: bool = True
    pin_memory: bool = False
    worker_timeout: Annotated[float, Field(ge=0)] = LoaderOptions.worker_timeout
    persistent_workers: bool = False
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    num_prefetch_queue: Annotated[int, Field(ge=1)] = 1

    @property
    def in_lmdb(self) -> bool:
        """Whether images are read from LMDBs."""
        return bool(self.io_backend['type'] == 'lmdb')


@dataclass(frozen=True, kw_only=True)
class CaptionedDegradationOptions(DatasetOptions):
    """Keys of a CaptionedDegradationDataset.

    Attributes:
        meta_info: A ``.tsv`` with the columns filepath and title, or Real-ESRGAN's list of paths; default: all images.
        recipe: What degradations are drawn from: ``type`` and the keys of that recipe; a ``mixture`` holds several.
        draws_per_image: In validation, number of degradations of each photo.
        degrade_on: ``worker`` degrades in the loader's workers, ``device`` the batch at once on the model's device.
        shrink: In training, lowest and highest factor by which a photo is shrunk before it is cropped.
        degrade_size: In training, side of the GT crop that is degraded; gt_size is then cut out of it.
        context: With degrade_size, deliver also the larger degraded crop, of which lq is a part.
        input: LR image of stage 1: ``patch``, GT / scale; ``whole``, the photo resized to input_size x input_size.
        input_size: With ``input: whole``, side of the LR image, that of CLIP's input.
    """

    meta_info: str | None = None
    recipe: Annotated[dict[str, Any] | None, TypedBlock(RECIPES, default='semantic')] = None
    draws_per_image: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    degrade_on: Literal['worker', 'device'] = 'worker'
    shrink: tuple[float, float] | None = None
    degrade_size: _Side | None = None
    context: bool = False
    input: Literal['patch', 'whole'] = 'patch'
    input_size: Annotated[int, Field(ge=8, le=_LARGEST)] | None = None


@dataclass(frozen=True, kw_only=True)
class CaptionedPairOptions(DatasetOptions):
    """Keys of a CaptionedPairDataset.

    Attributes:
        dataroot_lq: Folder or LMDB of the LR images.
        meta_info: A table, or several, with the columns filepath (below dataroot_lq) and title, title2 and so on.
        records: The ``records.jsonl`` of a written set, or several; default: those next to the tables.
    """

    dataroot_lq: str
    meta_info: str | tuple[str, ...]
    records: str | tuple[str, ...] | None = None


def place_of(opt: Mapping[str, Any]) -> str:
    """Returns where a data set's block is in the option file, for messages."""
    return f'datasets.{opt.get("phase", "?")}'


def check_options(options: DatasetOptions, where: str) -> None:
    """Checks what all data sets need.

    Raises:
        OptionError: One line that begins with ``where``.
    """
    backend = options.io_backend.get('type')
    if backend is None:
        raise OptionError(f"{where}.io_backend: missing key 'type', 'disk' or 'lmdb'; add it")
    if backend not in ('disk', 'lmdb'):
        raise OptionError(f"{where}.io_backend.type: expected 'disk' or 'lmdb', got {backend!r}; name one")
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


def check_degradation_options(options: CaptionedDegradationOptions, where: str) -> None:
    """Checks the options of a CaptionedDegradationDataset against each other.

    Raises:
        OptionError: One line that begins with ``where``.
    """
    check_options(options, where)
    if options.phase == 'train' and options.draws_per_image != 1:
        raise OptionError(
            f'{where}.draws_per_image: expected 1 in training, where every epoch draws again, got '
            f'{options.draws_per_image}; set dataset_enlarge_ratio instead'
        )
    if options.shrink is not None:
        _check_shrink(options, *options.shrink, where)
    if options.input == 'whole':
        _check_whole(options, where)
        return
    if options.input_size is not None:
        raise OptionError(f'{where}.input_size: expected with input: whole only, got {options.input_size}; remove it')
    require_gt_size(options, where)
    if options.degrade_size is not None:
        _check_degrade_size(options, options.degrade_size, where)
    elif options.context:
        raise OptionError(f'{where}.context: expected with degrade_size only, got true; set degrade_size above gt_size')


def _check_whole(options: CaptionedDegradationOptions, where: str) -> None:
    if options.input_size is None:
        raise OptionError(f"{where}: missing key 'input_size'; with input: whole it is the side of CLIP's input")
    for key, given, usual in (
        ('gt_size', options.gt_size, None),
        ('shrink', options.shrink, None),
        ('degrade_size', options.degrade_size, None),
        ('context', options.context or None, None),
        ('degrade_on', options.degrade_on, 'worker'),
    ):
        if given != usual:
            hint = 'remove it' if usual is None else f'set it to {usual}, since photos differ in size'
            raise OptionError(f'{where}.{key}: expected none with input: whole, got {given}; {hint}')


def _check_shrink(options: CaptionedDegradationOptions, low: float, high: float, where: str) -> None:
    if not 0 < low <= high <= 1:
        raise OptionError(
            f'{where}.shrink: expected two factors 0 < low <= high <= 1, got {[low, high]}; such as [0.5, 0.7]'
        )
    if options.phase != 'train':
        raise OptionError(f'{where}.shrink: expected in training only, got {[low, high]}; remove it')


def _check_degrade_size(options: CaptionedDegradationOptions, size: int, where: str) -> None:
    if options.phase != 'train':
        raise OptionError(f'{where}.degrade_size: expected in training only, got {size}; remove it')
    if size % options.scale or size < (options.gt_size or 0):
        raise OptionError(
            f'{where}.degrade_size: expected a multiple of scale {options.scale}, at least gt_size '
            f'({options.gt_size}), got {size}; Real-ESRGAN has 400 for a gt_size of 256'
        )
