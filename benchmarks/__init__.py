"""Benchmarks: ratios to the bare SavedModel or to a floor, measured in the same run."""
