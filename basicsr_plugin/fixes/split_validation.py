"""Fix of BasicSR's validation in several processes: each validates its share of the images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from basicsr_plugin.fixes.source import contains

__all__ = ['fix_validation']


def fix_validation() -> bool:
    """The first process validates alone, while the others wait until the time-out of the process group."""
    from basicsr.models.sr_model import SRModel

    from basicsr_plugin.processes import gathered, loader_part, share_buffers
    from basicsr_plugin.training_loop import until_signal

    if not contains(SRModel.dist_validation, "if self.opt['rank'] == 0:"):
        return False

    def dist_validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        for label in ('net_g', 'net_g_ema'):
            if hasattr(self, label):
                share_buffers(self.get_bare_model(getattr(self, label)))
        part, sums = loader_part(dataloader), None

        def validate() -> None:
            nonlocal sums
            with _without_report(self):
                if len(part):
                    self.nondist_validation(part, current_iter, tb_logger, save_img)
            sums = {name: value * len(part) for name, value in getattr(self, 'metric_results', {}).items()}

        until_signal(self, validate)
        parts = gathered(None if sums is None else (sums, len(part)))
        complete = [one for one in parts if one is not None]
        if len(complete) == len(parts) and self.opt['val'].get('metrics') is not None:
            _report(self, complete, dataloader.dataset.opt['name'], current_iter, tb_logger)

    SRModel.dist_validation = dist_validation
    return True


@contextlib.contextmanager
def _without_report(model: Any) -> Iterator[None]:
    """Keeps a model from reporting what is known of a part of the images only."""
    names = ('_update_best_metric_result', '_log_validation_metric_values')
    if model.opt['rank']:
        model.opt['val']['pbar'] = False
    for name in names:
        setattr(model, name, lambda *_: None)
    try:
        yield
    finally:
        for name in names:
            delattr(model, name)


def _report(
    model: Any, parts: list[tuple[dict[str, float], int]], dataset: str, current_iter: Any, tb_logger: Any
) -> None:
    """Takes the mean of each metric over the images of all processes, and reports it as BasicSR does."""
    count = sum(number for _, number in parts)
    names = model.opt['val']['metrics']
    model.metric_results = {name: sum(sums[name] for sums, number in parts if number) / count for name in names}
    model._initialize_best_metric_results(dataset)
    for name, value in model.metric_results.items():
        model._update_best_metric_result(dataset, name, value, current_iter)
    if model.opt['rank'] == 0:
        model._log_validation_metric_values(current_iter, dataset, tb_logger)
