"""Benchmarks measure; what they compute is tested here."""
