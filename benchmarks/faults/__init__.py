"""Measurements of what faults do: `python -m benchmarks.faults`."""
