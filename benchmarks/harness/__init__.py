"""Shared by the benchmarks: load, a stack of their own, baselines and photos."""
