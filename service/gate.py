"""Keeps threads of a process free, so that there is always one to say no.

A thread that waits for the model server or for a slow upload cannot refuse anybody.
So only some of the threads may be in such work; the rest refuse, before a body is read,
and answer the probes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from flask import Flask, request

from service.predictions.admission import OverloadedError
from service.protection.access import SAFE_METHODS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ALWAYS_ANSWERED: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that take no place: whoever watches must see an overload, not suffer it."""

_CROWDED: Final = "kennel.crowded"


def register_gate(app: Flask, threads: int, queue_seconds: Callable[[], float]) -> Gate:
    """Let *app* work on fewer requests at a time than it has *threads*.

    A tenth stays free. Requests that send something (images, say) leave another tenth to
    those that only read. Who is refused should try again after *queue_seconds*.
    """
    gate = Gate(app.wsgi_app, threads, queue_seconds)

    def refuse_if_crowded() -> None:
        if _CROWDED in request.environ:
            raise gate.refusal()

    app.wsgi_app = gate  # type: ignore[method-assign]
    app.before_request(refuse_if_crowded)
    return gate


class Gate:
    """WSGI middleware: a request holds its places until its answer is made."""

    def __init__(
        self,
        application: WSGIApplication,
        threads: int,
        queue_seconds: Callable[[], float],
    ) -> None:
        """Let *application* work on fewer requests than there are *threads*."""
        self._application = application
        self._queue_seconds = queue_seconds
        self._all = _Places(threads * 9 // 10)
        self._sending = _Places(threads * 8 // 10)

    def is_crowded(self, under_way: int) -> bool:
        """Whether a request that sends something would be refused.

        *under_way*: requests that threads have, or will have before it. Those that only
        just came have taken no place yet; without them a burst would be let in whole.
        """
        if under_way >= self._sending.count:
            return True
        return self._sending.all_taken() or self._all.all_taken()

    def refusal(self) -> OverloadedError:
        """Why a request is refused, and when it should come back."""
        message = "this process works on as many requests as it has threads for"
        return OverloadedError(message, self._queue_seconds())

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer the request, or have it refused."""
        if environ.get("PATH_INFO") in ALWAYS_ANSWERED:
            return self._application(environ, start_response)
        with ExitStack() as held:
            places = [self._all]
            if environ["REQUEST_METHOD"] not in SAFE_METHODS:
                places.append(self._sending)
            if not all(each.take(held) for each in places):
                held.close()
                environ[_CROWDED] = True
            return self._application(environ, start_response)


class _Places:
    """A number of places, at least one."""

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self._free = threading.BoundedSemaphore(self.count)

    def take(self, held: ExitStack) -> bool:
        """Whether there is one; it is free again when *held* closes."""
        taken = self._free.acquire(blocking=False)
        if taken:
            held.callback(self._free.release)
        return taken

    def all_taken(self) -> bool:
        with ExitStack() as held:
            return not self.take(held)
