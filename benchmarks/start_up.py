"""Measures how long the command `basicsr` takes to start, compared with `import torch`.

    python benchmarks/start_up.py [--runs 5]

Each run is a process of its own; the three are run alternately, and the medians are printed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

COMMANDS = {
    'torch': ['-c', 'import torch'],
    'help': ['-m', 'basicsr_plugin.cli', '--help'],
    'list': ['-m', 'basicsr_plugin.cli', 'list'],
}


def seconds(arguments: list[str]) -> float:
    """Returns the duration of a Python process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Runs the measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--runs', type=int, default=5, help='runs of each command (default 5), after one to warm up')
    runs = parser.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(runs + 1):
        for name, arguments in COMMANDS.items():
            duration = seconds(arguments)
            if run:
                times[name].append(duration)
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f'import torch    {median["torch"]:.2f} s')
    print(f'basicsr --help  {median["help"]:.2f} s')
    print(f'basicsr list    {median["list"]:.2f} s')
    ratio = median['list'] / median['torch']
    result = {'start_up_ratio': round(ratio, 2), 'help_seconds': round(median['help'], 3)}
    print(json.dumps({**result, 'list_seconds': round(median['list'], 2), 'torch_seconds': round(median['torch'], 2)}))


if __name__ == '__main__':
    main()
