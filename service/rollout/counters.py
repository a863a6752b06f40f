"""Counts of a rollout: whole numbers that add up across processes, shared through Redis.

A field is a path with dots: ``canary.latency.55``. Latencies fall into buckets of 9 %,
scores into twentieths. Requests add to counters in memory; a background thread adds
the sums to those in Redis about once a second. While Redis is away, they stay in memory.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelCard, place_in_bins
from models.errors import QueueUnavailableError
from models.rollouts import Rollout
from service.http.threads import BackgroundThread
from service.predict.predictor import ImageResults
from worker.queue import SharedCounts

HISTOGRAM_BINS: Final = 20
BUCKETS_PER_DOUBLING: Final = 8
DIFFERENCE_UNIT: Final = 1e-6
"""Sums of differences of probabilities are kept as whole numbers of this unit."""

REQUESTS: Final = "requests"
ERRORS: Final = "errors"
IMAGES: Final = "images"
LATENCY: Final = "latency"
SCORE: Final = "score"
LABEL: Final = "label"
PAIRS: Final = "pairs.images"
SAME: Final = "pairs.same"
DIFFERENCE: Final = "pairs.difference"
UNPAIRED: Final = "pairs.failed"
DROPPED: Final = "pairs.dropped"

FLUSH_SECONDS: Final = 1.0
_AWAY_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


class Counters:
    """Adds up the counts of requests; thread-safe."""

    def __init__(
        self, counts: SharedCounts, flush_seconds: float = FLUSH_SECONDS
    ) -> None:
        """Flush to *counts*; no thread is started before the first count."""
        self._counts = counts
        self._flush_seconds = flush_seconds
        self._pending: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._thread = BackgroundThread(self._run, "rollout-counts")

    def add(self, rollout: Rollout, counts: Counter[str]) -> None:
        """Add *counts* to those of *rollout*; takes some microseconds."""
        with self._lock:
            self._pending[counts_key(rollout)].update(counts)
        self._thread.start()
        self._wanted.set()

    def flush(self) -> None:
        """Add the sums to those in Redis.

        Raises:
            QueueUnavailableError: Redis is away; the sums are kept for the next time.
        """
        with self._lock:
            pending, self._pending = self._pending, defaultdict(Counter)
        while pending:
            key, counts = pending.popitem()
            try:
                self._counts.add(key, counts)
            except QueueUnavailableError:
                pending[key] = counts
                self._take_back(pending)
                raise

    def _take_back(self, pending: dict[str, Counter[str]]) -> None:
        with self._lock:
            for key, counts in pending.items():
                self._pending[key].update(counts)

    def _run(self) -> None:
        pause = threading.Event()
        while self._wanted.wait():
            pause.wait(self._flush_seconds)
            self._wanted.clear()
            try:
                self.flush()
            except QueueUnavailableError as error:
                logger.debug("%s", error)
                pause.wait(_AWAY_SECONDS)
                self._wanted.set()


def counts_key(rollout: Rollout) -> str:
    """The key of the counts of *rollout* in Redis."""
    return f"kennel:rollout:{rollout.model}:{rollout.id}"


def count_answer(side: str, answer: ImageResults, seconds: float) -> Counter[str]:
    """The counts of one request that *side* answered in *seconds*."""
    counts = Counter(
        {f"{side}.{REQUESTS}": 1, f"{side}.{LATENCY}.{latency_bucket(seconds)}": 1}
    )
    if answer.prediction is None:
        return counts
    probabilities = answer.prediction.probabilities
    counts[f"{side}.{IMAGES}"] = len(probabilities)
    labels = answer.card.labels
    scores, winners = place_in_bins(probabilities, HISTOGRAM_BINS)
    for score, best in zip(scores, winners, strict=True):
        counts[f"{side}.{SCORE}.{score}"] += 1
        counts[f"{side}.{LABEL}.{labels[best]}"] += 1
    return counts


def count_error(side: str) -> Counter[str]:
    """The counts of one request that *side* could not answer."""
    return Counter({f"{side}.{REQUESTS}": 1, f"{side}.{ERRORS}": 1})


def count_pairs(one: ImageResults, other: ImageResults) -> Counter[str]:
    """The counts of the agreement of two versions about the same images."""
    counts: Counter[str] = Counter()
    for mine, theirs in _pairs(one, other):
        difference = _difference(mine, one.card, theirs, other.card)
        counts[PAIRS] += 1
        counts[SAME] += _best(mine, one.card) == _best(theirs, other.card)
        counts[DIFFERENCE] += round(difference / DIFFERENCE_UNIT)
    return counts


def latency_bucket(seconds: float) -> int:
    """The bucket of a latency; may be below zero."""
    milliseconds = max(seconds * 1000, 0.01)
    return round(BUCKETS_PER_DOUBLING * math.log2(milliseconds))


def bucket_milliseconds(bucket: int) -> float:
    """The middle of a bucket of latencies."""
    return float(2 ** (bucket / BUCKETS_PER_DOUBLING))


def _pairs(
    one: ImageResults, other: ImageResults
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    if one.prediction is None or other.prediction is None:
        return
    for mine, theirs in zip(one.images, other.images, strict=True):
        if isinstance(mine, int) and isinstance(theirs, int):
            yield (
                one.prediction.probabilities[mine],
                other.prediction.probabilities[theirs],
            )


def _best(row: NDArray[np.float32], card: ModelCard) -> str:
    return card.labels[int(row.argmax())]


def _difference(
    mine: NDArray[np.float32],
    my_card: ModelCard,
    theirs: NDArray[np.float32],
    their_card: ModelCard,
) -> float:
    if my_card.labels == their_card.labels:
        return float(np.abs(mine - theirs).mean())
    # A label that only one of them has counts as probability 0 in the other.
    first = dict(zip(my_card.labels, mine.tolist(), strict=True))
    second = dict(zip(their_card.labels, theirs.tolist(), strict=True))
    labels = first.keys() | second.keys()
    gaps = (abs(first.get(each, 0) - second.get(each, 0)) for each in labels)
    return float(sum(gaps) / len(labels))
