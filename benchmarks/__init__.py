"""One script a claim, each with its peer: `python -m benchmarks.<name>`."""
