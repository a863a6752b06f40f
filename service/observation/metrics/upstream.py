"""``upstream_grpc_*`` and the sizes of the batches sent, told by the client."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from models.wire.client import UpstreamCall
from service.observation.metrics.buckets import BATCH_SIZES, HTTP_SECONDS


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
        self._of: dict[tuple[str, str, str], tuple[Counter, Histogram, Histogram]] = {}

    def ended(self, call: UpstreamCall) -> None:
        """Count one call."""
        key = (call.subject.method, call.subject.model, call.code)
        if key not in self._of:
            self._of[key] = (
                self._handled.labels(call.subject.method, call.code),
                self._seconds.labels(call.subject.method),
                self._batch_size.labels(call.subject.model),
            )
        handled, seconds, batch_size = self._of[key]
        handled.inc()
        seconds.observe(call.seconds)
        if call.subject.images:
            batch_size.observe(call.subject.images)
