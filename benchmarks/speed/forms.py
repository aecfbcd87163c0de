"""Processes with one version of the network each, and the report on them."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO, cast

ROOT = Path(__file__).resolve().parents[2]
Times = dict[str, dict[str, float]]
Arguments = dict[str, Any]


class Form:
    """A process with one version of the network."""

    def __init__(self, name: str, tree: Path, options: argparse.Namespace) -> None:
        self.name = name
        environment = {**os.environ, 'OMP_NUM_THREADS': str(options.threads)}
        arguments = [str(tree), 'plain' if name == 'plain' else 'own', options.device, str(options.threads)]
        worker = str(Path(__file__).with_name('worker.py'))
        self._process = subprocess.Popen(
            [sys.executable, worker, *arguments], stdin=-1, stdout=-1, text=True, env=environment, cwd=tree
        )

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Runs a command of the worker."""
        sent, answers = cast(TextIO, self._process.stdin), cast(TextIO, self._process.stdout)
        try:
            sent.write(json.dumps({'do': do, **arguments}) + '\n')
            sent.flush()
        except OSError as error:
            raise RuntimeError(f'{self.name}: the process has ended ({error})') from None
        for line in answers:
            if line.startswith('='):
                answer = json.loads(line[1:])
                if 'error' in answer:
                    raise RuntimeError(f'{self.name}: {answer["error"]}')
                return answer['result']
        raise RuntimeError(f'{self.name}: the process has ended')

    def end(self) -> None:
        """Ends the process."""
        if self._process.poll() is None and self._process.stdin and not self._process.stdin.closed:
            self._process.communicate()

    def kill(self) -> None:
        """Ends the process in the middle of a command."""
        self._process.kill()


Run = tuple[Form, Arguments]


def open_forms(options: argparse.Namespace) -> dict[str, Form]:
    """Starts a process for each version: ``before`` if there is one, ``plain`` and ``now``."""
    trees = {'before': options.before, 'plain': ROOT, 'now': ROOT}
    return {name: Form(name, Path(tree), options) for name, tree in trees.items() if tree}


def baseline(forms: dict[str, Form]) -> str:
    """Returns the name of the form that others are compared with."""
    return 'before' if 'before' in forms else 'plain'


def take_turns(runs: dict[str, Run], repeats: int) -> Times:
    """Returns the median seconds of each run, by the clock and of the CPU; all run alternately."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, (form, arguments) in runs.items():
            taken[name].append(form('time', **arguments))
    return {
        name: {key: statistics.median(one[key] for one in values) for key in ('wall', 'cpu')}
        for name, values in taken.items()
    }


class Report:
    """The table and the last line."""

    def __init__(self, old: str, path: str | None = None) -> None:
        self.old = old
        self.path = path
        self.result: dict[str, Any] = {}
        print('| measured | form | seconds | speed | by CPU seconds |\n| --- | --- | --- | --- | --- |')

    def add(self, what: str, times: Times, keys: dict[str, str]) -> None:
        """Prints rows, with the speed over the old form; puts speeds of some forms in the last line."""
        old = times[self.old]
        for name, time in times.items():
            speed, by_cpu = (old[key] / time[key] for key in ('wall', 'cpu'))
            print(f'| {what} | {name} | {time["wall"]:.3f} | {speed:.2f}x | {by_cpu:.2f}x |', flush=True)
            if name in keys:
                self.result[keys[name]] = round(speed, 3)
                self.result[f'{keys[name]}_cpu_seconds'] = round(by_cpu, 3)
        self.save()

    def note(self, text: str, **values: float) -> None:
        """Prints a line and adds entries to the last one."""
        print(text, flush=True)
        self.result.update(values)
        self.save()

    def line(self) -> str:
        """The result as JSON."""
        return json.dumps({key: _rounded(value) for key, value in self.result.items()})

    def save(self) -> None:
        """Writes the result so far, so that a run that is cut off keeps it."""
        if self.path:
            Path(self.path).write_text(self.line() + '\n', encoding='utf-8')


def _rounded(value: Any) -> Any:
    return float(f'{value:.3g}') if isinstance(value, float) else value
