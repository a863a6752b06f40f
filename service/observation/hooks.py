"""From the beginning of a request to its end: opens its record, then reports it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from flask import Flask, Response, g, request

from service.observation.access_log import log_request
from service.observation.observation import Observation
from service.observation.record import RequestRecord, current_record
from service.observation.trace_context import (
    TRACEPARENT,
    TraceContext,
    span_below,
)

UNMATCHED: Final = "unmatched"
"""The route of requests that have none: their paths could be without number."""

_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
)


def register_observation(app: Flask, observation: Observation) -> None:
    """Record every request of *app*; to be called before other hooks are registered."""
    hooks = _Hooks(observation)
    app.before_request(hooks.begin)
    app.after_request(hooks.note)
    app.teardown_request(hooks.end)


@dataclass(frozen=True)
class _Hooks:
    observation: Observation

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
