"""What the models of stage 1 have in common: the network, validation by levels, saving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn
from tqdm import tqdm

from basicsr_plugin.errors import UserError
from basicsr_plugin.options import read_options
from basicsr_plugin.processes import gathered, loader_part, share_buffers
from basicsr_plugin.run_files import network_file, save_hint
from basicsr_plugin.training_loop import until_signal
from deplsr_data.degradation.level_tables import LevelTable, level_table
from deplsr_model.base import Batch, DePLSRBaseModel, Parameters
from deplsr_model.checkpoint import save_estimator
from deplsr_model.compilation import check_compile
from deplsr_model.consistency import check_checkpoint_levels, check_levels, check_type_count
from deplsr_model.estimator_options import EstimatorOptions
from deplsr_model.functional import level_accuracy
from deplsr_model.options import Section, refuse_old_options, required

if TYPE_CHECKING:
    from torch.utils.data import DataLoader
    from torch.utils.tensorboard import SummaryWriter

__all__ = ['EstimatorModel', 'accuracy_metrics', 'same_size_batches']


class EstimatorModel(DePLSRBaseModel, ABC):
    """Trains ``network_da``; validation estimates the levels of each photo and reports the share of correct estimates.

    Raises:
        OptionError: A key is unknown or out of range, or the data sets or the checkpoint have other levels.
    """

    options_class: type[EstimatorOptions] = EstimatorOptions
    options: EstimatorOptions

    def __init__(self, opt: dict[str, Any]) -> None:
        self.options = self.typed_options(opt)
        self.table = level_table(self.options.levels)
        super().__init__(opt)
        net = build_network(opt['network_da'])
        self.num_types = check_type_count(net, 'network_da', self.table)
        path = self.options.path
        if path.pretrain_network_da is not None:
            check_checkpoint_levels(path.pretrain_network_da, self.options.levels)
            self.load_network(net, path.pretrain_network_da, param_key=path.param_key_da)
        self.net_da = self.model_to_device(net)
        self._log_sizes(net)

    @classmethod
    def typed_options(cls, opt: dict[str, Any]) -> EstimatorOptions:
        """Reads and checks the option file."""
        refuse_old_options(opt)
        options = read_options(cls.options_class, opt, '')
        check_levels(options.datasets, options.levels)
        check_compile(options.compile, options.train.accumulate if options.train else 1)
        return options

    @abstractmethod
    def estimate_levels(self, lq: Tensor) -> Tensor:
        """Estimates the levels (B, K) of photos (B, 3, h, w), in float32 whatever ``amp`` is, as stage 2 does."""

    def start_optimizer(self, groups: Parameters, settings: Section) -> None:
        """Builds the optimizer of ``optim_da``, its training step, and the schedulers."""
        settings = {'type': 'AdamW', **settings}
        self.optimizer_da = self.get_optimizer(settings.pop('type'), groups, **settings)
        self.optimizers.append(self.optimizer_da)
        self.step_da = self.add_step('da', self.optimizer_da, required(self.options.train))
        self.setup_schedulers()

    def _log_sizes(self, net: nn.Module) -> None:
        trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
        total = sum(p.numel() for p in net.parameters())
        get_root_logger().info(f'Network: {type(net).__name__}, {total:,d} parameters, {trained:,d} of them trained')

    def dist_validation(
        self, dataloader: DataLoader, current_iter: int | str, tb_logger: SummaryWriter | None, save_img: bool
    ) -> None:
        """Estimates the levels of a part of the photos in each process; the first one reports."""
        share_buffers(self.get_bare_model(self.net_da))
        part, found = loader_part(dataloader), None

        def estimate() -> None:
            nonlocal found
            found = self._estimated(part)

        until_signal(self, estimate)
        parts = gathered(found)
        if None not in parts and self.opt['rank'] == 0:
            self._evaluate(chain.from_iterable(filter(None, parts)), dataloader, current_iter, tb_logger)

    def nondist_validation(
        self, dataloader: DataLoader, current_iter: int | str, tb_logger: SummaryWriter | None, save_img: bool
    ) -> None:
        """Estimates the levels of every photo of the set and reports the accuracy for each degradation type."""
        self._evaluate(self._estimated(dataloader), dataloader, current_iter, tb_logger)

    @torch.no_grad()
    def _estimated(self, photos: DataLoader) -> list[tuple[Tensor, Tensor]]:
        """Returns the estimated and the true levels of photos, in batches."""
        net = self.get_bare_model(self.net_da).eval()
        shown = self.options.val.pbar and self.options.rank == 0
        progress = tqdm(photos, unit='photo', desc='estimating', disable=not shown, leave=False)
        found = [
            (self.estimate_levels(lq.to(self.device)).cpu(), levels[:, : self.num_types])
            for lq, levels in same_size_batches(progress, self.options.val.batch)
        ]
        net.train(self.is_train)
        return found

    def _evaluate(
        self,
        found: Iterable[tuple[Tensor, Tensor]],
        dataloader: DataLoader,
        current_iter: int | str,
        tb_logger: SummaryWriter | None,
    ) -> None:
        name = dataloader.dataset.opt['name']  # type: ignore[attr-defined]  # BasicSR's data sets have it
        pairs = list(found)
        if not pairs:
            raise UserError(f'datasets: {name} has no photo to validate on')
        estimated, true = (torch.cat(levels) for levels in zip(*pairs, strict=True))
        if not estimated.isfinite().all():
            raise UserError(
                f'network_da: expected finite levels, got others for photos of {name}; its weights are damaged or too '
                'large; resume from an earlier checkpoint'
            )
        metrics = accuracy_metrics(estimated, true, self.table)
        self._report(metrics, current_iter, name, tb_logger)

    def _report(
        self, metrics: Mapping[str, float], current_iter: int | str, dataset: str, tb_logger: SummaryWriter | None
    ) -> None:
        lines = [f'Validation {dataset}: share of correct estimates (that of the best constant answer)']
        for name in self.table.names[: self.num_types]:
            lines.append(f'\t # {name:<9} {metrics[name]:.3f} ({metrics[f"{name}_constant"]:.3f})')
        get_root_logger().info('\n'.join(lines))
        self.record_metrics(current_iter, dataset, metrics)
        if tb_logger:
            for name, value in metrics.items():
                tb_logger.add_scalar(f'metrics/{dataset}/{name}', value, current_iter)

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes the network, an adaptor's CLIP included, with the name of its levels, and the state of training."""
        self._save_network_da('latest' if current_iter == -1 else current_iter)
        self.save_training_state(epoch, current_iter)

    @master_only
    def _save_network_da(self, name: int | str) -> None:
        path = network_file(self.opt, 'da', name)
        save_estimator(self.get_bare_model(self.net_da), path, self.options.levels, save_hint(self.opt))


def accuracy_metrics(estimated: Tensor, true: Tensor, table: LevelTable) -> dict[str, float]:
    """Returns the accuracy of each degradation type, that of the best constant answer, and the mean accuracy.

    Args:
        estimated: (N, K) estimated levels.
        true: (N, K) true levels, of the first K degradation types.
        table: The degradation types.
    """
    metrics = {}
    accuracies = []
    types = table.types[: estimated.shape[1]]
    for degradation_type, answers, truth in zip(types, estimated.unbind(1), true.unbind(1), strict=True):
        accuracies.append(level_accuracy(answers, truth, degradation_type.tolerance))
        metrics[degradation_type.name] = accuracies[-1]
        metrics[f'{degradation_type.name}_constant'] = max(
            level_accuracy(torch.full_like(truth, level), truth, degradation_type.tolerance)
            for level in {*degradation_type.evaluation_levels, degradation_type.zero_level, *truth.unique().tolist()}
        )
    metrics['mean'] = sum(accuracies) / len(accuracies)
    return metrics


def same_size_batches(data: Iterable[Batch], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Joins neighbouring samples of one image size; BasicSR's validation loader returns one at a time."""
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
