"""GET /metrics and /v1/info, described."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from service.documents.members import Members, count, number, text
from service.documents.operations import Answer, Content, Operation


class TimeoutsSchema(Members):
    """Seconds that a request may take."""

    default = number("Without the header")
    min = number("The least that the header can ask for")
    max = number("The most that it can ask for")


class LimitsSchema(Members):
    """What one request, and one process, may be asked."""

    max_request_bytes = count("Bytes of a request", 1)
    max_images = count("Images of a request", 1)
    max_pixels = count("Pixels of an image; above 50 million, JPEG alone", 1)
    max_in_flight = count("Images in work in one process", 1)
    max_batch_size = count("Images in one call to the model server", 1)
    request_timeout_seconds = fields.Nested(TimeoutsSchema, required=True)


class InfoSchema(Members):
    """What runs here."""

    kennel = text("Version of Kennel")
    python = text("Version of Python")
    default_model = text(
        "The model that answers requests that name none; null: none can",
        allow_none=True,
    )
    libraries = fields.Dict(
        keys=fields.String(),
        values=fields.String(allow_none=True),
        required=True,
        metadata={"description": "Versions by name; null: not installed"},
    )
    limits = fields.Nested(LimitsSchema, required=True)
    settings = fields.Dict(
        required=True, metadata={"description": "Settings that are no secret"}
    )


_INFO: Final[dict[str, Any]] = {
    "kennel": "0.1.0",
    "python": "3.11.7",
    "default_model": "dogscats",
    "libraries": {"flask": "3.1.3", "grpcio": "1.85.1"},
    "limits": {
        "max_request_bytes": 67108864,
        "max_images": 64,
        "max_pixels": 256_000_000,
        "max_in_flight": 256,
        "max_batch_size": 32,
        "request_timeout_seconds": {"default": 10.0, "min": 0.1, "max": 25.0},
    },
    "settings": {"default_model": None, "web_workers": 2, "web_threads": 40},
}
_METRICS: Final = (
    'http_requests_total{method="POST",route="/v1/predict",status="200"} 9'
)

SHOW_INFO: Final = Operation(
    summary="Show versions, limits and settings",
    answers=(Answer("What runs here", (Content(InfoSchema, example=_INFO),)),),
)

SHOW_METRICS: Final = Operation(
    summary="Show the metrics for Prometheus",
    description="OpenMetrics for those who accept it.",
    answers=(
        Answer(
            "The metrics of all processes of this service",
            tuple(
                Content({"type": "string"}, media_type, _METRICS)
                for media_type in ("text/plain", "application/openmetrics-text")
            ),
        ),
    ),
)
