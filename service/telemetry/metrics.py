"""Metrics that requests count: HTTP, inference, calls to the model server.

The label `route` is a template, never a path: whatever clients send, it has few values.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from models.contract import (
    BATCH_SIZES,
    SCORE_BINS,
    AnswerSpread,
    ModelCard,
    place_in_bins,
)
from models.wire.client import UpstreamCall
from service.http.record import (
    OUT_OF_MEMORY,
    OVERLOADED,
    REJECTED,
    SUCCESS,
    Answers,
    RequestRecord,
    current_record,
)

HTTP_SECONDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25),
    *(0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
"""OpenTelemetry's bounds for http.server.request.duration, semantic conventions 1.23."""

PART_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, *HTTP_SECONDS)
"""For parts of a request: decoding a photo takes a millisecond, waiting often nothing."""

BIN_NAMES: Final = tuple(f"{number / SCORE_BINS:g}" for number in range(SCORE_BINS))
"""Names of the bins of scores: their lower bounds."""

WATCHED_LABELS: Final = 64
"""Of models with more labels only scores are counted: each label is a time series."""


class Metrics:
    """The instruments of one process, and the sums over all processes.

    Attributes:
        registry: holds the instruments of this process.
        folder: where all processes keep their values; None: there is only this process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Make the instruments; *folder* is the one that prometheus_client writes to."""
        self.registry = CollectorRegistry()
        self.folder = folder
        self.traffic = TrafficMetrics(self.registry)
        self.inference = InferenceMetrics(self.registry)
        self.upstream = UpstreamMetrics(self.registry)

    def collect(self) -> Iterable[Metric]:
        """What all processes counted together."""
        if self.folder is None:
            return self.registry.collect()
        collector: Collector = MultiProcessCollector(None, str(self.folder))  # type: ignore[no-untyped-call]
        return collector.collect()

    def answers_by_version(self, model: str) -> defaultdict[str, Counts[str]]:
        """By version of *model*: `images` answered, requests `succeeded` and `failed`."""
        counts: defaultdict[str, Counts[str]] = defaultdict(Counts)
        for sample in self._samples(model=model):
            of_version = counts[sample.labels.get("version", "")]
            if sample.name == "inference_images_total":
                of_version["images"] += int(sample.value)
            elif sample.name == "inference_requests_total":
                outcome = (
                    "succeeded" if sample.labels["outcome"] == SUCCESS else "failed"
                )
                of_version[outcome] += int(sample.value)
        return counts

    def answer_spread(self, card: ModelCard) -> AnswerSpread:
        """The spread of the answers of the version of *card* since the service started."""
        scores, labels = Counts[str](), Counts[str]()
        for sample in self._samples(model=card.name, version=str(card.version)):
            if sample.name == "inference_scores_total":
                scores[sample.labels["bin"]] += int(sample.value)
            elif sample.name == "inference_labels_total":
                labels[sample.labels["label"]] += int(sample.value)
        return AnswerSpread(
            tuple(scores[name] for name in BIN_NAMES),
            tuple(labels[label] for label in card.labels),
        )

    def _samples(self, **labels: str) -> Iterator[Sample]:
        for family in self.collect():
            for sample in family.samples:
                if labels.items() <= sample.labels.items():
                    yield sample


