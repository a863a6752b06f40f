"""What watches one API process; made by its composition root, told by hooks and calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import g, has_app_context

from models.wire.client import Metadata, UpstreamCall
from service.observation.metrics.metrics import Metrics
from service.observation.record import current_record
from service.observation.trace_context import TRACEPARENT, TRACESTATE

if TYPE_CHECKING:
    # Only a process that exports traces imports OpenTelemetry.
    from service.observation.spans import Spans


@dataclass(frozen=True)
class Observation:
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
