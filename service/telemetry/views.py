"""GET /livez, /readyz, /metrics and /v1/info: health, metrics, versions, limits, settings.

The API stays ready while Redis is away or the disk is full: it still answers predictions, and
only refuses jobs.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from flask import Blueprint, Response, current_app, jsonify, request
from prometheus_client.exposition import choose_encoder

from models import VERSION
from models.contract import MAX_BATCH_SIZE
from models.errors import KennelError
from service.http.budget import MAX_TIMEOUT_SECONDS, MIN_TIMEOUT_SECONDS, Budget
from service.http.headers import request_id
from service.http.problems import RETRY_AFTER_SECONDS
from service.http.shutdown import is_shutting_down
from service.predict.catalog import PROBE_SECONDS, Catalog, available_versions
from service.settings import ServiceSettings
from service.telemetry.collectors import Exposition
from worker.queue import JobQueue

SHOWN_LIBRARIES: Final = (
    "flask",
    "grpcio",
    "gunicorn",
    "numpy",
    "pillow",
    "protobuf",
    "rq",
)
SHOWN_SETTINGS: Final = ("default_model", "web_workers", "web_threads")
"""Listed by name, so that addresses, paths, keys and new settings are never shown."""

_QUEUE_SECONDS: Final = 0.5
"""Most of a probe's time that the job queue gets: readiness depends on the model server."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TelemetryViews:
    """The views of metrics, versions and limits, and what they read."""

    settings: ServiceSettings
    exposition: Exposition
    catalog: Catalog

    def blueprint(self) -> Blueprint:
        """The routes /metrics and /v1/info."""
        routes = Blueprint("telemetry", __name__)
        routes.add_url_rule("/metrics", view_func=self.metrics)
        routes.add_url_rule("/v1/info", view_func=self.info)
        return routes

    def metrics(self) -> Response:
        """Every metric in Prometheus' text format, or in OpenMetrics if Accept names it."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(self.exposition), content_type=content_type)

    def info(self) -> Response:
        """Versions, limits, and settings that are not secret."""
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
    return {name: _version(name) for name in SHOWN_LIBRARIES}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class HealthViews:
    """The views of the liveness and readiness probes, and what they check."""

    catalog: Catalog
    queue: JobQueue

    def blueprint(self) -> Blueprint:
        """The routes /livez and /readyz."""
        routes = Blueprint("health", __name__)
        routes.add_url_rule("/livez", view_func=self.alive)
        routes.add_url_rule("/readyz", view_func=self.ready)
        return routes

    def alive(self) -> Response:
        """Liveness: the process answers."""
        return jsonify(status="alive")

    def ready(self) -> Response:
        """Readiness: whether the default model can answer, and why not (503).

        Also 503 once shutdown has begun, so that proxies send no more requests.
        """
        model_server = _checked(self._probe_model_server)
        redis = _checked(self._probe_redis)
        disk = _checked(self._probe_disk)
        jobs_ok = redis["status"] == disk["status"] == "ok"
        status = "ready" if jobs_ok else "degraded"
        if model_server["status"] != "ok":
            status = "unavailable"
        if is_shutting_down(current_app):
            status = "leaving"
        response = jsonify(
            status=status,
            parts={"model_server": model_server, "redis": redis, "disk": disk},
        )
        if status in {"unavailable", "leaving"}:
            response.status_code = 503
            response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS[503])
        return response

    def _probe_model_server(self) -> dict[str, Any]:
        budget = Budget(PROBE_SECONDS - _QUEUE_SECONDS)
        name = self.catalog.default_name()
        versions = available_versions(self.catalog, name, budget.left())
        return {"model": name, "versions": versions}

    def _probe_redis(self) -> dict[str, Any]:
        self.queue.ping(_QUEUE_SECONDS)
        return {}

    def _probe_disk(self) -> dict[str, Any]:
        self.queue.check_room()
        return {}


def _checked(probe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"status": "ok", **probe()}
    except KennelError as error:
        if error.visitor_message:
            logger.info("%s %s: %s", request_id(), error.code, error)
        return {"status": "unavailable", "code": error.code, "detail": error.public}
