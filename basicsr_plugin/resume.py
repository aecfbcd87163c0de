"""Finds the latest complete checkpoint of a run and prepares the options to resume from it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basicsr_plugin.checkpoint import read_file
from basicsr_plugin.errors import UserError

__all__ = ['ResumePosition', 'StatePath', 'load_resume_state']

_KEYS = ('iter', 'epoch', 'optimizers', 'schedulers')


@dataclass(frozen=True)
class ResumePosition:
    """Where in its data a run was stopped.

    Attributes:
        epoch: Epoch of the training loop, from 0.
        iteration: Iterations done since the start of the run.
        batch: Samples per process and iteration now.
    """

    epoch: int
    iteration: int
    batch: int

    def samples_used(self, epoch: int, samples: int) -> int:
        """Returns how many of the ``samples`` that a process draws in an epoch were used before the run was stopped."""
        if epoch != self.epoch:
            return 0
        used = (self.iteration - epoch * (samples // self.batch)) * self.batch
        # another count means other data or another batch size than before: the epoch then starts again
        return used if 0 <= used <= samples else 0


class StatePath(str):
    """The path of the training state that a run resumes from, together with the position that it was saved at.

    For everything except the training sampler it is a plain text, so that ``opt`` needs no further key.

    Attributes:
        position: The position.
    """

    position: ResumePosition


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Replaces ``basicsr.train.load_resume_state``.

    With ``--auto_resume`` the newest checkpoint of the run is taken whose files are all complete; a run that was
    killed while it saved may have left one that is not. Otherwise ``path.resume_state`` names it.

    Args:
        opt: Options of the run; paths of networks are set to the checkpoint's, and ``path.resume_state`` to a
            :class:`StatePath`.

    Returns:
        Epoch, iteration, optimizers and schedulers, on the CPU (loading them moves each to its parameter's device);
        None to start from scratch.

    Raises:
        UserError: ``path.resume_state`` names a file that is no training state, or a checkpoint that is not complete.
    """
    path = _newest_complete(opt) if opt['auto_resume'] else None
    if path is None:
        given = opt['path'].get('resume_state')
        if not given:
            return None
        path = Path(given)
        if not path.is_file():
            raise UserError(f'path.resume_state: expected a training state, got {path}, which does not exist')
    state = _read_state(path, opt['auto_resume'])
    problem = _problem(opt, None, state['iter'])
    if problem:
        raise UserError(f'path.resume_state: cannot resume from {path}: {problem}')
    _point_to_networks(opt, state['iter'])
    batch = opt['datasets']['train']['batch_size_per_gpu'] * (1 if opt['dist'] else max(opt['num_gpu'], 1))
    opt['path']['resume_state'] = StatePath(path)
    opt['path']['resume_state'].position = ResumePosition(state['epoch'], state['iter'], batch)
    return state


def _read_state(path: Path, chosen: bool) -> dict[str, Any]:
    """Reads a training state; ``chosen``: by ``--auto_resume``."""
    hint = 'delete it to resume from the one before' if chosen else 'name another .state of the run'
    state = read_file(path, 'path.resume_state', hint)
    missing = [key for key in _KEYS if key not in state] if isinstance(state, Mapping) else _KEYS
    if missing:
        raise UserError(
            f'path.resume_state: expected a training state with the keys {", ".join(_KEYS)}, got {path} without '
            f"'{missing[0]}'; name a .state in the folder training_states of the run"
        )
    return dict(state)


def _newest_complete(opt: dict[str, Any]) -> Path | None:
    folder = Path(opt['path']['training_states'])
    states = {int(path.stem): path for path in folder.glob('*.state') if path.stem.isdigit()}
    for iteration in sorted(states, reverse=True):
        problem = _problem(opt, states[iteration], iteration)
        if problem is None:
            return states[iteration]
        _print(opt, f'Checkpoint {iteration} is skipped: {problem}.')
    _print(opt, f'No {"complete " if states else ""}checkpoint in {folder}: training starts from scratch.')
    return None


def _problem(opt: dict[str, Any], state: Path | None, iteration: int) -> str | None:
    """Returns what keeps a checkpoint from being used."""
    files = [_network_file(opt, label, iteration) for label in _saved_networks(opt)]
    if not files:
        return f'no networks in {opt["path"]["models"]}'
    for path in [*([state] if state else []), *files]:
        if not path.is_file():
            return f'{path} is missing'
        # torch.save writes a zip, whose table of contents comes last: a truncated file has none
        if not zipfile.is_zipfile(path):
            return f'{path} is truncated'
    return None


def _saved_networks(opt: dict[str, Any]) -> list[str]:
    """Labels of the networks of which the run keeps checkpoints: a frozen one is never saved and has none at all."""
    models = Path(opt['path']['models'])
    ignored = opt['path'].get('ignore_resume_networks') or []
    labels = [key.removeprefix('network_') for key in opt if key.startswith('network_') and key not in ignored]
    return [label for label in labels if any(models.glob(f'net_{label}_*.pth'))]


def _network_file(opt: dict[str, Any], label: str, iteration: int) -> Path:
    return Path(opt['path']['models'], f'net_{label}_{iteration}.pth')


def _point_to_networks(opt: dict[str, Any], iteration: int) -> None:
    paths = opt['path']
    saved = _saved_networks(opt)
    for label in saved:
        paths[f'pretrain_network_{label}'] = str(_network_file(opt, label, iteration))
        # BasicSR loads the averaged weights as well, into their own network; they must not replace these
        if paths.get(f'param_key_{label}') == 'params_ema':
            paths[f'param_key_{label}'] = 'params'
    _print(opt, f'Resuming from iteration {iteration}: {", ".join(f"network_{label}" for label in saved)}.')


def _print(opt: dict[str, Any], message: str) -> None:
    # BasicSR opens its log file only after this; an earlier logger would keep it from doing so
    if opt.get('rank', int(os.environ.get('RANK', 0))) == 0:
        print(message, flush=True)
