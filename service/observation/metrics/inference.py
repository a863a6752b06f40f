"""``inference_*`` and the parts of a prediction, by model."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

from service.observation.metrics.buckets import HTTP_SECONDS, PART_SECONDS
from service.observation.metrics.spreads import SpreadMetrics
from service.observation.record import (
    OUT_OF_MEMORY,
    OVERLOADED,
    REJECTED,
    RequestRecord,
    current_record,
)


@dataclass
class VersionCounts:
    """What one version has answered.

    Attributes:
        images: that were answered.
        succeeded: requests.
        failed: requests that got a problem in the place of an answer.
    """

    images: int = 0
    succeeded: int = 0
    failed: int = 0

    def to_json(self) -> dict[str, Any]:
        """In the words of Triton's statistics."""
        return {
            "inference_count": self.images,
            "inference_stats": {
                "success": {"count": self.succeeded},
                "fail": {"count": self.failed},
            },
        }


def count_by_version(
    instruments: Collector, model: str
) -> defaultdict[str, VersionCounts]:
    """What *instruments* have counted of each version of *model*, by its number."""
    counts: defaultdict[str, VersionCounts] = defaultdict(VersionCounts)
    for metric in instruments.collect():
        for sample in metric.samples:
            if sample.labels.get("model") != model:
                continue
            of_version = counts[sample.labels.get("version", "")]
            if sample.name == "inference_images_total":
                of_version.images += int(sample.value)
            elif sample.name == "inference_requests_total":
                outcome = "succeeded" if sample.labels["outcome"] == "ok" else "failed"
                so_far = getattr(of_version, outcome)
                setattr(of_version, outcome, so_far + int(sample.value))
    return counts


@dataclass(frozen=True)
class _Answers:
    """The instruments of answered requests for one version of a model."""

    requests: Counter
    images: Counter
    infer: Histogram
    queue: Histogram
    decode: Histogram
    render: Histogram


class InferenceMetrics:
    """Requests for predictions of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the instruments."""
        self._registry = registry
        self._requests = self._counter(
            "inference_requests_total",
            "Requests for predictions: ok, invalid, timeout, rejected, upstream, oom.",
            ("model", "version", "outcome"),
        )
        self._images = self._counter(
            "inference_images_total", "Images answered.", ("model", "version")
        )
        self._rejected = self._counter(
            "inference_rejected_total",
            "Requests turned away: of api, model_server, or a limit's code.",
            ("model", "reason"),
        )
        self._infer = self._seconds(
            "inference_duration_seconds", "The model server's part.", HTTP_SECONDS
        )
        self._queue = self._seconds(
            "inference_queue_seconds", "Waiting for a place in a batch.", PART_SECONDS
        )
        self._decode = self._seconds(
            "preprocess_seconds", "Decoding and resizing.", PART_SECONDS
        )
        self._render = self._seconds(
            "postprocess_seconds", "From probabilities to JSON.", PART_SECONDS
        )
        self._queue_depth = Gauge(
            "inference_queue_depth",
            "Images let in and not yet answered.",
            ("model",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._depths: dict[str, Gauge] = {}
        self._answers: dict[tuple[str, str], _Answers] = {}
        self._spreads = SpreadMetrics(registry)

    def admitted(self, images: int) -> None:
        """So many *images* of the request in work were let in, or (below zero) are out."""
        model = current_record().model
        if model not in self._depths:
            self._depths[model] = self._queue_depth.labels(model)
        self._depths[model].inc(images)

    def end(self, record: RequestRecord) -> None:
        """A request has been answered, with probabilities or with a problem."""
        if record.answered_at is not None and record.status < 400:
            self._end_well(record, record.answered_at)
            return
        outcome = record.outcome
        self._requests.labels(record.model, record.version, outcome).inc()
        if outcome in {REJECTED, OUT_OF_MEMORY}:
            self._rejected.labels(record.model, _reason(record)).inc()

    def _end_well(self, record: RequestRecord, answered_at: float) -> None:
        instruments = self._of(record.model, record.version)
        instruments.requests.inc()
        instruments.images.inc(record.answered)
        instruments.infer.observe(record.spent("infer") or 0.0)
        instruments.queue.observe(record.spent("queue") or 0.0)
        instruments.decode.observe(record.spent("decode") or 0.0)
        instruments.render.observe(record.ended - answered_at)
        if record.answers is not None:
            self._spreads.count(record.model, record.version, record.answers)

    def _of(self, model: str, version: str) -> _Answers:
        key = (model, version)
        if key not in self._answers:
            self._answers[key] = _Answers(
                self._requests.labels(model, version, "ok"),
                self._images.labels(model, version),
                self._infer.labels(model),
                self._queue.labels(model),
                self._decode.labels(model),
                self._render.labels(model),
            )
        return self._answers[key]

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _seconds(self, name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
        registry = self._registry
        return Histogram(name, text, ("model",), registry=registry, buckets=bounds)


def _reason(record: RequestRecord) -> str:
    if record.code != OVERLOADED:
        return record.code
    return "api" if record.spent("infer") is None else "model_server"
