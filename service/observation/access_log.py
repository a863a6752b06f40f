"""One line a request, at its end: who asked what, what it got, where the time went.

Neither headers nor the query are logged: they may hold keys.
"""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import quote

from flask import g, has_app_context, request

from service.headers import request_id
from service.observation.record import RequestRecord

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
