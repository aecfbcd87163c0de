"""Does the prior earn its cost? `python -m benchmarks.prior --help`; results in docs/prior.md and docs/notebook.md."""
