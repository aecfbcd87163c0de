"""Stage 1 without words: a small CNN learns to read levels as numbers."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.options import read_options
from deplsr_model.estimator_model import EstimatorModel
from deplsr_model.options import EstimatorOptions
from deplsr_model.vocabulary import level_positions, positions_to_levels

__all__ = ['LevelRegressorModel']


@MODEL_REGISTRY.register()
class LevelRegressorModel(EstimatorModel):
    """Trains a LevelRegressor by the L1 distance of its numbers from the true levels, each scaled to 0..1.

    Option file: :class:`~deplsr_model.options.EstimatorOptions`; data sets as for the adaptor. In stage 2 its
    checkpoint stands in the adaptor's place, as the control that tells whether words beat numbers.

    Raises:
        OptionError: A key is unknown or its value is out of range.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.options = read_options(EstimatorOptions, opt, '')
        super().__init__(opt)
        if self.is_train:
            if self.options.train is None:
                raise OptionError("train: missing section; expected 'total_iter', 'optim_da', 'scheduler'")
            self.net_da.train()
            self.start_optimizer(self.net_da.parameters(), dict(self.options.train.optim_da))

    def feed_data(self, data: dict[str, Any]) -> None:
        """Takes a batch with ``lq`` (B, 3, h, w) and ``levels`` (B, 5)."""
        if 'levels' not in data:
            raise UserError(
                'datasets: expected photos with levels in stage 1, got a data set without; '
                'take CaptionedDegradationDataset or CaptionedPairDataset'
            )
        data = self.degraded(data)
        self.lq = data['lq'].to(self.device, non_blocking=True)
        self.levels = data['levels'].to(self.device, non_blocking=True)

    def optimize_parameters(self, current_iter: int) -> None:
        """Does one training step."""
        self.optimizer_da.zero_grad()
        loss = (self.net_da(self.lq) - level_positions(self.levels)).abs().mean()
        loss.backward()
        self.optimizer_da.step()
        self.log_dict = self.reduce_loss_dict({'l_levels': loss})

    def estimate_levels(self, lq: Tensor) -> Tensor:
        """Reads the numbers as levels."""
        return positions_to_levels(self.get_bare_model(self.net_da)(lq))
