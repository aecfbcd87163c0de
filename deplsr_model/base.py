"""What both training stages add to BasicSR's base model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from basicsr.utils.dist_util import master_only
from torch import nn

from basicsr_plugin.errors import OptionError
from basicsr_plugin.options import nearest
from deplsr_data.apply_batch import apply_batch

from .checkpoint import load_into

__all__ = ['DePLSRBaseModel']

OPTIMIZERS = {name: getattr(torch.optim, name) for name in ('Adam', 'AdamW', 'Adamax', 'SGD', 'RMSprop')}


class DePLSRBaseModel(BaseModel):
    """BasicSR's base model with more optimisers, safe loading, and metrics that a program can read."""

    def degraded(self, data: dict[str, Any]) -> dict[str, Any]:
        """Gives a batch its ``lq`` if the data set left that to the device (``degrade_on: device``)."""
        if 'degradation' not in data:
            return data
        gt = data['gt'].to(self.device, non_blocking=True)
        return {**data, 'gt': gt, 'lq': apply_batch(data['degradation'], gt)}

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """Builds an optimiser of torch by name; BasicSR 1.4.2 knows Adam alone.

        Raises:
            OptionError: The name is not known, or the optimiser does not take an argument.
        """
        if optim_type not in OPTIMIZERS:
            raise OptionError(
                f"train: unknown optimizer type '{optim_type}'{nearest(optim_type, OPTIMIZERS)} "
                f'(known: {", ".join(OPTIMIZERS)})'
            )
        try:
            return OPTIMIZERS[optim_type](params, lr=lr, **kwargs)
        except (TypeError, ValueError) as error:
            raise OptionError(f'train: {optim_type}: {error}') from error

    def setup_schedulers(self) -> None:
        """Builds the schedulers.

        Raises:
            OptionError: A cosine schedule ends before the training does; BasicSR would fail when it gets there.
        """
        train = self.opt['train']
        periods = train['scheduler'].get('periods')
        if periods is not None and sum(periods) < train['total_iter']:
            raise OptionError(
                f'train.scheduler.periods: expected a sum of at least total_iter ({train["total_iter"]:.0f}), '
                f'got {periods}; lengthen them'
            )
        super().setup_schedulers()

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """Loads a checkpoint; what does not fit is said in one line."""
        net = self.get_bare_model(net)
        load_into(net, load_path, param_key=param_key, strict=strict, where=f'pretrained {type(net).__name__}')

    @master_only
    def record_metrics(self, current_iter: int | str, dataset: str, metrics: dict[str, float]) -> None:
        """Adds a line to ``metrics.jsonl`` in the folder of the run: iter, dataset and each metric by name."""
        path = Path(self.opt['path']['log']) / 'metrics.jsonl'
        with path.open('a', encoding='utf-8') as file:
            file.write(json.dumps({'iter': current_iter, 'dataset': dataset, **metrics}) + '\n')
