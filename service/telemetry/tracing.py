"""Spans of requests, decoding and inference, exported with OpenTelemetry over OTLP.

OpenTelemetry is an extra: without OTEL_EXPORTER_OTLP_ENDPOINT nothing of it is imported.
The spans are made from the request's record, not by OpenTelemetry's instrumentation of
Flask, which exports each URL's query (it may hold keys), names spans of unknown paths by
the path, and takes 330 us a request where this takes 120. Its instrumentation of gRPC
gives a batch of several requests to one of their traces.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Self

from models import VERSION
from models.environment import read_flag
from models.errors import InvalidRequestError
from service.http.record import RequestRecord, TraceContext

if TYPE_CHECKING:
    from opentelemetry.trace import Span

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
SERVICE_NAME: Final = "kennel-api"


@dataclass(frozen=True)
class TracingSettings:
    """The collector of spans, and the service's name there.

    OpenTelemetry itself reads its other variables (headers, sampler, limits).

    Attributes:
        endpoint: base URL of a collector that takes OTLP over HTTP; "": no tracing.
    """

    endpoint: str = ""
    service_name: str = SERVICE_NAME

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read OpenTelemetry's own variables; an empty one counts as unset.

        Raises:
            InvalidRequestError: the endpoint is no URL, or the packages are missing.
        """
        endpoint = env.get(ENDPOINT) or ""
        if not endpoint or read_flag(env, "OTEL_SDK_DISABLED", default=False):
            return cls()
        if not endpoint.startswith(("http://", "https://")):
            message = f"{ENDPOINT}={endpoint!r} is no URL: use http://localhost:4318"
            raise InvalidRequestError(message)
        if not _is_installed():
            message = (
                f"{ENDPOINT} is set, but OpenTelemetry is not installed: "
                "pip install 'kennel[tracing]', or unset the variable"
            )
            raise InvalidRequestError(message)
        return cls(endpoint.rstrip("/"), env.get("OTEL_SERVICE_NAME") or SERVICE_NAME)


def start_spans(settings: TracingSettings) -> Spans | None:
    """Spans that a background thread exports; None where *settings* name no collector."""
    return Spans(settings) if settings.endpoint else None


class Spans:
    """The spans of one process.

    A request's span starts with the request, because its id goes into headers; the spans
    of decoding, queue and inference are made from the record when the request has ended.
    """

    def __init__(self, settings: TracingSettings) -> None:
        """Export to the collector that *settings* name."""
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation import tracecontext

        resource = Resource.create(
            {"service.name": settings.service_name, "service.version": VERSION}
        )
        exporter = OTLPSpanExporter(endpoint=f"{settings.endpoint}/v1/traces")
        self._api = trace
        self._propagator = tracecontext.TraceContextTextMapPropagator()
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("kennel", VERSION)

    def begin(
        self, method: str, parent: TraceContext | None
    ) -> tuple[Span, TraceContext]:
        """Open a request's span below *parent*; the span and its ids."""
        context = self._propagator.extract(parent.headers if parent else {})
        kind = self._api.SpanKind.SERVER
        span = self._tracer.start_span(method, context, kind)
        ids = span.get_span_context()
        trace = TraceContext(
            f"{ids.trace_id:032x}",
            f"{ids.span_id:016x}",
            ids.trace_flags.sampled,
            parent.state if parent else "",
        )
        return span, trace

    def end(self, record: RequestRecord) -> None:
        """Close the request's span, with those of its parts."""
        span: Span = record.span
        if span.is_recording():
            self._add_parts(record)
            span.update_name(f"{record.method} {record.route}")
            span.set_attributes(dict(_attributes(record)))
            if record.status >= 500:
                span.set_status(self._api.StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send the remaining spans; happens by itself when the process ends."""
        self._provider.shutdown()

    def _add_parts(self, record: RequestRecord) -> None:
        if record.budget is None:
            return
        parent = self._api.set_span_in_context(record.span)
        kinds = self._api.SpanKind
        # `perf_counter` counts from no date: its distance to the clock gives one.
        offset = time.time_ns() - time.perf_counter_ns()
        for part, begun in record.budget.begun.items():
            start = offset + round(begun * 1e9)
            kind = kinds.CLIENT if part == "infer" else kinds.INTERNAL
            span = self._tracer.start_span(part, parent, kind, start_time=start)
            span.set_attribute("kennel.images", record.images)
            span.end(start + round(record.budget.spent.get(part, 0.0) * 1e9))


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


def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
