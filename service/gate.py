"""Keeps threads of a process free, so that there is always one to say no.

A thread that waits for the model server or for a slow upload cannot refuse anybody.
So only some of the threads may be in such work; the rest refuse, before a body is read,
and answer the probes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from flask import Flask, request

from service.predictions.admission import OverloadedError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ALWAYS_ANSWERED: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that take no place: whoever watches must see an overload, not suffer it."""

_JOBS: Final = "/v1/jobs"
_CROWDED: Final = "kennel.crowded"


def register_gate(app: Flask, threads: int, queue_seconds: Callable[[], float]) -> None:
    """Keep a sixth of *threads* free of work, and a sixth for all but predictions.

    Refusals suggest to try again after *queue_seconds*.
    """

    def refuse_if_crowded() -> None:
        if _CROWDED in request.environ:
            message = "all threads for such requests are in work"
            raise OverloadedError(message, queue_seconds())

    app.wsgi_app = _Gate(app.wsgi_app, threads)  # type: ignore[method-assign]
    app.before_request(refuse_if_crowded)


class _Gate:
    """WSGI middleware: a request holds its place until its answer is made."""

    def __init__(self, application: WSGIApplication, threads: int) -> None:
        self._application = application
        self._predictions = threading.BoundedSemaphore(max(1, threads * 2 // 3))
        self._others = threading.BoundedSemaphore(max(1, threads // 6))

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path in ALWAYS_ANSWERED:
            return self._application(environ, start_response)
        predicts = environ["REQUEST_METHOD"] == "POST" and not path.startswith(_JOBS)
        places = self._predictions if predicts else self._others
        if not places.acquire(blocking=False):
            environ[_CROWDED] = True
            return self._application(environ, start_response)
        try:
            return self._application(environ, start_response)
        finally:
            places.release()
