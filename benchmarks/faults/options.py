"""Mutates every shipped option file and runs it up to its second iteration, each in a process of its own.

The process has done all imports; it may compute for ten seconds. What is accepted must be on the list `ALLOWED`, which
has a reason for each entry.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.faults.mutations import Mutation, drawn, mutations

__all__ = ['ALLOWED', 'Outcome', 'add_arguments', 'allowed', 'run']

_SECONDS, _WALL = 10, 60
_REACHED, _TRACEBACK = 10, 11

#: Mutations that are accepted, with the reason: sort, place and value as regular expressions.
ALLOWED: list[tuple[str, str, str, str]] = [
    ('missing key', '.*', '.*', 'the key has a default, with which the run got to its second iteration'),
    ('null', '.*', '.*', '~ is "not set": the default applies'),
    ('out of range', r'train\.warmup_iter', '0|-1', 'no warm-up'),
    ('out of range', r'train\.(total_iter|net_d_init_iters|net_d_iters)', '1000000000000', 'a training without end'),
    ('out of range', r'(val\.val_freq|logger\.(print|save_checkpoint)_freq)', '1000000000000', 'never, with a warning'),
    ('out of range', r'.*\.milestones\.\d', '0|1000000000000', 'a milestone that is never reached'),
    ('out of range', r'.*\.periods\.\d', '1000000000000', 'a schedule that outlasts the training'),
    ('out of range', r'.*\.(\w*weight|conv\d_\d|eta_min|weight_decay|eps)', '0', 'the part is switched off'),
    ('out of range', r'.*(real|fake)_label_val', '0|-1', 'another label'),
    ('out of range', r'.*(_prob|dropout|drop_path_rate)', '0', 'never'),
    ('out of range', r'(.*\.crop_border|val\.tile_overlap)', '0', 'no border, no overlap'),
    ('out of range', r'train\.optim_\w+\.lr', '0', 'the weights stay as they are'),
    ('out of range', r'network_\w+\.expansion_factor', r'\d+\.5', 'a width need not be a whole multiple of another'),
    ('out of range', r'.*\.restart_weights\.\d', r'0|\d+\.5', 'the share of the rate with which a period starts'),
    ('out of range', r'.*\.dataset_enlarge_ratio', r'\d+\.5', 'an epoch may end within a round'),
    ('out of range', r'.*\.weight_decay', r'0\.5', 'a strong one'),
    ('out of range', r'(train\.ema_decay|val\.tile)', '0', 'no average, no tiles'),
    ('unknown name', r'val\.template', r'.*\{\}.*', 'a free text with one place for the level'),
    ('unknown name', r'path\.param_key_\w+', '.*', 'without a file; in one it must exist'),
    ('misspelt key', r'val\.metrics\.\w+', '.*', 'a metric may have any name in the log'),
    ('list of another length', r'.*\.recipes', '.*', 'the weights of a mixture are relative to each other'),
    ('list of another length', r'.*\.milestones', '.*', 'the learning rate is lowered more or fewer times'),
]


class Outcome(NamedTuple):
    """What became of a mutated file: `refused`, `accepted`, `traceback`, `hang` or `harm`, and the lines printed."""

    result: str
    lines: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument('--count', type=int, default=441, help='mutations in all (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', default='', help='only files whose path contains this text')
    parser.add_argument('--lines', type=Path, help='write each mutation and what was printed to this file')


def run(args: argparse.Namespace) -> int:
    """Prints a table by sort of mutation; returns 1 if something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix='faults_'))
    try:
        return _run(args, folder)
    finally:
        shutil.rmtree(folder)


def _run(args: argparse.Namespace, folder: Path) -> int:
    from benchmarks.faults.tiny import OPTIONS, tiny_options, write_photos

    _prepare()
    write_photos(folder)
    files = [path for path in sorted(OPTIONS.rglob('*.yml')) if args.only in str(path)]
    rng, table, wrong, started = np.random.default_rng(args.seed), _Table(), [], time.monotonic()
    report = args.lines.open('w') if args.lines else contextlib.nullcontext()
    with report as file:
        for number, path in enumerate(files):
            opt = tiny_options(path, folder)
            command = 'train' if 'train' in opt else 'test'
            share = args.count // len(files) + (number < args.count % len(files))
            name = path.relative_to(OPTIONS).as_posix()
            plain = outcome(folder, command, Mutation('', '', '', _text(opt)))
            if plain.result != 'accepted':
                wrong.append(f'{name} itself: {plain.result}: {plain.lines}')
            for mutation in drawn(mutations(opt), share, rng):
                found = outcome(folder, command, mutation)
                bad = found.result not in ('refused', 'accepted') or len(found.lines) > (found.result == 'refused')
                reason = allowed(mutation) if found.result == 'accepted' else None
                table.add(mutation.sort, 'allowed' if reason else found.result)
                if bad or (found.result == 'accepted' and reason is None):
                    wrong.append(f'{name} {mutation.sort} {mutation.place}={mutation.value}: {found.result}')
                if file:
                    print(json.dumps([name, *mutation[:3], found.result, found.lines]), file=file, flush=True)
    print(table.text())
    print(f'{len(files)} files in {time.monotonic() - started:.0f} s')
    for line in wrong:
        print(f'  {line}')
    return int(bool(wrong))


