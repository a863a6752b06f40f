"""GET /metrics for Prometheus, and GET /v1/info: versions, limits and settings."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from flask import Blueprint, Response, jsonify, request
from prometheus_client.exposition import choose_encoder

from models import VERSION
from models.contract import MAX_BATCH_SIZE
from service.http.budget import MAX_TIMEOUT_SECONDS, MIN_TIMEOUT_SECONDS
from service.predict.catalog import Catalog
from service.settings import ServiceSettings
from service.telemetry.collectors import Exposition

LIBRARIES: Final = ("flask", "grpcio", "gunicorn", "numpy", "pillow", "protobuf", "rq")
SHOWN_SETTINGS: Final = ("default_model", "web_workers", "web_threads")
"""Listed by name, so that addresses, paths and keys are never shown, nor new settings."""


@dataclass(frozen=True)
class TelemetryViews:
    """The routes about the service itself, and what they read."""

    settings: ServiceSettings
    exposition: Exposition
    catalog: Catalog

    def blueprint(self) -> Blueprint:
        """The two routes."""
        routes = Blueprint("telemetry", __name__)
        routes.add_url_rule("/metrics", view_func=self.metrics)
        routes.add_url_rule("/v1/info", view_func=self.info)
        return routes

    def metrics(self) -> Response:
        """Every metric in Prometheus' text format, or OpenMetrics if asked for."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(self.exposition), content_type=content_type)

    def info(self) -> Response:
        """Versions, limits, and the settings that are no secret."""
        settings = self.settings
        return jsonify(
            kennel=VERSION,
            python=platform.python_version(),
            default_model=self.catalog.find_default(),
            libraries=_library_versions(),
            limits={
                "max_request_bytes": settings.max_request_bytes,
                "max_images": settings.max_images,
                "max_pixels": settings.max_pixels,
                "max_in_flight": settings.max_in_flight,
                "max_batch_size": MAX_BATCH_SIZE,
                "request_timeout_seconds": {
                    "default": settings.request_timeout_seconds,
                    "min": MIN_TIMEOUT_SECONDS,
                    "max": MAX_TIMEOUT_SECONDS,
                },
            },
            settings={name: getattr(settings, name) for name in SHOWN_SETTINGS},
        )


@cache
def _library_versions() -> dict[str, Any]:
    return {name: _version(name) for name in LIBRARIES}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
