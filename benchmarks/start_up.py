"""Measures how long the command `basicsr` takes to start, compared with `import torch`.

    python benchmarks/start_up.py [--runs 5]

Each run is a process of its own; the three are run alternately, and the medians are printed: by the clock, and in
seconds of the CPU, which a busy machine changes less. ``start_up_ratio`` is that of the CPU. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

COMMANDS = {
    'torch': ['-c', 'import torch'],
    'help': ['-m', 'basicsr_plugin.cli', '--help'],
    'list': ['-m', 'basicsr_plugin.cli', 'list'],
}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Returns the duration of a Python process, by the clock and of the CPU."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def measure(runs: int) -> dict[str, float]:
    """Measures and prints the medians; returns the entries of the last line."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for run in range(runs + 1):
        for name, arguments in COMMANDS.items():
            durations = seconds(arguments)
            if run:
                times[name].append(durations)
    clock, cpu = ({name: statistics.median(d[i] for d in times[name]) for name in COMMANDS} for i in (0, 1))
    for name, title in (('torch', 'import torch'), ('help', 'basicsr --help'), ('list', 'basicsr list')):
        print(f'{title:15} {clock[name]:.2f} s, CPU {cpu[name]:.2f} s')
    return {
        'start_up_ratio': round(cpu['list'] / cpu['torch'], 2),
        'start_up_ratio_by_clock': round(clock['list'] / clock['torch'], 2),
        'help_seconds': round(clock['help'], 3),
        'help_cpu_seconds': round(cpu['help'], 3),
        'list_seconds': round(clock['list'], 2),
        'torch_seconds': round(clock['torch'], 2),
    }


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--runs', type=int, default=5, help='runs of each command (default 5), after one to warm up')
    print(json.dumps(measure(parser.parse_args().runs)))


if __name__ == '__main__':
    main()
