"""What a prior of nominal levels gains: `python -m benchmarks.prior --help`; results in docs/prior_nominal.md."""
