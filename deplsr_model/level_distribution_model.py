"""Stage 1 without text: a CNN learns how likely each level is, and is calibrated when it is done."""

from __future__ import annotations

from typing import Any

import torch
from basicsr.data import build_dataset
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor
from torch.utils.data import DataLoader

from basicsr_plugin.errors import OptionError
from deplsr_arch.level_distribution_arch import LevelDistribution
from deplsr_model.calibration import Crops, calibrate, level_cross_entropy
from deplsr_model.estimator_model import same_size_batches
from deplsr_model.level_regressor_model import LevelRegressorModel
from deplsr_model.level_text import level_positions, positions_to_levels

__all__ = ['LevelDistributionModel']

_LAST = -1  # current_iter of BasicSR's last save
_LEAST = 100  # photos to calibrate on; an interval of 90% from fewer is off by more than 6%


@MODEL_REGISTRY.register()
class LevelDistributionModel(LevelRegressorModel):
    """Trains a LevelDistribution by the cross entropy of its levels, and calibrates it on the validation photos.

    Option file: :class:`~deplsr_model.estimator_options.EstimatorOptions`; data sets as for the adaptor. Before the
    last checkpoint is written, temperatures, interval margins and the range of features are set on the data sets
    ``val`` (:func:`deplsr_model.calibration.calibrate`), which therefore should hold at least some hundred draws
    (``draws_per_image``) of photos that are not trained on, from the recipe of the training.

    Raises:
        OptionError: A key is unknown, its value is out of range, or ``network_da`` is another network.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        net = self.get_bare_model(self.net_da)
        if not isinstance(net, LevelDistribution):
            raise OptionError(
                f'network_da.type: expected LevelDistribution with LevelDistributionModel, got {type(net).__name__}; '
                'change one'
            )
        self.net = net

    def level_loss(self, output: Tensor, positions: Tensor) -> Tensor:
        """Returns the mean cross entropy of logits (B, K, L) or (M, B, K, L) for true levels (B, K) in 0..1."""
        return level_cross_entropy(output, positions).mean()

    def estimate_levels(self, lq: Tensor) -> Tensor:
        """Estimates the expected levels."""
        return positions_to_levels(self.net.estimate(lq).mean, self.table)

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes the network and the state of training; calibrates the network before its last checkpoint."""
        if current_iter == _LAST and self.opt['rank'] == 0:
            self.calibrate()
        super().save(epoch, current_iter)

    @torch.no_grad()
    def calibrate(self) -> None:
        """Calibrates the network on the data sets ``val``; without any it stays as it is, with a warning."""
        crops: Crops = []
        for phase, dataset in (self.opt.get('datasets') or {}).items():
            if phase.split('_')[0] == 'val':
                loader = DataLoader(
                    build_dataset({**dataset, 'phase': 'val', 'scale': self.opt['scale']}), batch_size=1
                )
                for lq, levels in same_size_batches(loader, self.options.val.batch):
                    crops.append((lq, level_positions(levels[:, : self.num_types], self.table)))
        count = sum(len(lq) for lq, _ in crops)
        if count < _LEAST:
            get_root_logger().warning(
                f'Not calibrated: expected at least {_LEAST} validation photos with levels, got {count}; intervals and '
                'the out-of-range flag cannot be trusted. Raise datasets.val.draws_per_image and train on'
            )
            return
        calibrate(self.net, crops)
        self.net.train(self.is_train)
        get_root_logger().info(f'Calibrated on {count} validation photos')
