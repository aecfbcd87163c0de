"""Finds the latest complete checkpoint of a run and prepares the options to go on from it."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from basicsr_plugin.errors import UserError

__all__ = ['load_resume_state', 'samples_seen']

# epoch, iteration and batch size per process of the checkpoint that this process goes on from
_resumed: tuple[int, int, int] | None = None


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Stands in for ``basicsr.train.load_resume_state``.

    With ``--auto_resume`` the newest checkpoint of the run is taken whose files are all there in full; a run that was
    killed while it saved may have left one that is not. Otherwise ``path.resume_state`` says which.

    Args:
        opt: Options of the run; paths of networks are set to the checkpoint's.

    Returns:
        Epoch, iteration, optimizers and schedulers, on the CPU (loading them moves each to its parameter's device);
        None to start from scratch.

    Raises:
        UserError: ``path.resume_state`` names a checkpoint that is not whole.
    """
    global _resumed
    _resumed = None
    path = _newest_whole(opt) if opt['auto_resume'] else None
    if path is None:
        given = opt['path'].get('resume_state')
        if not given:
            return None
        path = Path(given)
        if not path.is_file():
            raise UserError(f'path.resume_state: expected a training state, got {path}, which does not exist')
    state = _read_state(path)
    problem = _problem(opt, None, state['iter'])
    if problem:
        raise UserError(f'path.resume_state: {path} cannot be gone on from: {problem}')
    opt['path']['resume_state'] = str(path)
    _point_to_networks(opt, state['iter'])
    batch = opt['datasets']['train']['batch_size_per_gpu'] * (1 if opt['dist'] else max(opt['num_gpu'], 1))
    _resumed = state['epoch'], state['iter'], batch
    return state


def samples_seen(epoch: int, samples: int) -> int:
    """How many of the samples that a process draws in an epoch were seen before the run was stopped in it."""
    if _resumed is None or _resumed[0] != epoch:
        return 0
    _, iteration, batch = _resumed
    seen = (iteration - epoch * (samples // batch)) * batch
    # another count means other data or another batch size than before: the epoch then starts anew
    return seen if 0 <= seen <= samples else 0


def _newest_whole(opt: dict[str, Any]) -> Path | None:
    folder = Path(opt['path']['training_states'])
    states = {int(path.stem): path for path in folder.glob('*.state') if path.stem.isdigit()}
    for iteration in sorted(states, reverse=True):
        problem = _problem(opt, states[iteration], iteration)
        if problem is None:
            return states[iteration]
        _say(opt, f'Checkpoint {iteration} is skipped: {problem}.')
    _say(opt, f'No {"whole " if states else ""}checkpoint in {folder}: training starts from scratch.')
    return None


def _problem(opt: dict[str, Any], state: Path | None, iteration: int) -> str | None:
    """Says what keeps a checkpoint from being used."""
    files = [_network_file(opt, label, iteration) for label in _saved_networks(opt)]
    if not files:
        return f'there are no networks in {opt["path"]["models"]}'
    for path in [*([state] if state else []), *files]:
        if not path.is_file():
            return f'{path} is missing'
        # torch.save writes a zip, whose table of contents comes last: a file cut short has none
        if not zipfile.is_zipfile(path):
            return f'{path} is cut short'
    return None


def _saved_networks(opt: dict[str, Any]) -> list[str]:
    """Labels of the networks of which the run keeps checkpoints: a frozen one is never saved and has none at all."""
    models = Path(opt['path']['models'])
    ignored = opt['path'].get('ignore_resume_networks') or []
    labels = [key.removeprefix('network_') for key in opt if key.startswith('network_') and key not in ignored]
    return [label for label in labels if any(models.glob(f'net_{label}_*.pth'))]


def _network_file(opt: dict[str, Any], label: str, iteration: int) -> Path:
    return Path(opt['path']['models'], f'net_{label}_{iteration}.pth')


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().split('\n')[0]
        raise UserError(f'path.resume_state: {path} cannot be read as a training state ({reason})') from error


def _point_to_networks(opt: dict[str, Any], iteration: int) -> None:
    paths = opt['path']
    saved = _saved_networks(opt)
    for label in saved:
        paths[f'pretrain_network_{label}'] = str(_network_file(opt, label, iteration))
        # the averaged weights are loaded beside these by BasicSR; they must not take their place
        if paths.get(f'param_key_{label}') == 'params_ema':
            paths[f'param_key_{label}'] = 'params'
    _say(opt, f'Going on from iteration {iteration}: {", ".join(f"network_{label}" for label in saved)} resumed.')


def _say(opt: dict[str, Any], message: str) -> None:
    # BasicSR opens its log file only after this; an earlier logger would keep it from doing so
    if opt.get('rank', int(os.environ.get('RANK', 0))) == 0:
        print(message, flush=True)
