"""Fixes of what BasicSR counts: learning rates after a warm-up, and the iteration of the last validation."""

from __future__ import annotations

from typing import Any

from basicsr_plugin.fixes.source import contains

__all__ = ['fix_last_iteration', 'fix_warmup']


def fix_warmup() -> bool:
    """After ``warmup_iter: n`` a MultiStepLR stays at (n - 1) / n of the learning rate: it multiplies the latest one.

    Milestones within the warm-up are lost for the same reason. With this fix the schedule continues from its own latest
    rate, not from that of the warm-up.
    """
    from basicsr.models.base_model import BaseModel

    update = BaseModel.update_learning_rate
    if not contains(update, 'warm_up_lr_l') or contains(update, 'get_last_lr'):
        return False

    def update_learning_rate(self: Any, current_iter: int, warmup_iter: int = -1) -> None:
        if 1 < current_iter <= warmup_iter:
            for scheduler in self.schedulers:
                for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr(), strict=True):
                    group['lr'] = rate
        update(self, current_iter, warmup_iter)

    BaseModel.update_learning_rate = update_learning_rate
    return True


def fix_last_iteration() -> bool:
    """The validation at the end of a training has the number of an iteration that was never done."""
    from basicsr.models.base_model import BaseModel

    validate = BaseModel.validation
    if hasattr(validate, 'last_iteration'):
        return False

    def validation(self: Any, dataloader: Any, current_iter: Any, *args: Any, **kwargs: Any) -> None:
        if self.opt.get('is_train') and isinstance(current_iter, int):
            current_iter = min(current_iter, int(self.opt['train']['total_iter']))
        validate(self, dataloader, current_iter, *args, **kwargs)

    validation.last_iteration = True  # type: ignore[attr-defined]
    BaseModel.validation = validation
    return True
