"""Makes the benchmarks importable."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import benchmarks  # noqa: F401  applies the fixes of BasicSR before a test imports it
