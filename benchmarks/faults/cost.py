"""Do memory and file handles stay flat, and what do checks and safe saving cost?

Both stages are trained with a tiny network on the CPU, in which the share of the checks is larger than in a real one;
the share is also measured with the network of a shipped option file.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from basicsr_plugin.parse_options import read_yaml
from benchmarks.faults.table import Row, print_table
from benchmarks.faults.tiny import OPTIONS
from benchmarks.faults.training import Options, Place, case

__all__ = ['add_arguments', 'run']

_SAMPLES = 20
_GROWTH = 0.02  # of the memory, from the first quarter to the end
_SHARE = 0.02  # of the time
_SAVE_EVERY = 1000
_STAGES = ('stage 1, workers', 'stage 2, drop path, pool')
_SHIPPED = 'train_deplsr_light_x4.yml'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument('--iterations', type=int, default=2000, metavar='N', help='of each stage (default 2000)')
    parser.add_argument('--shipped', type=int, default=20, metavar='N', help=f'of {_SHIPPED} (default 20; 0: none)')


def run(args: argparse.Namespace) -> int:
    """Trains both stages and prints the table; returns 1 if a goal was missed."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / 'work')
        for name in _STAGES:
            options, _ = case(name, args.iterations)
            rows += _rows(name, _measured(place, options, args.iterations), args.iterations)
        if args.shipped:
            found = _measured(place, _shipped(place, args.shipped), args.shipped)
            rows.append(_cost(f'{_SHIPPED}, batch 2', found, args.shipped))
    return print_table(rows)


def _measured(place: Place, options: Options, iterations: int) -> dict[str, Any]:
    """Trains and returns what was recorded."""
    name = f'cost{len(list(place.path.glob("cost*.json")))}'
    file = place.path / f'{name}.json'
    _measured_like_a_long_run(options, iterations)
    if place.train(name, options, hook=_measure(file, iterations), limit=36_000):
        raise RuntimeError(place.output(name))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _shipped(place: Place, iterations: int) -> Options:
    """Returns options with the network of the shipped file and its size of image; its estimator stays tiny."""
    options, _ = case('stage 2, drop path, pool', iterations)
    shipped = read_yaml(str(OPTIONS / _SHIPPED))
    (place.path / 'large').mkdir()
    size = shipped['datasets']['train']['gt_size']
    photo = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    cv2.imwrite(str(place.path / 'large/0.png'), photo)
    options['scale'] = shipped['scale']
    options['network_g'] = {**shipped['network_g'], 'prior_dim': options['network_g']['prior_dim']}
    options['datasets']['train'].update(dataroot_gt='large', gt_size=size, batch_size_per_gpu=2)
    return options


