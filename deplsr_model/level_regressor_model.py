"""Stage 1 without text: a small CNN learns to estimate levels as numbers."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from basicsr_plugin.errors import UserError
from deplsr_model.base import Batch
from deplsr_model.estimator_model import EstimatorModel
from deplsr_model.estimator_options import EstimatorOptions
from deplsr_model.level_text import level_positions, positions_to_levels
from deplsr_model.options import required

__all__ = ['LevelRegressorModel']


@MODEL_REGISTRY.register()
class LevelRegressorModel(EstimatorModel):
    """Trains a LevelRegressor by the L1 distance of its numbers from the true levels, each scaled to 0..1.

    Option file: :class:`~deplsr_model.estimator_options.EstimatorOptions`; data sets as for the adaptor. In stage 2 its
    checkpoint replaces the adaptor's, as the control that shows whether text embeddings are better than numbers.

    Raises:
        OptionError: A key is unknown or its value is out of range.
    """

    options_class = EstimatorOptions

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        if self.is_train:
            self.net_da.train()
            self.start_optimizer(self.net_da.parameters(), required(self.options.train).optim_da)

    def feed_data(self, data: Batch) -> None:
        """Takes a batch with ``lq`` (B, 3, h, w) and ``levels`` (B, K)."""
        if 'levels' not in data:
            raise UserError(
                'datasets: expected photos with levels in stage 1, got a data set without; '
                'take CaptionedDegradationDataset or CaptionedPairDataset'
            )
        data = self.degraded(data)
        self.lq = self.image_to_device(data['lq'])
        self.levels = data['levels'][:, : self.num_types].to(self.device, non_blocking=True)

    def optimize_parameters(self, current_iter: int) -> None:
        """Trains on a batch."""
        self.begin_step(current_iter)
        loss = self.level_loss(self.compute(self.net_da, self.lq), level_positions(self.levels, self.table))
        self.step_da.backward(loss)
        self.step_da.step(self.is_last(current_iter))
        self.log_step({'l_levels': loss})

    def level_loss(self, output: Tensor, positions: Tensor) -> Tensor:
        """Returns the loss of the network's output for true levels (B, K) in 0..1."""
        return (output - positions).abs().mean()

    def estimate_levels(self, lq: Tensor) -> Tensor:
        """Estimates levels from the network's numbers."""
        return positions_to_levels(self.get_bare_model(self.net_da)(lq), self.table)
