"""``inference_scores_total`` and ``inference_labels_total``: how live answers are spread.

The model's card holds the same counts of its validation photos; the two are compared
by Prometheus over a window, and by the model's page since the service's start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from models.contract import SCORE_BINS, place_in_bins
from service.observation.record import Answers

BIN_NAMES: Final = tuple(f"{number / SCORE_BINS:g}" for number in range(SCORE_BINS))
"""A bin goes by its lower bound."""

MOST_LABELS: Final = 64
"""Models with more are watched by their scores alone: each label is a time series."""


@dataclass(frozen=True)
class _Counts:
    scores: tuple[Counter, ...]
    labels: tuple[Counter, ...]


class SpreadMetrics:
    """The answers of one process, by model and version."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the counters."""
        self._scores = Counter(
            "inference_scores_total",
            "Images by the tenth that their score lies in (its lower bound).",
            ("model", "version", "bin"),
            registry=registry,
        )
        self._labels = Counter(
            "inference_labels_total",
            "Images by their most probable label.",
            ("model", "version", "label"),
            registry=registry,
        )
        self._of: dict[tuple[str, str], _Counts] = {}

    def count(self, model: str, version: str, answers: Answers) -> None:
        """Count what *version* of *model* answered."""
        key = (model, version)
        # All children at once: a bin that nobody fell into is a zero, not a gap.
        counts = self._of.get(key) or self._open(key, answers.labels)
        bins, winners = place_in_bins(answers.probabilities)
        for each in bins:
            counts.scores[each].inc()
        if counts.labels:
            for each in winners:
                counts.labels[each].inc()

    def _open(self, key: tuple[str, str], labels: tuple[str, ...]) -> _Counts:
        watched = labels if len(labels) <= MOST_LABELS else ()
        counts = self._of[key] = _Counts(
            tuple(self._scores.labels(*key, name) for name in BIN_NAMES),
            tuple(self._labels.labels(*key, label) for label in watched),
        )
        return counts
