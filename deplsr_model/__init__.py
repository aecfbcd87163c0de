"""Training steps of DePLSR: importing this registers its models, losses and metrics with BasicSR."""

from __future__ import annotations

from basicsr_plugin.compat import mend

mend()  # BasicSR 1.4.2 cannot be imported beside today's torchvision without it

from .degradation_adaptor_model import DegradationAdaptorModel  # noqa: E402
from .degradation_contrastive_loss import (  # noqa: E402
    DegradationOrdinalLoss,
    DegradationSigmoidLoss,
    DegradationSoftmaxLoss,
)
from .deplsr_gan_model import DePLSRGANModel  # noqa: E402
from .deplsr_model import DePLSRModel  # noqa: E402
from .level_regressor_model import LevelRegressorModel  # noqa: E402
from .reading_accuracy_metric import calculate_reading_accuracy  # noqa: E402

__all__ = [
    'DePLSRGANModel',
    'DePLSRModel',
    'DegradationAdaptorModel',
    'DegradationOrdinalLoss',
    'DegradationSigmoidLoss',
    'DegradationSoftmaxLoss',
    'LevelRegressorModel',
    'calculate_reading_accuracy',
]
