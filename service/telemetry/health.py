"""GET /livez and /readyz: is this process up, and can it answer predictions.

Redis or a full disk do not make an API unready: predictions go on while no job can be
taken in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, Response, current_app, jsonify

from models.errors import KennelError
from service.http.budget import Budget
from service.http.headers import request_id
from service.http.problems import RETRY_AFTER_SECONDS
from service.http.shutdown import is_shutting_down
from service.predict.catalog import PROBE_SECONDS, Catalog, available_versions
from worker.queue import JobQueue

logger = logging.getLogger(__name__)

_QUEUE_SECONDS: Final = 0.5
"""The queue's share of a probe: readiness depends on the model server."""


@dataclass(frozen=True)
class HealthViews:
    """The routes of both probes, and what they check."""

    catalog: Catalog
    queue: JobQueue

    def blueprint(self) -> Blueprint:
        """The two routes."""
        routes = Blueprint("health", __name__)
        routes.add_url_rule("/livez", view_func=self.alive)
        routes.add_url_rule("/readyz", view_func=self.ready)
        return routes

    def alive(self) -> Response:
        """The process answers."""
        return jsonify(status="alive")

    def ready(self) -> Response:
        """The default model can be asked; 503 with the reason if it cannot.

        Also 503 once shutdown has begun, so that proxies send no more.
        """
        model_server = _part(self._probe_model_server)
        redis = _part(self._probe_redis)
        disk = _part(self._probe_disk)
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


def _part(probe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"status": "ok", **probe()}
    except KennelError as error:
        if error.visitor_message:
            logger.info("%s %s: %s", request_id(), error.code, error)
        return {"status": "unavailable", "code": error.code, "detail": error.public}
