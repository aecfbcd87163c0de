"""Finds the latest complete checkpoint of a run and prepares the options to resume from it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basicsr_plugin.checkpoint import read_file
from basicsr_plugin.errors import UserError
from basicsr_plugin.run_files import network_file, rank_file, state_files

__all__ = ['ResumePosition', 'StatePath', 'load_resume_state']

_KEYS = ('iter', 'epoch', 'optimizers', 'schedulers')


@dataclass(frozen=True)
class ResumePosition:
    """Where in its data a run was stopped.

    Attributes:
        epoch: Epoch of the training loop, from 0.
        iteration: Iterations done since the start of the run.
        batch: Samples per process and iteration now.
        processes: Number of processes now.
        used: Samples of the epoch that all processes had used; None in training states of version 0.2 and earlier.
        samples: Samples of the epoch; None likewise.
    """

    epoch: int
    iteration: int
    batch: int
    processes: int = 1
    used: int | None = None
    samples: int | None = None

    def samples_used(self, epoch: int, samples: int) -> int:
        """Returns how many of the ``samples`` of an epoch all processes had used when the run was stopped.

        They are the first ones. An epoch with another number of samples has another order: it starts again.
        """
        if epoch != self.epoch:
            return 0
        used = self.used
        if used is None or self.samples is None:
            per_epoch = samples // self.processes // self.batch
            used = (self.iteration - epoch * per_epoch) * self.batch * self.processes
        elif samples != self.samples:
            return 0
        return used if 0 <= used <= samples else 0

    def starts_again(self, samples: int) -> bool:
        """Whether the interrupted epoch starts again, so that samples of it are repeated."""
        return self.samples is not None and samples != self.samples and bool(self.used)

    def last_epoch(self, iterations: int, samples: int) -> int:
        """Returns the epoch up to which BasicSR's loop has to count for a run of so many iterations in all."""
        per_epoch = samples // self.processes // self.batch
        left = (samples - self.samples_used(self.epoch, samples)) // self.processes // self.batch
        return self.epoch + 1 + math.ceil(max(0, iterations - self.iteration - left) / per_epoch)


