"""Options of BasicSR 1.4.2's losses, metrics, optimizers and schedulers, which take wrong ones or fail late."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

__all__ = [
    'LOSSES',
    'METRICS',
    'OPTIMIZERS',
    'SCHEDULERS',
    'CosineAnnealingRestartOptions',
    'MultiStepOptions',
    'smallest_side',
    'too_small',
]

_SMALLEST = {'calculate_niqe': 96, 'calculate_ssim': 11}  # a block, and a window

Weight = Annotated[float, Field(ge=0, le=1_000_000)]
_Rate = Annotated[float, Field(gt=0, le=10)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Decay = Annotated[float, Field(ge=0, lt=1)]
_Label = Annotated[float, Field(ge=-100, le=100)]
_Iteration = Annotated[int, Field(ge=0)]
_Period = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class _LossOptions:
    type: str
    loss_weight: Weight = 1.0
    reduction: Literal['mean', 'sum'] = 'mean'  # none leaves a loss that is no number


@dataclass(frozen=True, kw_only=True)
class _CharbonnierOptions(_LossOptions):
    eps: Annotated[float, Field(gt=0)] = 1e-12


@dataclass(frozen=True, kw_only=True)
class _PerceptualOptions:
    type: str
    layer_weights: Annotated[dict[str, Weight], Field(min_length=1)]
    vgg_type: Literal['vgg11', 'vgg13', 'vgg16', 'vgg19', 'vgg11_bn', 'vgg13_bn', 'vgg16_bn', 'vgg19_bn'] = 'vgg19'
    use_input_norm: bool = True
    range_norm: bool = False
    perceptual_weight: Weight = 1.0
    style_weight: Weight = 0.0
    criterion: Literal['l1', 'fro'] = 'l1'  # l2 is in the source, under a name that torch does not have

    def __post_init__(self) -> None:
        from basicsr.archs.vgg_arch import NAMES, insert_bn

        from basicsr_plugin.names import nearest

        names = NAMES[self.vgg_type.removesuffix('_bn')]
        names = insert_bn(names) if self.vgg_type.endswith('_bn') else names
        for layer in self.layer_weights:
            if layer not in names:
                raise ValueError(f"expected layers of {self.vgg_type}, got '{layer}'{nearest(layer, names)}")


@dataclass(frozen=True, kw_only=True)
class _GANOptions:
    type: str
    gan_type: Literal['vanilla', 'lsgan', 'wgan', 'wgan_softplus', 'hinge']
    real_label_val: _Label = 1.0
    fake_label_val: _Label = 0.0
    loss_weight: Weight = 1.0


@dataclass(frozen=True, kw_only=True)
class _MetricOptions:
    type: str
    crop_border: Annotated[int, Field(ge=0, le=10_000)]
    better: Literal['higher', 'lower'] = 'higher'
    input_order: Literal['HWC'] = 'HWC'


@dataclass(frozen=True, kw_only=True)
class _ReferenceMetricOptions(_MetricOptions):
    test_y_channel: bool = False


@dataclass(frozen=True, kw_only=True)
class _NiqeOptions(_MetricOptions):
    convert_to: Literal['y', 'gray'] = 'y'


@dataclass(frozen=True, kw_only=True)
class _OptimizerOptions:
    type: str
    lr: Annotated[float, Field(ge=0, le=10)]  # 0 where weights must stay as they are
    weight_decay: _Share = 0
    foreach: bool | None = None
    maximize: bool | None = None
    differentiable: bool | None = None


@dataclass(frozen=True, kw_only=True)
class _AdamOptions(_OptimizerOptions):
    betas: tuple[_Decay, _Decay] = (0.9, 0.999)
    eps: _Share = 1e-8
    amsgrad: bool = False
    fused: bool | None = None
    capturable: bool | None = None


@dataclass(frozen=True, kw_only=True)
class _AdamaxOptions(_OptimizerOptions):
    betas: tuple[_Decay, _Decay] = (0.9, 0.999)
    eps: _Share = 1e-8
    capturable: bool | None = None


@dataclass(frozen=True, kw_only=True)
class _RMSpropOptions(_OptimizerOptions):
    alpha: _Share = 0.99
    eps: _Share = 1e-8
    momentum: _Share = 0
    centered: bool = False
    capturable: bool | None = None


@dataclass(frozen=True, kw_only=True)
class _SGDOptions(_OptimizerOptions):
    momentum: _Share = 0
    dampening: float = 0
    nesterov: bool = False
    fused: bool | None = None

    def __post_init__(self) -> None:
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError('expected momentum and no dampening with nesterov, got other values; set momentum: 0.9')


@dataclass(frozen=True, kw_only=True)
class MultiStepOptions:
    """Keys of MultiStepLR, which is MultiStepRestartLR.

    Attributes:
        type: ``MultiStepLR`` or ``MultiStepRestartLR``.
        milestones: Iterations after which the learning rate is multiplied by gamma.
        gamma: The factor.
        restarts: Iterations at which the learning rate starts again.
        restart_weights: Factor of the first learning rate at each of them.
    """

    type: str
    milestones: list[_Iteration]
    gamma: _Rate = 0.1
    restarts: list[_Iteration] = field(default_factory=lambda: [0])
    restart_weights: list[Weight] = field(default_factory=lambda: [1])

    def __post_init__(self) -> None:
        _check_lengths('restarts', self.restarts, self.restart_weights)


@dataclass(frozen=True, kw_only=True)
class CosineAnnealingRestartOptions:
    """Keys of CosineAnnealingRestartLR.

    Attributes:
        type: ``CosineAnnealingRestartLR``.
        periods: Iterations of each cosine; in sum at least ``total_iter``.
        restart_weights: Factor of the first learning rate in each of them.
        eta_min: Lowest learning rate.
    """

    type: str
    periods: Annotated[list[_Period], Field(min_length=1)]
    restart_weights: list[Weight] = field(default_factory=lambda: [1])
    eta_min: _Share = 0

    def __post_init__(self) -> None:
        _check_lengths('periods', self.periods, self.restart_weights)


def _check_lengths(key: str, values: list[int], weights: list[float]) -> None:
    if len(values) != len(weights):
        raise ValueError(f'expected restart_weights for each of {key} {values}, got {weights}; list as many')


#: Options by name of the class or function.
LOSSES: dict[str, Any] = {
    'CharbonnierLoss': _CharbonnierOptions,
    'GANLoss': _GANOptions,
    'L1Loss': _LossOptions,
    'MSELoss': _LossOptions,
    'MultiScaleGANLoss': _GANOptions,
    'PerceptualLoss': _PerceptualOptions,
    'WeightedTVLoss': _LossOptions,
}
METRICS: dict[str, Any] = {
    'calculate_niqe': _NiqeOptions,
    'calculate_psnr': _ReferenceMetricOptions,
    'calculate_ssim': _ReferenceMetricOptions,
}
OPTIMIZERS: dict[str, Any] = {
    'Adam': _AdamOptions,
    'AdamW': _AdamOptions,
    'Adamax': _AdamaxOptions,
    'RMSprop': _RMSpropOptions,
    'SGD': _SGDOptions,
}
SCHEDULERS: dict[str, Any] = {
    'CosineAnnealingRestartLR': CosineAnnealingRestartOptions,
    'MultiStepLR': MultiStepOptions,
    'MultiStepRestartLR': MultiStepOptions,
}


def smallest_side(metric: str, border: int) -> int:
    """Returns the shorter side of the smallest image that a metric of BasicSR can measure with a ``crop_border``."""
    return _SMALLEST.get(metric, 1) + 2 * border


def too_small(metric: str, border: int, side: int) -> str:
    """Returns the message on an image whose shorter side is below :func:`smallest_side`."""
    return (
        f'expected output images of {smallest_side(metric, border)} pixels or more for {metric} with crop_border: '
        f'{border}, got {side}; lower crop_border, leave the metric or the image out'
    )
