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
from service.http.parameters import PROBE_PATHS
from service.http.record import (
    TRACEPARENT,
    RequestRecord,
    TraceContext,
    current_record,
)
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from service.telemetry.tracing import Spans

UNMATCHED: Final = "unmatched"
"""The label `route` of requests that match no route, whatever their path."""

_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
)
_LONGEST_PATH: Final = 512

logger = logging.getLogger("kennel.access")


@dataclass(frozen=True)
class Telemetry:
    """Metrics, spans and log lines of one process; also a `CallObserver`.

    Attributes:
        spans: None where no traces are exported.
    """

    metrics: Metrics = field(default_factory=Metrics)
    spans: Spans | None = None

    def register(self, app: Flask) -> None:
        """Record every request of *app*; call this before other hooks register."""
        app.before_request(self._begin)
        app.after_request(_note_response)
        app.teardown_request(self._end)

    def metadata(self) -> Metadata:
        """The trace of the request in this thread, for the model server."""
        if not has_app_context() or "request_record" not in g:
            return ()
        return tuple(current_record().trace.headers.items())

    def ended(self, call: UpstreamCall) -> None:
        """Count a call to the model server."""
        self.metrics.upstream.ended(call)

    def _begin(self) -> None:
        method = request.method if request.method in _METHODS else "other"
        # Not request.headers: werkzeug makes them anew at each access.
        given = request.environ.get
        parent = TraceContext.read(given("HTTP_TRACEPARENT"), given("HTTP_TRACESTATE"))
        if self.spans is None:
            record = RequestRecord(method, TraceContext.below(parent))
        else:
            span, trace = self.spans.begin(method, parent)
            record = RequestRecord(method, trace, span)
        record.route = request.url_rule.rule if request.url_rule else UNMATCHED
        g.request_record = record
        self.metrics.traffic.begin()

    def _end(self, _: BaseException | None) -> None:
        record = current_record()
        record.ended = time.perf_counter()
        self.metrics.traffic.end(record)
        if record.model:
            self.metrics.inference.end(record)
        if self.spans is not None:
            self.spans.end(record)
        _log_request(record)


class RequestIds(logging.Filter):
    """Adds the request's id and trace id to every line that is logged inside a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids; every line passes."""
        if has_app_context() and "request_record" in g:
            record.request_id = request_id()
            record.trace_id = g.request_record.trace.trace_id
        return True


def _note_response(response: Response) -> Response:
    record = current_record()
    record.status = response.status_code
    record.bytes = response.content_length
    response.headers[TRACEPARENT] = record.trace.traceparent
    return response


def _log_request(record: RequestRecord) -> None:
    level = logging.DEBUG if record.route in PROBE_PATHS else logging.INFO
    if not logger.isEnabledFor(level):
        return
    fields = _log_fields(record)
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


def _log_fields(record: RequestRecord) -> dict[str, Any]:
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
        fields |= {
            "model": record.model,
            "version": int(record.version) if record.version else None,
            "images": record.images,
            "outcome": record.outcome,
            "decode_ms": _milliseconds(record.spent("decode")),
            "queue_ms": _milliseconds(record.spent("queue")),
            "infer_ms": _milliseconds(record.spent("infer")),
        }
    return {name: value for name, value in fields.items() if value is not None}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
