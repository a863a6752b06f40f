"""Which clip bound would have scored best: known only afterwards, from the truth itself.

It says how much confident mistakes cost, not what the next submission should use: that is
the bound that export chooses on validation photos.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.probabilities import clip, log_losses

BOUNDS: Final = (
    *(
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.75,
        0.8,
        0.85,
        0.9,
        0.92,
        0.94,
        0.95,
        0.96,
        0.97,
        0.98,
    ),
    *(0.985, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99999),
)
"""Candidate upper bounds; those that are no tighter than the file change nothing."""

_CHUNK_ROWS: Final = 65_536


@dataclass(frozen=True)
class Hindsight:
    """The best of `BOUNDS`, and the score with it; None: the file as it is."""

    clip: float | None
    log_loss: float


def best_clip(
    probabilities: NDArray[np.float64], classes: NDArray[np.int64]
) -> Hindsight:
    """The bound that gives *probabilities* [N, K] the least log loss for *classes*."""
    highest, least = probabilities.max(), 1 / probabilities.shape[1]
    bounds = [None, *(each for each in BOUNDS if least < each < highest)]
    sums = np.zeros(len(bounds))
    for start in range(0, len(classes), _CHUNK_ROWS):
        chunk = slice(start, start + _CHUNK_ROWS)
        sums += _sums(probabilities[chunk], classes[chunk], bounds)
    best = int(sums.argmin())
    return Hindsight(bounds[best], float(sums[best] / len(classes)))


def _sums(
    probabilities: NDArray[Any], classes: NDArray[Any], bounds: list[float | None]
) -> NDArray[np.float64]:
    return np.array(
        [log_losses(clip(probabilities, each), classes).sum() for each in bounds]
    )
