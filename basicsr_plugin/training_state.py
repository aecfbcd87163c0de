"""What a training state holds in addition to BasicSR's, so that a resumed run is the one that was never stopped.

- ``own``: random states of the process, and what its model adds (``own_state``, ``load_own_state``), such as a pool.
- ``data``: samples of the epoch that are used. ``processes``, ``manual_seed``, ``networks``: of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from basicsr_plugin.random_state import random_states, restore_random_states
from basicsr_plugin.run_files import network_file
from basicsr_plugin.training_loop import current_loop

__all__ = ['options_without_effect', 'own_state', 'restore_own_state', 'shared_state']

_SCHEDULE = ('milestones', 'gamma', 'restarts', 'periods', 'restart_weights', 'eta_min')
#: Samples of a RealESRGANModel's pool.
_STOCK_POOL = ('queue_lr', 'queue_gt', 'queue_ptr')


def own_state(model: Any) -> dict[str, Any]:
    """Returns what each process has for itself."""
    own: dict[str, Any] = getattr(model, 'own_state', dict)()
    pool = {name: getattr(model, name) for name in _STOCK_POOL if hasattr(model, name)}
    return {'random': random_states(), 'model': own, 'stock_pool': pool}


def shared_state(model: Any, epoch: int, iteration: int) -> dict[str, Any]:
    """Returns what all processes have in common; its networks must be saved already."""
    opt = model.opt
    labels = [key.removeprefix('network_') for key in opt if key.startswith('network_')]
    loop = current_loop(model)
    return {
        'data': loop.data_position(epoch, iteration) if loop else {},
        'processes': opt.get('world_size', 1),
        'manual_seed': opt.get('manual_seed'),
        'networks': [label for label in labels if network_file(opt, label, iteration).is_file()],
    }


def restore_own_state(model: Any, state: Mapping[str, Any]) -> None:
    """Sets what :func:`own_state` has returned; a training state of version 0.2 and earlier has none."""
    own = state.get('own')
    if own is None:
        return
    for name, value in own['stock_pool'].items():
        setattr(model, name, value.to(model.device) if hasattr(value, 'to') else value)
    load = getattr(model, 'load_own_state', None)
    if load is not None:
        load(own['model'])
    restore_random_states(own['random'])


def options_without_effect(model: Any, state: Mapping[str, Any]) -> list[str]:
    """Returns a line for each option of optimizers and schedules that differs from the training state, which wins.

    Call it before the state is loaded.
    """
    train = model.opt['train']
    names = [key for key in train if key.startswith('optim_')]
    lines = [*_optimizer_differences(model, state, names), *_schedule_differences(model, state)]
    hint = 'this has no effect on a resumed run, start a new one from the weights'
    return [f'{line}; {hint}' for line in dict.fromkeys(lines)]


def _optimizer_differences(model: Any, state: Mapping[str, Any], names: list[str]) -> Iterator[str]:
    if len(names) != len(model.optimizers):
        return
    for name, optimizer, saved in zip(names, model.optimizers, state['optimizers'], strict=False):
        for now, before in zip(optimizer.param_groups, saved['param_groups'], strict=False):
            for option in model.opt['train'][name]:
                key = 'initial_lr' if option == 'lr' else option
                if key in now and key in before and _plain(now[key]) != _plain(before[key]):
                    yield f'train.{name}.{option}: {now[key]} instead of {before[key]} in the training state'


def _schedule_differences(model: Any, state: Mapping[str, Any]) -> Iterator[str]:
    for scheduler, saved in zip(model.schedulers, state['schedulers'], strict=False):
        for key in _SCHEDULE:
            now, before = getattr(scheduler, key, None), saved.get(key)
            if key in saved and _plain(now) != _plain(before):
                yield f'train.scheduler.{key}: {_plain(now)} instead of {_plain(before)} in the training state'


def _plain(value: object) -> object:
    """Returns a value in a form in which a list, a tuple and a counter of the same numbers are equal."""
    if isinstance(value, Mapping):
        return sorted(value.items())
    return list(value) if isinstance(value, (list, tuple)) else value
