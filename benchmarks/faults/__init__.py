"""Measurements of what happens to a training in trouble: `python -m benchmarks.faults`."""
