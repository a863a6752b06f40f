"""``http_*``: every request, by route template and never by path."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.observation.metrics.buckets import HTTP_SECONDS
from service.observation.record import OVERLOADED, RequestRecord


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
            "Requests answered with `overloaded`, read or unread.",
            ("route",),
            registry=registry,
        )
        self._of: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def begin(self) -> None:
        """A request has arrived."""
        self._in_progress.inc()

    def end(self, record: RequestRecord) -> None:
        """It has been answered."""
        self._in_progress.dec()
        self._answered(record.method, record.route, record.status, record.seconds)
        if record.code == OVERLOADED:
            self._refused.labels(record.route).inc()

    def refused(self, method: str, route: str, status: int) -> None:
        """One was answered with *status* before it was read, for want of a place."""
        self._answered(method, route, status, 0.0)
        self._refused.labels(route).inc()

    def _answered(self, method: str, route: str, status: int, taken: float) -> None:
        requests, seconds = self._instruments(method, route, status)
        requests.inc()
        seconds.observe(taken)

    def _instruments(
        self, method: str, route: str, status: int
    ) -> tuple[Counter, Histogram]:
        # prometheus_client finds a labelled child by text, under a lock; we once.
        key = (method, route, status)
        if key not in self._of:
            self._of[key] = (
                self._requests.labels(method, route, str(status)),
                self._seconds.labels(method, route, f"{status // 100}xx"),
            )
        return self._of[key]