class TrafficMetrics:
    """Requests of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the instruments."""
        self._requests = Counter(
            "http_requests_total",
            "Requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "From a request's arrival to its answer.",
            ("method", "route", "status_class"),
            registry=registry,
            buckets=HTTP_SECONDS,
        )
        self._in_progress = Gauge(
            "http_requests_in_progress",
            "Requests that are being answered.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._refused = Counter(
            "http_requests_refused_total",
            "Requests refused as `overloaded`, before or after their bodies were read.",
            ("route",),
            registry=registry,
        )
        # prometheus_client finds a labelled child by text, under a lock: each is kept.
        self._children = cache(self._find_children)

    def begin(self) -> None:
        """A request has arrived."""
        self._in_progress.inc()

    def end(self, record: RequestRecord) -> None:
        """A request has been answered."""
        self._in_progress.dec()
        self._answered(record.method, record.route, record.status, record.seconds)
        if record.code == OVERLOADED:
            self._refused.labels(record.route).inc()

    def refused(self, method: str, route: str, status: int) -> None:
        """A request was refused with *status* before it was read: the process was full."""
        self._answered(method, route, status, 0.0)
        self._refused.labels(route).inc()

    def _answered(self, method: str, route: str, status: int, taken: float) -> None:
        requests, seconds = self._children(method, route, status)
        requests.inc()
        seconds.observe(taken)

    def _find_children(
        self, method: str, route: str, status: int
    ) -> tuple[Counter, Histogram]:
        return (
            self._requests.labels(method, route, str(status)),
            self._seconds.labels(method, route, f"{status // 100}xx"),
        )


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
            "Rejected requests by reason: api, model_server, or a limit's code.",
            ("model", "reason"),
        )
        self._infer = self._seconds(
            "inference_duration_seconds", "The model server's part.", HTTP_SECONDS
        )
        self._queue = self._seconds(
            "inference_queue_seconds", "Waiting for a batch.", PART_SECONDS
        )
        self._decode = self._seconds(
            "preprocess_seconds", "Decoding and resizing.", PART_SECONDS
        )
        self._render = self._seconds(
            "postprocess_seconds", "From probabilities to JSON.", PART_SECONDS
        )
        self._queue_depth = Gauge(
            "inference_queue_depth",
            "Images admitted and not yet answered.",
            ("model",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._depth_of = cache(self._queue_depth.labels)
        self._children = cache(self._find_children)
        self._spreads = SpreadMetrics(registry)

    def admitted(self, images: int) -> None:
        """*images* of the request in work were admitted or, below zero, have left."""
        self._depth_of(current_record().model).inc(images)

    def end(self, record: RequestRecord) -> None:
        """A request has been answered, with probabilities or with a problem."""
        if record.answered_at is not None and record.status < 400:
            self._count_answer(record, record.answered_at)
            return
        outcome = record.outcome
        self._requests.labels(record.model, record.version, outcome).inc()
        if outcome in {REJECTED, OUT_OF_MEMORY}:
            self._rejected.labels(record.model, _reason(record)).inc()

    def _count_answer(self, record: RequestRecord, answered_at: float) -> None:
        of_version = self._children(record.model, record.version)
        of_version.requests.inc()
        of_version.images.inc(record.answered)
        of_version.infer.observe(record.spent("infer") or 0.0)
        of_version.queue.observe(record.spent("queue") or 0.0)
        of_version.decode.observe(record.spent("decode") or 0.0)
        of_version.render.observe(record.ended - answered_at)
        if record.answers is not None:
            self._spreads.count(record.model, record.version, record.answers)

    def _find_children(self, model: str, version: str) -> _VersionInstruments:
        return _VersionInstruments(
            self._requests.labels(model, version, SUCCESS),
            self._images.labels(model, version),
            self._infer.labels(model),
            self._queue.labels(model),
            self._decode.labels(model),
            self._render.labels(model),
        )

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _seconds(self, name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
        registry = self._registry
        return Histogram(name, text, ("model",), registry=registry, buckets=bounds)


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
        self._children = cache(self._find_children)

    def count(self, model: str, version: str, answers: Answers) -> None:
        """Count what *version* of *model* answered."""
        scores, labels = self._children(model, version, answers.labels)
        bins, winners = place_in_bins(answers.probabilities)
        for each in bins:
            scores[each].inc()
        if labels:
            for each in winners:
                labels[each].inc()

    def _find_children(
        self, model: str, version: str, labels: tuple[str, ...]
    ) -> tuple[list[Counter], list[Counter]]:
        # All children at once: an empty bin is a zero, not a gap.
        watched = labels if len(labels) <= WATCHED_LABELS else ()
        return (
            [self._scores.labels(model, version, name) for name in BIN_NAMES],
            [self._labels.labels(model, version, label) for label in watched],
        )


class UpstreamMetrics:
    """Calls of one process to the model server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the instruments."""
        self._handled = Counter(
            "upstream_grpc_handled_total",
            "Calls to the model server that have ended.",
            ("method", "code"),
            registry=registry,
        )
        self._seconds = Histogram(
            "upstream_grpc_duration_seconds",
            "From a call to the model server to its end.",
            ("method",),
            registry=registry,
            buckets=HTTP_SECONDS,
        )
        self._batch_size = Histogram(
            "inference_batch_size",
            "Images in one call to the model server.",
            ("model",),
            registry=registry,
            buckets=BATCH_SIZES,
        )
        self._children = cache(self._find_children)

    def ended(self, call: UpstreamCall) -> None:
        """Count one call."""
        subject = call.subject
        handled, seconds, batch_size = self._children(
            subject.method, subject.model, call.code
        )
        handled.inc()
        seconds.observe(call.seconds)
        if subject.images:
            batch_size.observe(subject.images)

    def _find_children(
        self, method: str, model: str, code: str
    ) -> tuple[Counter, Histogram, Histogram]:
        return (
            self._handled.labels(method, code),
            self._seconds.labels(method),
            self._batch_size.labels(model),
        )


@dataclass(frozen=True)
class _VersionInstruments:
    """The instruments of answered requests for one version of a model."""

    requests: Counter
    images: Counter
    infer: Histogram
    queue: Histogram
    decode: Histogram
    render: Histogram


def _reason(record: RequestRecord) -> str:
    if record.code != OVERLOADED:
        return record.code
    return "api" if record.spent("infer") is None else "model_server"
