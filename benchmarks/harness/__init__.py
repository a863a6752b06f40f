"""What the benchmarks stand on: load, a stack of their own, baselines and photos."""
