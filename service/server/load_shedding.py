"""Load shedding: under an overload, POSTs are refused before Flask sees them.

A refusal takes CPU time from requests that are answered. Through Flask, its hooks and a log
line it costs a fifth of a prediction, here a tenth. Other methods that the concurrency limit
refuses get the same message from the application, as a page in browsers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from flask import Flask

from service.auth.origins import Cors
from service.http.concurrency_limit import REFUSED
from service.http.errors import OverloadedError
from service.http.headers import choose_request_id
from service.http.problems import problem_headers, problem_json
from service.telemetry.hooks import UNMATCHED
from service.telemetry.metrics import TrafficMetrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOG_SECONDS: Final = 1.0
"""Between two log lines about refusals: a line for each would cost more than the refusal."""

_STATUS: Final = HTTPStatus.SERVICE_UNAVAILABLE

logger = logging.getLogger("kennel.access")


def register_load_shedding(app: Flask, traffic: TrafficMetrics, cors: Cors) -> None:
    """Refuse in place of *app* the POSTs that the concurrency limit around it refuses.

    They count in *traffic*, and pages that *cors* lists may read the refusals.
    """
    app.wsgi_app = LoadShedding(app, traffic, cors)  # type: ignore[method-assign]


class LoadShedding:
    """WSGI middleware between the concurrency limit and Flask; thread-safe."""

    def __init__(self, app: Flask, traffic: TrafficMetrics, cors: Cors) -> None:
        """Refuse in place of *app*."""
        self._app = app
        self._application = app.wsgi_app
        self._traffic = traffic
        self._cors = cors
        self._counting = threading.Lock()
        self._unlogged = 0
        self._logged = 0.0

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Refuse the request, or let the application answer it."""
        refusal: OverloadedError | None = environ.get(REFUSED)
        if refusal is None or environ["REQUEST_METHOD"] != "POST":
            return self._application(environ, start_response)
        path = str(environ.get("PATH_INFO", ""))
        route = path if path in self._routes else UNMATCHED
        self._traffic.refused("POST", route, _STATUS)
        self._count()
        request_id = choose_request_id(environ.get("HTTP_X_REQUEST_ID"))
        body = problem_json(_STATUS, refusal.code, str(refusal), request_id)
        headers = [
            *problem_headers(body, request_id),
            *refusal.headers.items(),
            *self._cors.headers(environ.get("HTTP_ORIGIN")).items(),
        ]
        start_response(f"{_STATUS.value} {_STATUS.phrase}", headers)
        return [body]

    @cached_property
    def _routes(self) -> frozenset[str]:
        # At the first refusal: the application has all its routes by then.
        rules = self._app.url_map.iter_rules()
        return frozenset(each.rule for each in rules if not each.arguments)

    def _count(self) -> None:
        with self._counting:
            self._unlogged += 1
            now = time.monotonic()
            if now - self._logged < LOG_SECONDS:
                return
            count, self._unlogged, self._logged = self._unlogged, 0, now
        logger.warning(
            "overloaded: %d requests refused since the last such line", count
        )
