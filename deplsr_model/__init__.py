"""Training steps of DePLSR: importing this registers its models and losses with BasicSR."""

from __future__ import annotations

from basicsr_plugin.compat import apply_fixes

apply_fixes()  # without it, BasicSR 1.4.2 cannot be imported with today's torchvision

import deplsr_model.presets  # noqa: E402, F401  registers them
from deplsr_model.degradation_adaptor_model import DegradationAdaptorModel  # noqa: E402
from deplsr_model.degradation_contrastive_loss import (  # noqa: E402
    DegradationOrdinalLoss,
    DegradationSigmoidLoss,
    DegradationSoftmaxLoss,
)
from deplsr_model.deplsr_gan_model import DePLSRGANModel  # noqa: E402
from deplsr_model.deplsr_model import DePLSRModel  # noqa: E402
from deplsr_model.level_distribution_model import LevelDistributionModel  # noqa: E402
from deplsr_model.level_regressor_model import LevelRegressorModel  # noqa: E402
from deplsr_model.lpips_metric import calculate_lpips  # noqa: E402
from deplsr_model.upscaling.description import describe  # noqa: E402
from deplsr_model.upscaling.inference import Upscaler  # noqa: E402

__all__ = [
    'DePLSRGANModel',
    'DePLSRModel',
    'DegradationAdaptorModel',
    'DegradationOrdinalLoss',
    'DegradationSigmoidLoss',
    'DegradationSoftmaxLoss',
    'LevelDistributionModel',
    'LevelRegressorModel',
    'Upscaler',
    'calculate_lpips',
    'describe',
]
