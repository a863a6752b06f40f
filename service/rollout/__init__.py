"""Canary rollouts: which version answers, and how two versions compare."""
