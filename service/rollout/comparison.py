"""From the shared counts to what a person decides by: how two versions differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from models.rollouts import CANARY, STABLE
from service.rollout import tally
from service.rollout.divergence import Divergence, divergence


@dataclass(frozen=True)
class Side:
    """What one version did.

    Attributes:
        errors: of the canary those that the stable version answered instead.
        p50_ms: of answers, None before there is one; within 5 %, as is *p99_ms*.
        scores: images by twentieth of the probability of the last of two labels, or of
            the most probable one of several.
        labels: images by most probable label.
    """

    requests: int
    errors: int
    images: int
    p50_ms: float | None
    p99_ms: float | None
    scores: tuple[int, ...]
    labels: Mapping[str, int]


@dataclass(frozen=True)
class Agreement:
    """What two versions said of the same images.

    Attributes:
        same_label: share with the same most probable label; None before the first.
        mean_difference: of the probabilities, over images and labels.
        dropped: images that were not asked about twice, there being too many.
        failed: images for which the stable version had no answer.
    """

    images: int
    same_label: float | None
    mean_difference: float | None
    dropped: int
    failed: int


@dataclass(frozen=True)
class Comparison:
    """Two versions side by side."""

    stable: Side
    canary: Side
    scores: Divergence
    labels: Divergence
    agreement: Agreement

    def to_json(self) -> dict[str, Any]:
        """As the API tells it."""
        return asdict(self)


def compare(counts: Mapping[str, int]) -> Comparison:
    """What the shared *counts* say."""
    stable, canary = _side(counts, STABLE), _side(counts, CANARY)
    names = list({**stable.labels, **canary.labels})
    return Comparison(
        stable,
        canary,
        divergence(stable.scores, canary.scores),
        divergence(
            [stable.labels.get(name, 0) for name in names],
            [canary.labels.get(name, 0) for name in names],
        ),
        _agreement(counts),
    )


def _side(counts: Mapping[str, int], side: str) -> Side:
    latencies = {int(k): v for k, v in _below(counts, f"{side}.{tally.LATENCY}")}
    scores = {int(k): v for k, v in _below(counts, f"{side}.{tally.SCORE}")}
    return Side(
        requests=counts.get(f"{side}.{tally.REQUESTS}", 0),
        errors=counts.get(f"{side}.{tally.ERRORS}", 0),
        images=counts.get(f"{side}.{tally.IMAGES}", 0),
        p50_ms=_quantile(latencies, 0.5),
        p99_ms=_quantile(latencies, 0.99),
        scores=tuple(scores.get(each, 0) for each in range(tally.SCORE_BINS)),
        labels=dict(sorted(_below(counts, f"{side}.{tally.LABEL}"))),
    )


def _agreement(counts: Mapping[str, int]) -> Agreement:
    images = counts.get(tally.PAIRS, 0)
    same, apart = counts.get(tally.SAME, 0), counts.get(tally.DIFFERENCE, 0)
    return Agreement(
        images=images,
        same_label=same / images if images else None,
        mean_difference=apart * tally.DIFFERENCE_UNIT / images if images else None,
        dropped=counts.get(tally.DROPPED, 0),
        failed=counts.get(tally.UNPAIRED, 0),
    )


def _below(counts: Mapping[str, int], path: str) -> list[tuple[str, int]]:
    start = f"{path}."
    return [
        (field.removeprefix(start), count)
        for field, count in counts.items()
        if field.startswith(start)
    ]


def _quantile(buckets: Mapping[int, int], share: float) -> float | None:
    wanted = share * sum(buckets.values())
    passed = 0
    for bucket in sorted(buckets):
        passed += buckets[bucket]
        if passed >= wanted:
            return round(tally.bucket_milliseconds(bucket), 3)
    return None
