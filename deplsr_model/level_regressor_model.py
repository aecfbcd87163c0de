"""Stage 1 without words: a small CNN learns to read levels as numbers."""

from __future__ import annotations

from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY

from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.options import read_options

from .base import DePLSRBaseModel
from .degradation_adaptor_model import reading_metrics, same_size_batches
from .options import RegressorOptions
from .vocabulary import level_positions, positions_to_levels

__all__ = ['LevelRegressorModel']


@MODEL_REGISTRY.register()
class LevelRegressorModel(DePLSRBaseModel):
    """Trains a LevelRegressor by the L1 distance of its numbers from the true levels, each scaled to 0..1.

    Option file: :class:`~deplsr_model.options.RegressorOptions`; data sets as for the adaptor. In stage 2 its
    checkpoint stands in the adaptor's place, as the control that tells whether words beat numbers.

    Raises:
        OptionError: A key is unknown or its value is out of range.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.options = read_options(RegressorOptions, opt, '')
        super().__init__(opt)
        net = build_network(opt['network_da'])
        path = self.options.path
        if path.pretrain_network_da is not None:
            self.load_network(net, path.pretrain_network_da, param_key=path.param_key_da)
        self.net_da = self.model_to_device(net)
        count = sum(p.numel() for p in net.parameters())
        get_root_logger().info(f'Network: {type(net).__name__}, {count:,d} parameters')
        if self.is_train:
            if self.options.train is None:
                raise OptionError("train: missing section; expected 'total_iter', 'optim_da', 'scheduler'")
            self.net_da.train()
            settings = dict(self.options.train.optim_da)
            self.optimizer_da = self.get_optimizer(settings.pop('type', 'AdamW'), net.parameters(), **settings)
            self.optimizers.append(self.optimizer_da)
            self.setup_schedulers()

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

    def dist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Validates on the first process."""
        if self.opt['rank'] == 0:
            self.nondist_validation(dataloader, current_iter, tb_logger, save_img)

    @torch.no_grad()
    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Reads every photo of the set and reports the accuracy for each kind, as for the adaptor."""
        net = self.get_bare_model(self.net_da).eval()
        pairs = [
            (positions_to_levels(net(lq.to(self.device)).cpu()), levels)
            for lq, levels in same_size_batches(dataloader, self.options.val.batch)
        ]
        net.train(self.is_train)
        name = dataloader.dataset.opt['name']
        if not pairs:
            raise UserError(f'datasets: {name} has no photo to validate on')
        read, true = (torch.cat(side) for side in zip(*pairs, strict=True))
        metrics = reading_metrics(read, true)
        self.record_metrics(current_iter, name, metrics)
        get_root_logger().info(f'Validation {name}: mean share read right {metrics["mean"]:.3f}')

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes the network and the state of training."""
        self.save_network(self.net_da, 'net_da', current_iter)
        self.save_training_state(epoch, current_iter)