def _text(opt: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(opt, sort_keys=False))


def allowed(mutation: Mutation) -> str | None:
    """Returns why a mutation may be accepted, or None."""
    for sort, place, value, reason in ALLOWED:
        if mutation.sort == sort and re.fullmatch(place, mutation.place) and re.fullmatch(value, mutation.value):
            return reason
    return None


class _Reached(BaseException):
    """A run has got to its second iteration."""


def _prepare() -> None:
    """Imports everything, and ends runs at their second iteration or at their first validation."""
    from basicsr_plugin.start_up import load_basicsr

    load_basicsr()
    import basicsr.losses.basic_loss
    import basicsr.test
    import basicsr.train
    from basicsr.data.prefetch_dataloader import CPUPrefetcher
    from basicsr.models.base_model import BaseModel

    from benchmarks.faults.tiny import NoVGG

    take = CPUPrefetcher.next

    def next_batch(self: Any) -> Any:
        self.taken = getattr(self, 'taken', 0) + 1
        if self.taken > 1:
            raise _Reached
        return take(self)

    def validation(*_: Any, **__: Any) -> None:
        raise _Reached

    CPUPrefetcher.next = next_batch
    BaseModel.validation = validation
    for cls in BaseModel.__subclasses__():
        if 'validation' in vars(cls):
            cls.validation = validation
    basicsr.losses.basic_loss.VGGFeatureExtractor = NoVGG


def outcome(folder: Path, command: str, mutation: Mutation) -> Outcome:
    """Runs a mutated option file in a forked process, in a working directory that it may fill."""
    before = {path.name for path in folder.iterdir()}
    (folder / 'options.yml').write_text(mutation.text, encoding='utf-8')
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _child(folder, command)
    status = _wait(child)
    printed = (folder / 'printed.txt').read_text(encoding='utf-8', errors='replace')
    harm = (folder / 'harm').exists()
    for path in folder.iterdir():
        if path.name not in before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    lines = [line for line in printed.splitlines() if line.startswith('basicsr: error: ')]
    if harm:
        return Outcome('harm', lines)
    if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)):
        return Outcome('hang', lines)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    if code == 2 and lines and 'Traceback' not in printed:
        return Outcome('refused', lines)
    if code == _REACHED:
        return Outcome('accepted', [])
    return Outcome('traceback', [f'status {code}', *printed.splitlines()[-3:]])


def _child(folder: Path, command: str) -> None:
    code = _TRACEBACK
    try:
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CPU, (_cpu_seconds() + _SECONDS, _cpu_seconds() + _SECONDS + 1))
        out = os.open('printed.txt', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        from basicsr_plugin import cli

        code = cli.main([command, '-opt', 'options.yml'])
    except _Reached:
        code = _REACHED
    except BaseException:  # noqa: BLE001  (a traceback is what is looked for)
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _cpu_seconds() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int(used.ru_utime + used.ru_stime) + 1


def _wait(child: int) -> int | None:
    """Returns the status of a process; None if it had to be killed."""
    deadline = time.monotonic() + _WALL
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


class _Table:
    """Counts of outcomes by sort of mutation."""

    _COLUMNS = ('refused', 'allowed', 'accepted', 'traceback', 'hang', 'harm')

    def __init__(self) -> None:
        self._counts: dict[str, collections.Counter[str]] = {}

    def add(self, sort: str, result: str) -> None:
        self._counts.setdefault(sort, collections.Counter())[result] += 1

    def text(self) -> str:
        """Returns the table in Markdown."""
        heads = ('tried', 'refused', 'allowed', 'wrongly accepted', 'traceback', 'hang', 'code run')
        rows = [f'| mutation | {" | ".join(heads)} |', f'| --- {"| ---: " * len(heads)}|']
        total: collections.Counter[str] = collections.Counter()
        for sort, counts in [*sorted(self._counts.items()), ('all', total)]:
            if sort != 'all':
                total.update(counts)
            cells = [str(sum(counts.values())), *(str(counts[column]) for column in self._COLUMNS)]
            rows.append(f'| {sort} | {" | ".join(cells)} |')
        return '\n'.join(rows)
