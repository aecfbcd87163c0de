"""Networks of DePLSR. Importing this package registers them with BasicSR."""

from __future__ import annotations

from basicsr_plugin.compat import apply_fixes

apply_fixes()

from deplsr_arch.dat_arch import DAT  # noqa: E402
from deplsr_arch.degradation_adaptor_arch import AdaptorOutput, DegradationAdaptor  # noqa: E402
from deplsr_arch.fused_arch import Fused  # noqa: E402
from deplsr_arch.fused_backbones_arch import FusedRRDBNet, FusedSwinIR  # noqa: E402
from deplsr_arch.fused_dat_arch import FusedDAT  # noqa: E402
from deplsr_arch.level_distribution_arch import LevelDistribution  # noqa: E402
from deplsr_arch.level_regressor_arch import LevelRegressor  # noqa: E402
from deplsr_arch.plain_resnet_arch import PlainResNet  # noqa: E402

__all__ = [
    'DAT',
    'AdaptorOutput',
    'DegradationAdaptor',
    'Fused',
    'FusedDAT',
    'FusedRRDBNet',
    'FusedSwinIR',
    'LevelDistribution',
    'LevelRegressor',
    'PlainResNet',
]
