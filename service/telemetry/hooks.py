"""Hooks around every request: its record opened, then metrics, log line and spans made.

One log line a request, at its end. Neither headers nor the query are logged: they may
hold keys.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from flask import Flask, Response, g, has_app_context, request

from models.wire.client import Metadata, UpstreamCall
from service.http.headers import request_id
from service.http.record import RequestRecord, current_record
from service.http.trace import TRACEPARENT, TRACESTATE, TraceContext, span_below
from service.telemetry.collectors import Metrics

if TYPE_CHECKING:
    from service.telemetry.spans import Spans


UNMATCHED: Final = "unmatched"
"""The route of requests that have none: their paths could be without number."""

_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
)


def register_telemetry(app: Flask, observation: Telemetry) -> None:
    """Record every request of *app*; to be called before other hooks are registered."""
    hooks = _Hooks(observation)
    app.before_request(hooks.begin)
    app.after_request(hooks.note)
    app.teardown_request(hooks.end)


@dataclass(frozen=True)
class _Hooks:
    observation: Telemetry

    def begin(self) -> None:
        method = request.method if request.method in _METHODS else "other"
        # Not request.headers: they are made anew at each look.
        given = request.environ.get
        parent = TraceContext.read(given("HTTP_TRACEPARENT"), given("HTTP_TRACESTATE"))
        spans = self.observation.spans
        span, trace = None, None
        if spans is not None:
            span, trace = spans.begin(method, parent)
        record = RequestRecord(method, trace or span_below(parent), span)
        record.route = request.url_rule.rule if request.url_rule else UNMATCHED
        g.request_record = record
        self.observation.metrics.traffic.begin()

    def note(self, response: Response) -> Response:
        record = current_record()
        record.status = response.status_code
        record.bytes = response.content_length
        response.headers[TRACEPARENT] = record.trace.traceparent
        return response

    def end(self, _: BaseException | None) -> None:
        record = current_record()
        record.ended = time.perf_counter()
        metrics = self.observation.metrics
        metrics.traffic.end(record)
        if record.model:
            metrics.inference.end(record)
        if self.observation.spans is not None:
            self.observation.spans.end(record)
        log_request(record)


@dataclass(frozen=True)
class Telemetry:
    """Metrics, and spans where they are exported; also a `CallObserver`."""

    metrics: Metrics = field(default_factory=Metrics)
    spans: Spans | None = None

    def metadata(self) -> Metadata:
        """The trace of the request in this thread, for the model server."""
        if not has_app_context() or "request_record" not in g:
            return ()
        trace = current_record().trace
        state = ((TRACESTATE, trace.state),) if trace.state else ()
        return ((TRACEPARENT, trace.traceparent), *state)

    def ended(self, call: UpstreamCall) -> None:
        """Count a call to the model server."""
        self.metrics.upstream.ended(call)


PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds by machines: only to be seen when debugging."""

_LONGEST_PATH: Final = 512

logger = logging.getLogger("kennel.access")


class RequestIds(logging.Filter):
    """Gives every line that is logged inside a request the ids of that request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids; every line passes."""
        if has_app_context() and "request_record" in g:
            record.request_id = request_id()
            record.trace_id = g.request_record.trace.trace_id
        return True


def log_request(record: RequestRecord) -> None:
    """Write the line of a request that has been answered."""
    level = logging.DEBUG if record.route in PROBES else logging.INFO
    if not logger.isEnabledFor(level):
        return
    fields = _fields(record)
    logger.log(
        level,
        "%s %s %s %d %.1f ms %s",
        request.remote_addr or "-",
        record.method,
        fields["path"],
        record.status,
        fields["duration_ms"],
        request_id(),
        extra=fields,
    )


def _fields(record: RequestRecord) -> dict[str, Any]:
    fields = {
        "method": record.method,
        "route": record.route,
        "path": quote(request.path[:_LONGEST_PATH]),
        "status": record.status,
        "bytes": record.bytes,
        "duration_ms": _milliseconds(record.seconds),
        "client": request.remote_addr,
        "key_name": g.get("key_name"),
        "code": record.code or None,
    }
    if record.model:
        fields.update(_inference_fields(record))
    return {name: value for name, value in fields.items() if value is not None}


def _inference_fields(record: RequestRecord) -> dict[str, Any]:
    return {
        "model": record.model,
        "version": int(record.version) if record.version else None,
        "images": record.images,
        "outcome": record.outcome,
        "decode_ms": _milliseconds(record.spent("decode")),
        "queue_ms": _milliseconds(record.spent("queue")),
        "infer_ms": _milliseconds(record.spent("infer")),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
