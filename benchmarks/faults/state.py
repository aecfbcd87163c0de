"""Is a training lost by kills, a full disk, signals, damaged files, a second process, or a lost rank?

Tiny trainings of both stages on the CPU; final weights are compared bit by bit with those of an undisturbed run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from basicsr_plugin.resume import load_resume_state
from benchmarks.faults.kills import kills
from benchmarks.faults.table import Row, print_table
from benchmarks.faults.training import Options, Place, case, same_weights

__all__ = ['add_arguments', 'run']

_USED_LATER = 75  # exit status where a later start may succeed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add('--kills', type=int, default=100, metavar='N', help='number of kills (default 100)')
    add('--damages', type=int, default=100, metavar='N', help='number of damaged files (default 100)')
    add('--only', nargs='+', choices=tuple(PARTS), default=tuple(PARTS), metavar='PART', help=', '.join(PARTS))
    add('--seed', type=int, default=0, help='seed of moments and places (default 0)')


def run(args: argparse.Namespace) -> int:
    """Runs the parts and prints their table; returns 1 if a goal was missed."""
    start = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / 'work')
        for name in args.only:
            for row in PARTS[name](place, args):
                rows.append(row)
                print(
                    f'{time.monotonic() - start:6.0f} s  {row.name}: {row.trials} trials, {len(row.failures)} failed',
                    flush=True,
                )
        tracebacks = [path.name for path in place.path.glob('*.txt') if 'Traceback' in path.read_text()]
        row = Row('no traceback in any output', len(list(place.path.glob('*.txt'))), note='files of output')
        row.failures += tracebacks
        return print_table([*rows, row])


_CASE = 'stage 2, drop path, pool'  # of the parts other than kills and ranks


def _reference(place: Place) -> tuple[Options, list[str], str]:
    """Returns option file and networks of the case, and the name of its undisturbed run."""
    options, labels = case(_CASE)
    if not place.states('reference') and place.train('reference', options):
        raise RuntimeError(place.output('reference'))
    return options, labels, 'reference'


def _problem_of_resume(place: Place, name: str) -> str | None:
    """Resumes a run of the case to its end; returns what differs from the undisturbed one."""
    options, labels, reference = _reference(place)
    status = place.train(name, options, '--auto_resume')
    if status:
        return f'the resumed run ended with status {status}'
    return None if same_weights(place, reference, name, labels) else 'other weights after the resume'


def _slow() -> None:
    """Is a hook that leaves time to signal a run before it ends."""
    from basicsr.models.base_model import BaseModel

    update = BaseModel.update_learning_rate

    def update_learning_rate(*args: Any, **kwargs: Any) -> None:
        time.sleep(0.1)
        update(*args, **kwargs)

    BaseModel.update_learning_rate = update_learning_rate


def _disk(place: Place, args: argparse.Namespace) -> Iterator[Row]:
    """Limits the size of a file, so that checkpoints cannot be written, as on a full disk."""
    options, _, reference = _reference(place)
    size = max(path.stat().st_size for path in (place.path / 'experiments' / reference).rglob('*.state'))
    row = Row('full disk (file-size limit)', note='exit 2, one line, older checkpoints intact, then resumed')
    for number, part in enumerate((0.1, 0.5, 0.95)):
        name, limit = f'full{number}', int(part * size)
        short, _ = case(_CASE, 7)
        place.train(name, short)
        before = place.states(name)
        status = place.train(
            name,
            options,
            '--auto_resume',
            hook=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)),
        )
        last = place.output(name).splitlines()[-1]
        if status != 2 or 'cannot write' not in last:
            problem: str | None = f'status {status}, {last}'
        elif not set(before) <= set(place.states(name)):
            problem = f'checkpoints {before} became {place.states(name)}'
        else:
            problem = _problem_of_resume(place, name)
        row.add(problem and f'limit {limit}: {problem}')
    yield row


def _signals(place: Place, args: argparse.Namespace) -> Iterator[Row]:
    options, _, _ = _reference(place)
    row = Row('signals', note='exit 128 + number, saved, then resumed')
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        name = f'signal{int(number)}'
        process = place.start(name, options, hook=_slow)
        place.wait_for(name, 'iter:       4', process)
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, number)
        process.join()
        ended = process.exitcode == 128 + number
        problem = _problem_of_resume(place, name) if ended else f'status {process.exitcode}'
        row.add(problem and f'{number.name}: {problem}')
    yield row


def _damage(place: Place, args: argparse.Namespace) -> Iterator[Row]:
    """Flips a bit of a file of the newest checkpoint, or cuts it off; the one before must be found."""
    options, labels, reference = _reference(place)
    rng = random.Random(args.seed)
    run_folder = place.path / 'experiments' / reference
    newest, before = place.states(reference)[-1], place.states(reference)[-2]
    files = [run_folder / 'training_states' / f'{newest}.state']
    files += [run_folder / 'models' / f'net_{label}_{newest}.pth' for label in labels]
    flips, cuts = Row('damage: bit flips'), Row('damage: truncations')
    harmless = 0
    for trial in range(args.damages):
        path = rng.choice(files)
        content = path.read_bytes()
        place_in_file = rng.randrange(len(content))
        if trial % 2:
            damaged, row = content[:place_in_file], cuts
        else:
            flipped = bytes([content[place_in_file] ^ (1 << rng.randrange(8))])
            damaged, row = content[:place_in_file] + flipped + content[place_in_file + 1 :], flips
        path.write_bytes(damaged)
        found = _found(run_folder, options)
        unchanged = found == newest and _same_content(path, content)
        harmless += unchanged
        row.add(None if found == before or unchanged else f'{path.name}, byte {place_in_file}: resumed from {found}')
        path.write_bytes(content)
    flips.note = f'{harmless} in bytes without meaning'
    cuts.note = f'falls back from iteration {newest} to {before}'
    yield from (flips, cuts)


def _found(folder: Path, options: Options) -> int:
    """Returns the iteration from which a run would be resumed."""
    opt = {**options, 'name': folder.name, 'rank': 0, 'dist': False, 'auto_resume': True}
    opt['path'] = {'models': str(folder / 'models'), 'training_states': str(folder / 'training_states')}
    with contextlib.redirect_stdout(io.StringIO()):
        state = load_resume_state(opt)
    return -1 if state is None else int(state['iter'])


def _same_content(path: Path, content: bytes) -> bool:
    def text(source: Any) -> str:
        with torch.no_grad():
            return repr(_listed(torch.load(source, weights_only=True)))

    return text(path) == text(io.BytesIO(content))


def _listed(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _listed(part) for key, part in value.items()}
    return [_listed(part) for part in value] if isinstance(value, (list, tuple)) else value


def _two(place: Place, args: argparse.Namespace) -> Iterator[Row]:
    options, labels, reference = _reference(place)
    row = Row('second process on one folder', note='refused with exit 2; the first run is undisturbed')
    first = place.start('shared', options)
    place.wait_for('shared', 'iter:       2', first)
    os.kill(first.pid or 0, signal.SIGSTOP)  # or it may end first
    for more in ((), ('--auto_resume',)):
        shutil.copy(place.path / 'shared.txt', place.path / 'first.txt')
        status = place.train('shared', options, *more)
        row.add(None if status == 2 and 'is in use by process' in place.output('shared') else f'status {status}')
    os.kill(first.pid or 0, signal.SIGCONT)
    first.join()
    done = first.exitcode == 0 and same_weights(place, reference, 'shared', labels)
    row.add(None if done else f'first run: status {first.exitcode}')
    yield row


def _ranks(place: Place, args: argparse.Namespace) -> Iterator[Row]:
    """Kills and stops the second of two processes; the first must end by itself in one line."""
    options, labels = case('stage 1, pool', dist_params={'timeout': 20})
    for process in place.start_ranks('ranks', options):
        process.join()
    for number, name in ((signal.SIGKILL, 'killed'), (signal.SIGSTOP, 'stopped')):
        row = Row(f'one rank {name}', note=f'the other exits with {_USED_LATER}, then both are resumed')
        label = f'rank_{name}'
        first, second = place.start_ranks(label, options, hook=_slow)
        place.wait_for(label, 'iter:       7', first)
        os.kill(second.pid or 0, number)
        first.join(300)
        second.kill()
        second.join()
        if first.exitcode != _USED_LATER or 'basicsr: error: process 0: another process' not in place.output(label):
            row.add(f'status {first.exitcode}')
        else:
            statuses = []
            for process in place.start_ranks(label, options, '--auto_resume'):
                process.join()
                statuses.append(process.exitcode)
            same = statuses == [0, 0] and same_weights(place, 'ranks', label, labels)
            row.add(None if same else f'resumed with {statuses}, other weights')
        yield row


PARTS: dict[str, Callable[[Place, argparse.Namespace], Iterator[Row]]] = {
    'kills': kills,
    'disk': _disk,
    'signals': _signals,
    'damage': _damage,
    'two': _two,
    'ranks': _ranks,
}