class StatePath(str):
    """The path of the training state that a run resumes from, together with the position that it was saved at.

    For everything except the training sampler it is a plain text, so that ``opt`` needs no further key.

    Attributes:
        position: The position.
    """

    position: ResumePosition


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Replaces ``basicsr.train.load_resume_state``.

    With ``--auto_resume`` the newest checkpoint of the run is taken whose files are all complete and undamaged, so
    that one damaged by a kill or a disk does not end a loop of restarts. Otherwise ``path.resume_state`` names it.

    Args:
        opt: Options of the run; paths of networks are set to the checkpoint's, ``path.resume_state`` to a
            :class:`StatePath`, and ``manual_seed`` to that of the run.

    Returns:
        Epoch, iteration, optimizers, schedulers and what :mod:`basicsr_plugin.training_state` adds, on the CPU (loading
        them moves each to its parameter's device); None to start from scratch.

    Raises:
        UserError: ``path.resume_state`` names a file that is no training state, or a checkpoint that is not complete.
    """
    found = _newest_complete(opt) if opt['auto_resume'] else None
    if found is None:
        given = opt['path'].get('resume_state')
        if not given:
            return None
        found = Path(given), _given_state(opt, Path(given))
    path, state = found
    _point_to_networks(opt, state)
    _take_own_state(opt, path, state)
    _keep_seed(opt, state)
    batch = opt['datasets']['train']['batch_size_per_gpu'] * (1 if opt['dist'] else max(opt['num_gpu'], 1))
    data = state.get('data') or {}
    opt['path']['resume_state'] = StatePath(path)
    opt['path']['resume_state'].position = ResumePosition(
        *(state['epoch'], state['iter'], batch, opt.get('world_size', 1), data.get('used'), data.get('samples'))
    )
    return state


def _given_state(opt: dict[str, Any], path: Path) -> dict[str, Any]:
    """Reads the training state that ``path.resume_state`` names, and checks the files that belong to it."""
    try:
        state = _read_state(path)
        problem = _problem(opt, path, state)
        if problem:
            raise UserError(f'path.resume_state: cannot resume from {path}: {problem}')
    except UserError as error:
        raise UserError(f'{error}; {_way_out(opt)}') from None
    return state


def _way_out(opt: dict[str, Any]) -> str:
    """Returns what to do where the checkpoint that was named cannot be resumed from."""
    for _, path, _, problem in _checkpoints(opt):
        if problem is None:
            return f'the newest complete checkpoint of the run is {path}, set path.resume_state to it'
    files = [file for label in _saved_networks(opt) for file in Path(opt['path']['models']).glob(f'net_{label}_*.pth')]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        if _file_problem(file) is None:
            label = file.stem.removeprefix('net_').rpartition('_')[0]
            return (
                'no other checkpoint of the run is complete, start a new run, without path.resume_state, from the '
                f'newest intact weights: path.pretrain_network_{label}: {file}'
            )
    return 'nothing else of the run is intact, correct path.resume_state, or remove it to start from scratch'


def _read_state(path: Path) -> dict[str, Any]:
    """Reads a training state; the errors do not state how to fix it, which the other checkpoints of the run decide."""
    if not path.is_file():
        what = 'is no file' if path.exists() else 'does not exist'
        raise UserError(f'path.resume_state: expected a training state, got {path}, which {what}')
    try:
        state = read_file(path, 'path.resume_state')
    except UserError as error:
        raise UserError(_without_fix(error)) from error
    missing = [key for key in _KEYS if key not in state] if isinstance(state, Mapping) else _KEYS
    if missing:
        raise UserError(
            f'path.resume_state: expected a training state with the keys {", ".join(_KEYS)}, got {path} without '
            f"'{missing[0]}'"
        )
    return dict(state)


def _checkpoints(opt: dict[str, Any]) -> Iterator[tuple[int, Path, dict[str, Any], str | None]]:
    """Yields iteration, path, content and problem of each checkpoint of the run, the newest first."""
    states = state_files(opt)
    for iteration in sorted(states, reverse=True):
        path, state = states[iteration], {}
        try:
            state = _read_state(path)
            problem = _problem(opt, path, state)
        except UserError as error:
            problem = str(error)
        yield iteration, path, state, problem


def _newest_complete(opt: dict[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    found = ''
    for iteration, path, state, problem in _checkpoints(opt):
        if problem is None:
            return path, state
        _print(opt, f'Checkpoint {iteration} is skipped: {problem}.')
        found = 'complete '
    _print(opt, f'No {found}checkpoint in {opt["path"]["training_states"]}: training starts from scratch.')
    return None


def _problem(opt: dict[str, Any], path: Path, state: Mapping[str, Any]) -> str | None:
    """Returns what keeps a checkpoint from being used, except for its training state itself."""
    files = [network_file(opt, label, state['iter']) for label in _labels(opt, state)]
    if not files:
        return f'no networks in {opt["path"]["models"]}'
    if state.get('processes', 1) == opt.get('world_size', 1):
        files += [rank_file(path, rank) for rank in range(1, opt.get('world_size', 1))]
    for file in files:
        problem = _file_problem(file)
        if problem:
            return problem
    return None


def _file_problem(file: Path) -> str | None:
    if not file.is_file():
        return f'{file} is missing'
    try:
        read_file(file, 'its files')  # a damaged header may pass the checksums
    except UserError as error:
        return _without_fix(error)
    return None


def _without_fix(error: UserError) -> str:
    """Returns an error of :func:`read_file` without its end, how to fix it."""
    return str(error).rpartition('; ')[0]


def _labels(opt: dict[str, Any], state: Mapping[str, Any]) -> list[str]:
    """Labels of the networks that a checkpoint has; the files of all of them must exist."""
    ignored = opt['path'].get('ignore_resume_networks') or []
    recorded = [label for label in state.get('networks', ()) if f'network_{label}' not in ignored]
    return recorded or _saved_networks(opt)


def _saved_networks(opt: dict[str, Any]) -> list[str]:
    """Labels of the networks of which the run keeps checkpoints: a frozen one is never saved and has none at all."""
    models = Path(opt['path']['models'])
    ignored = opt['path'].get('ignore_resume_networks') or []
    labels = [key.removeprefix('network_') for key in opt if key.startswith('network_') and key not in ignored]
    return [label for label in labels if any(models.glob(f'net_{label}_*.pth'))]


def _point_to_networks(opt: dict[str, Any], state: Mapping[str, Any]) -> None:
    paths = opt['path']
    labels = _labels(opt, state)
    for label in labels:
        paths[f'pretrain_network_{label}'] = str(network_file(opt, label, state['iter']))
        # BasicSR loads the averaged weights as well, into their own network; they must not replace these
        if paths.get(f'param_key_{label}') == 'params_ema':
            paths[f'param_key_{label}'] = 'params'
    _print(opt, f'Resuming from iteration {state["iter"]}: {", ".join(f"network_{label}" for label in labels)}.')


def _take_own_state(opt: dict[str, Any], path: Path, state: dict[str, Any]) -> None:
    """Replaces the random states and the pool of the first process by those of this one."""
    rank, saved, now = opt.get('rank', 0), state.get('processes', 1), opt.get('world_size', 1)
    if saved != now:
        state.pop('own', None)
        _print(
            opt,
            f'Processes: {now} instead of {saved}. Samples continue where they were, but random states start newly and '
            'a pool of samples starts empty: the run is not the one that would not have been stopped.',
        )
    elif rank:
        state['own'] = read_file(rank_file(path, rank), 'path.resume_state', 'name another .state of the run')


def _keep_seed(opt: dict[str, Any], state: Mapping[str, Any]) -> None:
    """Sets the seed of the run, which an option file without one, or an edited one, would change."""
    seed = state.get('manual_seed')
    if seed is None or seed == opt.get('manual_seed'):
        return
    from basicsr.utils import set_random_seed

    _print(opt, f'manual_seed: {seed}, that of the training state, is used instead of {opt.get("manual_seed")}.')
    opt['manual_seed'] = seed
    set_random_seed(seed + opt.get('rank', 0))


def _print(opt: dict[str, Any], message: str) -> None:
    # BasicSR opens its log file only after this; an earlier logger would keep it from doing so
    if opt.get('rank', int(os.environ.get('RANK', 0))) == 0:
        print(message, flush=True)