def _measured_like_a_long_run(options: Options, iterations: int) -> None:
    options['logger'] = {'print_freq': 100, 'save_checkpoint_freq': min(_SAVE_EVERY, iterations // 2), 'keep_last_n': 2}
    options['datasets']['train']['dataset_enlarge_ratio'] = 100  # an epoch starts its workers newly


def _measure(file: Path, iterations: int) -> Callable[[], None]:
    """Returns a hook that records memory, handles and times of the training of its process."""

    def hook() -> None:
        from basicsr.models.base_model import BaseModel
        from basicsr.models.sr_model import SRModel

        from basicsr_plugin import training_loop
        from deplsr_model.estimator_model import EstimatorModel
        from deplsr_model.precision import TrainingStep

        found: dict[str, Any] = {'samples': [], 'times': {}}
        update = BaseModel.update_learning_rate

        def update_learning_rate(self: Any, current_iter: int, *rest: Any, **more: Any) -> None:
            found.setdefault('start', time.perf_counter())
            if current_iter % max(1, iterations // _SAMPLES) == 0:
                found['samples'].append((current_iter, _resident_bytes(), _open_files()))
                found['seconds'] = time.perf_counter() - found['start']
                found['iterations'] = current_iter
                file.write_text(json.dumps(found))
            update(self, current_iter, *rest, **more)

        BaseModel.update_learning_rate = update_learning_rate
        times = found['times']
        for owner, method in (
            (TrainingStep, '_clip'),
            (TrainingStep, '_why_not_finite'),
            (TrainingStep, '_keep_buffers'),
        ):
            setattr(owner, method, _timed(getattr(owner, method), times, 'checks'))
        training_loop.random_states = _timed(training_loop.random_states, times, 'checks')
        for model in (SRModel, EstimatorModel):
            model.save = _timed(model.save, times, 'saving')  # type: ignore[method-assign]
        _time_plain_saving(times)

    return hook


def _timed(function: Callable[..., Any], times: dict[str, float], label: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            times[label] = times.get(label, 0) + time.perf_counter() - begin

    return call


def _time_plain_saving(times: dict[str, float]) -> None:
    """Times ``torch.save`` of what is saved, in addition to saving it."""
    from basicsr_plugin import atomic
    from deplsr_model import checkpoint

    save = atomic.save_tensors

    def save_tensors(content: Any, path: Any, *rest: Any, **more: Any) -> None:
        begin = time.perf_counter()
        torch.save(content, f'{path}.plain')
        times['plain'] = times.get('plain', 0) + time.perf_counter() - begin
        os.remove(f'{path}.plain')
        save(content, path, *rest, **more)

    atomic.save_tensors = checkpoint.save_tensors = save_tensors


def _rows(name: str, found: dict[str, Any], iterations: int) -> list[Row]:
    samples = found['samples']
    quarter = samples[len(samples) // 4]
    last = samples[-1]
    growth = last[1] / quarter[1] - 1
    memory = Row(f'memory: {name}', 1, note=f'{quarter[1] / 2**20:.0f} to {last[1] / 2**20:.0f} MiB ({growth:+.1%})')
    if growth > _GROWTH:
        memory.failures.append(f'grew by {growth:.1%} from iteration {quarter[0]} to {last[0]}')
    files = [number for *_, number in samples]  # the fewest: each batch on its way from a worker has some
    part = max(1, len(files) // 4)
    first, latest = min(files[:part]), min(files[-part:])
    handles = Row(f'file handles: {name}', 1, note=f'{first} to {latest} (at most {max(files)}, with batches)')
    if latest > first:
        handles.failures.append(f'{first} became {latest}')
    return [memory, handles, _cost(name, found, iterations)]


def _cost(name: str, found: dict[str, Any], iterations: int) -> Row:
    times = found['times']
    saves = max(1, found['iterations'] // min(_SAVE_EVERY, iterations // 2))
    safe = max(0, times.get('saving', 0) - 2 * times.get('plain', 0)) / saves  # more than plain saving takes
    saving = safe * found['iterations'] / _SAVE_EVERY
    share = (times['checks'] + saving) / found['seconds']
    each = found['seconds'] / found['iterations'] * 1000
    cost = Row(f'cost: {name}', 1)
    cost.note = (
        f'{share:.2%} of {each:.0f} ms an iteration: checks {times["checks"] / found["iterations"] * 1e3:.2f} ms, safe '
        f'instead of plain saving {safe * 1e3:.0f} ms a checkpoint'
    )
    if share > _SHARE:
        cost.failures.append(f'{share:.2%} of the time')
    return cost


def _resident_bytes() -> int:
    """Returns the memory of this process and of its workers."""
    pages = 0
    for process in (os.getpid(), *_children()):
        try:
            pages += int(Path(f'/proc/{process}/statm').read_text().split()[1])
        except OSError:  # it has just ended
            continue
    return pages * os.sysconf('SC_PAGE_SIZE')


def _children() -> list[int]:
    return [int(text) for text in Path(f'/proc/self/task/{os.getpid()}/children').read_text().split()]


def _open_files() -> int:
    return len(os.listdir('/proc/self/fd'))
