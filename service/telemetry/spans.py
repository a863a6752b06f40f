"""Spans of requests, and of what they wait for, exported with OpenTelemetry over OTLP.

Only imported when traces are exported. A request's span is opened at its beginning,
because its id goes into headers; those of its parts are made from the record at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from models import VERSION
from service.http.record import RequestRecord
from service.http.trace import TraceContext
from service.telemetry.tracing import TracingSettings

_KINDS: Final = {"infer": SpanKind.CLIENT}


class Spans:
    """The spans of one process; a thread of its own sends them."""

    def __init__(self, settings: TracingSettings) -> None:
        """Send to the collector that *settings* name."""
        resource = Resource.create(
            {"service.name": settings.service_name, "service.version": VERSION}
        )
        exporter = OTLPSpanExporter(endpoint=f"{settings.endpoint}/v1/traces")
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("kennel", VERSION)

    def begin(
        self, method: str, parent: TraceContext | None
    ) -> tuple[Span, TraceContext]:
        """Open a request's span below *parent*; with its ids, to hand on."""
        context = _context(parent)
        span = self._tracer.start_span(method, context, SpanKind.SERVER)
        return span, _trace_of(span, parent)

    def end(self, record: RequestRecord) -> None:
        """Close the request's span, with those of its parts."""
        span: Span = record.span
        if span.is_recording():
            # `perf_counter` has no date: the distance to now gives one.
            offset = time.time_ns() - time.perf_counter_ns()
            self._add_parts(record, offset)
            span.update_name(f"{record.method} {record.route}")
            span.set_attributes(dict(_attributes(record)))
            if record.status >= 500:
                span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Send what is left; at a process's end this happens by itself."""
        self._provider.shutdown()

    def _add_parts(self, record: RequestRecord, offset: int) -> None:
        if record.budget is None:
            return
        parent = set_span_in_context(record.span)
        for part, begun in record.budget.begun.items():
            start = offset + round(begun * 1e9)
            kind = _KINDS.get(part, SpanKind.INTERNAL)
            span = self._tracer.start_span(part, parent, kind, start_time=start)
            span.set_attribute("kennel.images", record.images)
            span.end(start + round(record.budget.spent.get(part, 0.0) * 1e9))


def _trace_of(span: Span, parent: TraceContext | None) -> TraceContext:
    own = span.get_span_context()
    return TraceContext(
        f"{own.trace_id:032x}",
        f"{own.span_id:016x}",
        own.trace_flags.sampled,
        parent.state if parent else "",
    )


def _context(parent: TraceContext | None) -> Context:
    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    ids = int(parent.trace_id, 16), int(parent.span_id, 16)
    remote = SpanContext(*ids, is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _attributes(record: RequestRecord) -> Iterator[tuple[str, str | int]]:
    yield "http.request.method", record.method
    yield "http.route", record.route
    yield "http.response.status_code", record.status
    if record.model:
        yield "kennel.model", record.model
        yield "kennel.version", record.version
        yield "kennel.images", record.images
        yield "kennel.outcome", record.outcome
    if record.code:
        yield "error.type", record.code
