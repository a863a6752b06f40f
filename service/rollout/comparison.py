"""GET /v1/models/{name}/rollout: how the two versions of a rollout differ, from its counts.

Histograms are compared by the Jensen-Shannon divergence in bits (J. Lin, "Divergence
measures based on the Shannon entropy", IEEE Transactions on Information Theory 37(1),
1991, with equal weights): 0 for equal distributions, 1 where they share nothing, and
defined for empty bins. Small samples differ by chance, so each divergence comes with the one
that is expected by chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flask import Blueprint, Response, jsonify

from models.errors import NotFoundError, QueueUnavailableError, quoted
from models.rollouts import CANARY, STABLE, Rollout
from service.predict.catalog import Catalog
from service.rollout import counters
from service.rollout.gateway import Rollouts
from worker.queue import SharedCounts


@dataclass(frozen=True)
class RolloutViews:
    """The view of a model's rollout, and what it reads."""

    catalog: Catalog
    rollouts: Rollouts
    counts: SharedCounts

    def blueprint(self) -> Blueprint:
        """The route /v1/models/{name}/rollout."""
        routes = Blueprint("rollouts", __name__)
        routes.add_url_rule("/v1/models/<word:name>/rollout", view_func=self.show)
        return routes

    def show(self, name: str) -> Response:
        """The last rollout of a model, and the comparison of its versions."""
        rollout = self.rollouts.of(self.catalog.find(name))
        if rollout is None:
            message = f"{quoted(name)} has no rollout: kennel rollout start begins one"
            raise NotFoundError(message, code="rollout_not_found")
        return jsonify(**asdict(rollout), **self._compared(rollout))

    def _compared(self, rollout: Rollout) -> dict[str, Any]:
        try:
            counts = self.counts.read(counters.counts_key(rollout))
        except QueueUnavailableError as error:
            return {"comparison": None, "missing": error.public}
        return {"comparison": asdict(compare(counts)), "missing": None}


@dataclass(frozen=True)
class Comparison:
    """Two versions side by side."""

    stable: Side
    canary: Side
    scores: Divergence
    labels: Divergence
    agreement: Agreement


@dataclass(frozen=True)
class Side:
    """The counts of one version.

    Attributes:
        errors: failed requests; of the canary, those that the stable version answered.
        p50_ms: median latency within 5 %, like *p99_ms*; None before the first answer.
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
    """The agreement of two versions about the same images.

    Attributes:
        same_label: share with the same most probable label; None before the first.
        mean_difference: of the probabilities, over images and labels.
        dropped: images that were not compared because too many came at once.
        failed: images for which the stable version had no answer.
    """

    images: int
    same_label: float | None
    mean_difference: float | None
    dropped: int
    failed: int


@dataclass(frozen=True)
class Divergence:
    """The divergence of two distributions in bits, and the one expected by chance.

    Both are None until there are answers of both versions.
    """

    bits: float | None
    by_chance: float | None


def compare(counts: Mapping[str, int]) -> Comparison:
    """The comparison of the two versions in *counts*."""
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
    latencies = {int(k): v for k, v in _below(counts, f"{side}.{counters.LATENCY}")}
    scores = {int(k): v for k, v in _below(counts, f"{side}.{counters.SCORE}")}
    return Side(
        requests=counts.get(f"{side}.{counters.REQUESTS}", 0),
        errors=counts.get(f"{side}.{counters.ERRORS}", 0),
        images=counts.get(f"{side}.{counters.IMAGES}", 0),
        p50_ms=_quantile(latencies, 0.5),
        p99_ms=_quantile(latencies, 0.99),
        scores=tuple(scores.get(each, 0) for each in range(counters.HISTOGRAM_BINS)),
        labels=dict(sorted(_below(counts, f"{side}.{counters.LABEL}"))),
    )


def _agreement(counts: Mapping[str, int]) -> Agreement:
    images = counts.get(counters.PAIRS, 0)
    same, apart = counts.get(counters.SAME, 0), counts.get(counters.DIFFERENCE, 0)
    return Agreement(
        images=images,
        same_label=same / images if images else None,
        mean_difference=apart * counters.DIFFERENCE_UNIT / images if images else None,
        dropped=counts.get(counters.DROPPED, 0),
        failed=counts.get(counters.UNPAIRED, 0),
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
            return round(counters.bucket_milliseconds(bucket), 3)
    return None


def divergence(one: Sequence[int], other: Sequence[int]) -> Divergence:
    """The Jensen-Shannon divergence of two histograms with the same bins."""
    total, others = sum(one), sum(other)
    if not total or not others:
        return Divergence(None, None)
    p = [count / total for count in one]
    q = [count / others for count in other]
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    bits = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    # Second order: the sum of (p - q)^2 / m over 8 ln 2; equal sources have a mean of
    # (bins - 1)(1/n1 + 1/n2) there.
    bins = sum(each > 0 for each in middle)
    by_chance = (bins - 1) * (1 / total + 1 / others) / (8 * math.log(2))
    return Divergence(round(max(bits, 0.0), 6), round(min(by_chance, 1.0), 6))


def _relative_entropy(p: Sequence[float], m: Sequence[float]) -> float:
    return sum(a * math.log2(a / b) for a, b in zip(p, m, strict=True) if a)
