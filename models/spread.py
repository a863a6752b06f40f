"""How a model's answers are spread over scores and labels, and how far two spreads differ.

`export` writes the spread of the validation photos' answers into the card, the service
counts that of the photos it is sent: if they part, so do the photos (or the model).
The score of an image is, of two labels, the last one's probability; of more, the
probability of the most probable one. Probabilities are calibrated and not clipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.probabilities import Probabilities

BINS: Final = 10
"""Of equal width over 0..1; the last holds 1.0 as well."""

NOTABLE_PSI: Final = 0.2
"""Above it people speak of a significant shift; below a half of it, of none: the customary
reading of the index (N. Siddiqi, Credit Risk Scorecards, 2006, has 0.1 and 0.25)."""

ENOUGH_IMAGES: Final = 500
"""With fewer answers the index is of some size by chance alone."""

_PRIOR: Final = 0.5
"""Added to each count, after Jeffreys: an empty bin would make the index infinite."""


@dataclass(frozen=True)
class AnswerSpread:
    """Counts of answered images.

    Attributes:
        scores: by the bin of their score, lowest first.
        labels: by their most probable label, in column order.
    """

    scores: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def images(self) -> int:
        """How many were counted."""
        return sum(self.scores)


def spread_of(probabilities: Probabilities) -> AnswerSpread:
    """The spread of the answers *probabilities* [N, K]."""
    bins, winners = place(probabilities)
    return AnswerSpread(
        tuple(np.bincount(bins, minlength=BINS).tolist()),
        tuple(np.bincount(winners, minlength=probabilities.shape[1]).tolist()),
    )


def place(
    probabilities: Probabilities, bins: int = BINS
) -> tuple[list[int], list[int]]:
    """For each image of *probabilities* [N, K] the bin of its score, and its label."""
    binary = probabilities.shape[1] == 2
    scores = probabilities[:, -1] if binary else probabilities.max(axis=1)
    winners: list[int] = probabilities.argmax(axis=1).tolist()
    return [score_bin(score, bins) for score in scores.tolist()], winners


def score_bin(score: float, bins: int) -> int:
    """Which of *bins* of equal width a *score* from 0 to 1 lies in."""
    return min(int(score * bins), bins - 1)


def stability_index(expected: Sequence[float], actual: Sequence[float]) -> float:
    """The population stability index of *actual* counts against *expected* ones.

    sum((a - e) ln(a / e)) over the shares of the bins: Kullback-Leibler's divergence
    taken in both directions (Jeffreys 1946; as an index of stability, Siddiqi 2006).
    Without any shift its expectation is about (B - 1)(1/N + 1/M) for B bins and samples
    of N and M: with `ENOUGH_IMAGES` of each, a fifth of what is notable.
    """
    pairs = zip(_shares(expected), _shares(actual), strict=True)
    return sum((a - e) * math.log(a / e) for e, a in pairs)


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts) + _PRIOR * len(counts)
    return [(count + _PRIOR) / total for count in counts]
