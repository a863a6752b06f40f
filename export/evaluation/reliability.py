"""Whether probabilities mean what they say: of rows at 0.9, nine in ten are right.

Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ReliabilityBin:
    """The rows whose top probability is in (lower, upper].

    Attributes:
        confidence: mean top probability, 0 in an empty bin.
        accuracy: share of rows whose top label is the true one, 0 in an empty bin.
    """

    lower: float
    upper: float
    count: int
    confidence: float
    accuracy: float


def reliability_bins(
    probabilities: NDArray[Any], classes: NDArray[np.integer], bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """All *bins* of equal width, from 0 to 1, for *probabilities* [N, K].

    A reliability diagram draws accuracy over confidence; on the diagonal they agree.
    """
    confidences = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == classes
    edges = np.linspace(0, 1, bins + 1)
    numbers = np.clip(np.searchsorted(edges, confidences) - 1, 0, bins - 1)
    return tuple(
        _bin((edges[each], edges[each + 1]), confidences[rows], right[rows])
        for each in range(bins)
        for rows in [numbers == each]
    )


def expected_calibration_error(
    probabilities: NDArray[Any], classes: NDArray[np.integer], bins: int = 15
) -> float:
    """Mean distance of accuracy and confidence over *bins*, weighted by their rows."""
    found = reliability_bins(probabilities, classes, bins)
    gaps = sum(each.count * abs(each.accuracy - each.confidence) for each in found)
    return float(gaps / len(classes))


def _bin(
    edges: tuple[float, float], confidences: NDArray[Any], right: NDArray[np.bool_]
) -> ReliabilityBin:
    lower, upper = float(edges[0]), float(edges[1])
    if not len(right):
        return ReliabilityBin(lower, upper, 0, 0.0, 0.0)
    confidence, accuracy = float(confidences.mean()), float(right.mean())
    return ReliabilityBin(lower, upper, len(right), confidence, accuracy)
