"""Keys of the sections that BasicSR's training loop, loggers and own models read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from basicsr_plugin.stock_datasets import Range

__all__ = [
    'DEGRADATION_KEYS',
    'MAX_SKIPPED_STEPS',
    'SECTIONS',
    'STOCK_MODELS',
    'TRAINED_KEYS',
    'TopLevelOptions',
    'check_name',
]

_Section = Mapping[str, Any]
_Iterations = Annotated[int, Field(ge=1)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Text = Annotated[str, Field(min_length=1)]
_HIGHEST_SEED = 4_000_000_000  # numpy takes 32 bits, of which ranks and workers need some
_LONGEST_NAME = 180
_BEST_JPEG = 100
MAX_SKIPPED_STEPS = 20  # in a row


def check_name(name: str) -> str:
    """Checks a name that becomes that of a folder, or a part of that of a file.

    Raises:
        ValueError: It is empty, or no such name.
    """
    if not name.strip() or name in ('.', '..') or any(one in name for one in '/\\\0\n') or name != name.strip():
        raise ValueError(f'expected the name of a folder, without / and \\, got {name!r}; choose another')
    if len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f'expected a name of at most {_LONGEST_NAME} bytes, got {len(name.encode())}; shorten it')
    return name


def _check_jpeg(values: tuple[float, float]) -> tuple[float, float]:
    if not 1 <= values[0] <= values[1] <= _BEST_JPEG:
        raise ValueError(f'expected two quality factors 1 <= low <= high <= {_BEST_JPEG}, got {list(values)}')
    return values


def _check_chances(values: tuple[float, ...]) -> tuple[float, ...]:
    if not sum(values) > 0:
        raise ValueError(f'expected probabilities with a sum above 0, got {list(values)}; correct them')
    return values


_Name = Annotated[str, AfterValidator(check_name)]
_Jpeg = Annotated[tuple[float, float], AfterValidator(_check_jpeg)]
_Chances = Annotated[tuple[_Share, _Share, _Share], AfterValidator(_check_chances)]


@dataclass(frozen=True, kw_only=True)
class TopLevelOptions:
    """Keys of the top level, and those by which BasicSR's RealESRGANModel degrades batches."""

    name: _Name
    model_type: str
    num_gpu: Any
    scale: Annotated[int, Field(ge=1, le=64)] | None = None
    manual_seed: Annotated[int, Field(ge=0, le=_HIGHEST_SEED)] | None = None
    find_unused_parameters: bool | None = None
    plugins: list[str] | None = None
    queue_size: Annotated[int, Field(ge=0, le=100_000)] | None = None
    high_order_degradation: bool | None = None
    gt_usm: bool | None = None
    l1_gt_usm: bool | None = None
    percep_gt_usm: bool | None = None
    gan_gt_usm: bool | None = None
    gt_size: _Iterations | None = None
    resize_prob: _Chances | None = None
    resize_range: Range | None = None
    gaussian_noise_prob: _Share | None = None
    noise_range: Range | None = None
    poisson_scale_range: Range | None = None
    gray_noise_prob: _Share | None = None
    jpeg_range: _Jpeg | None = None
    second_blur_prob: _Share | None = None
    resize_prob2: _Chances | None = None
    resize_range2: Range | None = None
    gaussian_noise_prob2: _Share | None = None
    noise_range2: Range | None = None
    poisson_scale_range2: Range | None = None
    gray_noise_prob2: _Share | None = None
    jpeg_range2: _Jpeg | None = None


@dataclass(frozen=True, kw_only=True)
class _TrainOptions:
    total_iter: _Iterations
    scheduler: _Section | None = None
    warmup_iter: Annotated[int, Field(ge=-1)] = -1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0
    net_d_iters: _Iterations = 1
    net_d_init_iters: Annotated[int, Field(ge=0)] = 0
    max_skipped_steps: _Iterations = MAX_SKIPPED_STEPS


@dataclass(frozen=True, kw_only=True)
class _ValOptions:
    val_freq: _Iterations | None = None
    save_img: bool = False
    pbar: bool = False
    suffix: _Name | Literal[''] | None = None
    metrics: _Section | None = None


@dataclass(frozen=True, kw_only=True)
class _LoggerOptions:
    print_freq: _Iterations
    save_checkpoint_freq: _Iterations
    keep_last_n: Any = None
    use_tb_logger: bool = False
    wandb: _Section | None = None


@dataclass(frozen=True, kw_only=True)
class _WandbOptions:
    project: _Text | None = None
    resume_id: _Text | None = None


@dataclass(frozen=True, kw_only=True)
class _DistOptions:
    backend: Literal['nccl', 'gloo', 'mpi'] = 'nccl'
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None  # seconds


#: Options by section.
SECTIONS: dict[str, Any] = {
    '': TopLevelOptions,
    'train': _TrainOptions,
    'val': _ValOptions,
    'logger': _LoggerOptions,
    'logger.wandb': _WandbOptions,
    'dist_params': _DistOptions,
}

_DEGRADATION = tuple(
    f'{key}{end}'
    for end in ('', '2')
    for key in (
        *('resize_prob', 'resize_range', 'gaussian_noise_prob', 'noise_range', 'poisson_scale_range'),
        *('gray_noise_prob', 'jpeg_range'),
    )
)
#: What each of BasicSR's models reads without a default: sections, and keys of them.
STOCK_MODELS: dict[str, dict[str, tuple[str, ...]]] = {
    'SRModel': {'': ('network_g',), 'train': ('optim_g', 'scheduler')},
    'SwinIRModel': {'': ('network_g', 'scale'), 'train': ('optim_g', 'scheduler')},
    'RealESRNetModel': {'': ('network_g', 'scale'), 'train': ('optim_g', 'scheduler')},
    'SRGANModel': {'': ('network_g',), 'train': ('optim_g', 'optim_d', 'gan_opt', 'scheduler')},
    'ESRGANModel': {'': ('network_g',), 'train': ('optim_g', 'optim_d', 'gan_opt', 'scheduler')},
    'RealESRGANModel': {'': ('network_g', 'scale'), 'train': ('optim_g', 'optim_d', 'gan_opt', 'scheduler')},
}
#: In training; the last ones where the data set is a RealESRGANDataset.
TRAINED_KEYS: dict[str, tuple[str, ...]] = {
    'SRGANModel': ('network_d',),
    'ESRGANModel': ('network_d',),
    'RealESRNetModel': ('gt_usm',),
    'RealESRGANModel': ('network_d', 'l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm'),
}
DEGRADATION_KEYS = ('gt_size', 'second_blur_prob', *_DEGRADATION)
