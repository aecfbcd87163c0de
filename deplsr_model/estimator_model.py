"""What the models of stage 1 have in common, whatever reads: the network, validation by levels, saving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from tqdm import tqdm

from basicsr_plugin.errors import UserError
from deplsr_data.degradation.captions import DEGRADATION_TYPE_NAMES, DEGRADATION_TYPES
from deplsr_model.base import DePLSRBaseModel
from deplsr_model.reading_accuracy_metric import level_accuracy

__all__ = ['EstimatorModel', 'accuracy_metrics']


class EstimatorModel(DePLSRBaseModel, ABC):
    """Trains ``network_da``; validation reads each photo's levels and reports, for each degradation type, the share that is right.

    A subclass sets ``options`` (:class:`~deplsr_model.options.EstimatorOptions`) before it calls ``__init__``.
    """

    options: Any

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        # channels last: a step on the CPU takes 0.78 of the time with a CNN, 0.92 with an adaptor's stem
        net = build_network(opt['network_da']).to(memory_format=torch.channels_last)
        path = self.options.path
        if path.pretrain_network_da is not None:
            self.load_network(net, path.pretrain_network_da, param_key=path.param_key_da)
        self.net_da = self.model_to_device(net)
        self._log_sizes(net)

    @abstractmethod
    def estimate_levels(self, lq: Tensor) -> Tensor:
        """Reads the levels (B, 5) of photos (B, 3, h, w)."""

    def start_optimizer(self, groups: Any, settings: dict[str, Any]) -> None:
        """Builds the optimiser of ``optim_da`` and the schedulers."""
        self.optimizer_da = self.get_optimizer(settings.pop('type', 'AdamW'), groups, **settings)
        self.optimizers.append(self.optimizer_da)
        self.setup_schedulers()

    def _log_sizes(self, net: nn.Module) -> None:
        trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
        total = sum(p.numel() for p in net.parameters())
        get_root_logger().info(f'Network: {type(net).__name__}, {total:,d} parameters, {trained:,d} of them trained')

    def dist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Validates on the first process."""
        if self.opt['rank'] == 0:
            self.nondist_validation(dataloader, current_iter, tb_logger, save_img)

    @torch.no_grad()
    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Reads every photo of the set and reports the accuracy for each degradation type."""
        net = self.get_bare_model(self.net_da).eval()
        progress = tqdm(dataloader, unit='photo', desc='reading', disable=not self.options.val.pbar, leave=False)
        read, true = [], []
        for lq, levels in same_size_batches(progress, self.options.val.batch):
            read.append(self.estimate_levels(lq.to(self.device)).cpu())
            true.append(levels)
        net.train(self.is_train)
        if not read:
            raise UserError(f'datasets: {dataloader.dataset.opt["name"]} has no photo to validate on')
        metrics = accuracy_metrics(torch.cat(read), torch.cat(true))
        self._report(metrics, current_iter, dataloader.dataset.opt['name'], tb_logger)

    def _report(self, metrics: dict[str, float], current_iter: int | str, dataset: str, tb_logger: Any) -> None:
        lines = [f'Validation {dataset}: share read right (share of the best constant answer)']
        lines += [
            f'\t # {name:<9} {metrics[name]:.3f} ({metrics[f"{name}_constant"]:.3f})' for name in DEGRADATION_TYPE_NAMES
        ]
        get_root_logger().info('\n'.join(lines))
        self.record_metrics(current_iter, dataset, metrics)
        if tb_logger:
            for name, value in metrics.items():
                tb_logger.add_scalar(f'metrics/{dataset}/{name}', value, current_iter)

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes the network, an adaptor's CLIP included, and the state of training."""
        self.save_network(self.net_da, 'net_da', current_iter)
        self.save_training_state(epoch, current_iter)


def accuracy_metrics(read: Tensor, true: Tensor) -> dict[str, float]:
    """Accuracy of each degradation type, that of the best constant answer, and the mean accuracy, from levels (N, 5)."""
    metrics = {}
    for degradation_type, answers, truth in zip(DEGRADATION_TYPES, read.unbind(1), true.unbind(1), strict=True):
        metrics[degradation_type.name] = level_accuracy(answers, truth, degradation_type.tolerance)
        metrics[f'{degradation_type.name}_constant'] = max(
            level_accuracy(torch.full_like(truth, level), truth, degradation_type.tolerance)
            for level in degradation_type.evaluation_levels
        )
    metrics['mean'] = sum(metrics[name] for name in DEGRADATION_TYPE_NAMES) / len(DEGRADATION_TYPE_NAMES)
    return metrics


def same_size_batches(data: Iterable[dict[str, Any]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Joins neighbouring samples of one image size; BasicSR's validation loader gives one at a time."""
    lq: list[Tensor] = []
    levels: list[Tensor] = []
    for sample in data:
        if lq and (len(lq) == size or sample['lq'].shape != lq[0].shape):
            yield torch.cat(lq), torch.cat(levels)
            lq, levels = [], []
        lq.append(sample['lq'])
        levels.append(sample['levels'])
    if lq:
        yield torch.cat(lq), torch.cat(levels)
