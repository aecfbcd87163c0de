"""Fix of the steps of BasicSR's own models: one whose gradients are not finite is skipped."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

from basicsr_plugin.errors import UserError
from basicsr_plugin.fixes.source import contains

__all__ = ['fix_steps']


def fix_steps() -> bool:
    """One batch whose loss or gradients are not finite makes all weights NaN, and training continues.

    With this fix the step is skipped with a warning; after ``train.max_skipped_steps`` (20) in a row the run ends. The
    running averages of batch norms are not restored: weights that they have damaged are refused when they are saved.
    """
    from basicsr.models.base_model import BaseModel

    build = BaseModel.get_optimizer
    if hasattr(build, '__wrapped__') or not contains(build, 'torch.optim.Adam(params, lr'):
        return False

    @wraps(build)  # checks read the names of optimizers in its source
    def get_optimizer(self: Any, optim_type: str, params: Any, lr: float, **kwargs: Any) -> Any:
        optimizer = build(self, optim_type, params, lr, **kwargs)
        optimizer.step = MethodType(_guarded(self, optimizer.step), optimizer)
        return optimizer

    BaseModel.get_optimizer = get_optimizer
    return True


def _guarded(model: Any, make_step: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a method ``step`` of an optimizer that checks its gradients first."""
    import torch

    from basicsr_plugin.stock_sections import MAX_SKIPPED_STEPS

    limit = (model.opt.get('train') or {}).get('max_skipped_steps', MAX_SKIPPED_STEPS)
    in_row = 0

    def step(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal in_row
        gradients = [p.grad for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        norms = torch._foreach_norm(gradients) if gradients else ()
        if not norms or bool(torch.stack([norm.to(norms[0]) for norm in norms]).isfinite().all()):
            in_row = 0
            return make_step(*args, **kwargs)
        in_row += 1
        _report(model, in_row, limit)
        return None

    return step


def _report(model: Any, in_row: int, limit: int) -> None:
    """Warns about a skipped step.

    Raises:
        UserError: These are too many in a row.
    """
    from basicsr.utils import get_root_logger

    from basicsr_plugin.run_files import resume_hint
    from basicsr_plugin.training_loop import current_loop

    loop = current_loop(model)
    batch = f'iteration {loop.iteration}, batch: {loop.files_of_batch()}' if loop else 'a batch'
    line = f'gradients are not finite in {batch}'
    if in_row >= limit:
        raise UserError(
            f'train: {in_row} steps in a row, the last: {line}; check these photos or lower lr; '
            f'{resume_hint(model.opt)}'
        )
    get_root_logger().warning(f'Step is skipped: {line}')
