"""Logits of models with known faults."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.probabilities import softmax

Logits = tuple[NDArray[np.float64], NDArray[np.int64]]


def simulated(
    count: int, labels: int = 2, spread: float = 5, factor: float = 1, seed: int = 0
) -> Logits:
    """Logits [count, labels] that are *factor* times too large, and true classes.

    A larger *spread* makes a more accurate model; *factor* does not change accuracy.
    """
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, spread, (count, labels))
    reached = softmax(logits).cumsum(axis=1) > generator.random((count, 1))
    return logits * factor, reached.argmax(axis=1)


def saturated(right: int, wrong: int) -> Logits:
    """Two labels, every row at 0 or 1: the first *right* rows right, the rest wrong."""
    logits = np.tile([40.0, -40.0], (right + wrong, 1))
    logits[right:] *= -1
    return logits, np.zeros(right + wrong, np.int64)
