"""Canary rollouts: the version that answers, and the comparison of two versions."""
