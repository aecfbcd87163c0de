"""The checkpoints of a run: which files belong to one, how many are kept, and whether there is space for them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basicsr_plugin.atomic import PART, free_bytes
from basicsr_plugin.errors import OptionError, UserError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    'check_keep_last_n',
    'check_space',
    'network_file',
    'prune',
    'rank_file',
    'resume_hint',
    'save_hint',
    'state_files',
]

_ADAM_STATE = 2  # numbers that Adam, the largest optimizer state, keeps per parameter
_LEAST_KEPT = 2


def state_files(opt: Mapping[str, Any]) -> dict[int, Path]:
    """Returns the training states of a run by iteration; a checkpoint is written state last."""
    folder = Path(opt['path']['training_states'])
    return {int(path.stem): path for path in folder.glob('*.state') if path.stem.isdigit()}


def network_file(opt: Mapping[str, Any], label: str, iteration: int | str) -> Path:
    """Returns the path of a network's checkpoint; label: such as ``g`` for ``network_g``."""
    return Path(opt['path']['models'], f'net_{label}_{iteration}.pth')


def rank_file(state: Path, rank: int) -> Path:
    """Returns what belongs to a training state and is known to the process ``rank`` alone, from 1."""
    return state.with_name(f'{state.stem}_rank{rank}.state')


def resume_hint(opt: Mapping[str, Any]) -> str:
    """Returns how to continue a run that stops: ``--auto_resume`` is named only if there is a checkpoint."""
    states = state_files(opt)
    if not states:
        return 'nothing has been saved, start the run again'
    return f'the latest checkpoint is that of iteration {max(states)}, resume with --auto_resume'


def save_hint(opt: Mapping[str, Any]) -> str:
    """Returns how to continue when a file of a run was not written: no space, or weights that are not finite."""
    return f'correct this; {resume_hint(opt)}'


def check_keep_last_n(logger: Mapping[str, Any]) -> None:
    """Checks ``logger.keep_last_n``, which BasicSR's own models have too.

    Raises:
        OptionError: It is no number from 2.
    """
    kept = logger.get('keep_last_n')
    if kept is not None and (not isinstance(kept, int) or isinstance(kept, bool) or kept < _LEAST_KEPT):
        raise OptionError(
            f'logger.keep_last_n: expected a whole number from {_LEAST_KEPT}, got {kept!r}; with fewer, one damaged '
            'file would lose the run'
        )


def prune(opt: Mapping[str, Any]) -> None:
    """Deletes all checkpoints except for the newest ``logger.keep_last_n``.

    What killed processes have left half written is deleted too. Call it when a checkpoint is complete.
    """
    folders = [Path(opt['path'][key]) for key in ('models', 'training_states')]
    _remove(path for folder in folders for path in folder.glob(f'*{PART}'))
    kept = opt['logger'].get('keep_last_n')
    if not kept:
        return
    models, states = folders
    for iteration in sorted(state_files(opt))[:-kept]:
        # first the state, without which a checkpoint is not resumed from
        _remove([states / f'{iteration}.state', *states.glob(f'{iteration}_rank*.state')])
        _remove(models.glob(f'net_*_{iteration}.pth'))


def check_space(model: Any) -> None:
    """Checks before the first iteration that the disk has space for two checkpoints.

    Raises:
        UserError: It has not.
    """
    needed, folder = 2 * _checkpoint_bytes(model), model.opt['path']['models']
    free = free_bytes(folder)
    if free < needed:
        raise UserError(
            f'path.models: expected {needed / 2**20:,.0f} MiB for two checkpoints on the disk of {folder}, got '
            f'{free / 2**20:,.0f} MiB; free some, or set path.experiments_root to another disk'
        )


def _checkpoint_bytes(model: Any) -> int:
    """Returns the size of a checkpoint: networks, and an optimizer state of Adam's size."""
    networks = [
        value for name, value in vars(model).items() if name.startswith('net_') and hasattr(value, 'state_dict')
    ]
    tensors = [tensor for network in networks for tensor in network.state_dict().values()]
    trained = [p for optimizer in model.optimizers for group in optimizer.param_groups for p in group['params']]
    return _bytes(tensors) + _ADAM_STATE * _bytes(trained)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):  # the next checkpoint tries again
            os.remove(path)
