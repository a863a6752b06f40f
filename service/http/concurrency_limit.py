"""The concurrency limit of a process: fewer requests at a time than it has threads.

A thread that waits for the model server or for a slow upload cannot refuse anybody.
So only some of the threads may be in such work; the rest refuse, before a body is read,
and answer the probes. The bodies that are in memory at a time are bounded together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Final

from flask import Flask, request

from service.auth.access import SAFE_METHODS
from service.predict.admission import OverloadedError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


ALWAYS_ANSWERED: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that take no place: whoever watches must see an overload, not suffer it."""

KEPT_ON_DISK: Final = ("/v1/jobs",)
"""Paths whose bodies, archives of photos, are written to the disk of the runs."""

SMALL_BYTES: Final = 1024 * 1024
"""Of each body so much does not count: small photos are never refused for their size,
and all threads together hold little of them."""

_CROWDED: Final = "kennel.crowded"


def register_concurrency_limit(
    app: Flask, threads: int, queue_seconds: Callable[[], float], max_body_bytes: int
) -> ConcurrencyLimit:
    """Let *app* work on fewer requests at a time than it has *threads*.

    A tenth stays free. Requests that send something (images, say) leave another tenth to
    those that only read, and have at most *max_body_bytes* in memory together. Who is
    refused should try again after *queue_seconds*.
    """
    gate = ConcurrencyLimit(app.wsgi_app, threads, queue_seconds, max_body_bytes)

    def refuse_if_crowded() -> None:
        if _CROWDED in request.environ:
            raise request.environ[_CROWDED]

    app.wsgi_app = gate  # type: ignore[method-assign]
    app.before_request(refuse_if_crowded)
    return gate


class ConcurrencyLimit:
    """WSGI middleware: a request holds its places until its answer is made."""

    def __init__(
        self,
        application: WSGIApplication,
        threads: int,
        queue_seconds: Callable[[], float],
        max_body_bytes: int,
    ) -> None:
        """Let *application* work on fewer requests than there are *threads*.

        Their bodies may have *max_body_bytes* together, beside what is small.
        """
        self._application = application
        self._queue_seconds = queue_seconds
        self._all = _Slots(threads * 9 // 10)
        self._sending = _Slots(threads * 8 // 10)
        self._bodies = _Bytes(max_body_bytes)

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
                environ[_CROWDED] = self.refusal()
            elif self._sending in places and not _is_kept_on_disk(environ):
                self._count_body(environ, held)
            return self._application(environ, start_response)

    def _count_body(self, environ: WSGIEnvironment, held: ExitStack) -> None:
        body = _CountedBody(environ["wsgi.input"], self._bodies, self._queue_seconds)
        held.callback(body.forget)
        environ["wsgi.input"] = body
        length = environ.get("CONTENT_LENGTH") or "0"
        if length.isdigit() and not self._bodies.have_room(int(length) - SMALL_BYTES):
            environ[_CROWDED] = body.refusal()


def _is_kept_on_disk(environ: WSGIEnvironment) -> bool:
    return str(environ.get("PATH_INFO", "")).startswith(KEPT_ON_DISK)


class _Bytes:
    """A number of bytes that may be held at a time; thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._lock = threading.Lock()

    def have_room(self, count: int) -> bool:
        """Whether *count* could be held now: one alone always can."""
        return count <= 0 or self._held == 0 or self._held + count <= self.limit

    def take(self, count: int) -> bool:
        """Whether *count* more are held from now on."""
        with self._lock:
            if self._held + count > self.limit:
                return False
            self._held += count
            return True

    def give_back(self, count: int) -> None:
        """Hold *count* fewer."""
        with self._lock:
            self._held -= count


class _CountedBody:
    """A body whose bytes count as they come: who only announces many takes no room."""

    def __init__(
        self, stream: IO[bytes], together: _Bytes, queue_seconds: Callable[[], float]
    ) -> None:
        self._stream = stream
        self._together = together
        self._queue_seconds = queue_seconds
        self._small_left = SMALL_BYTES
        self._counted = 0

    def read(self, size: int = -1) -> bytes:
        """At most *size* bytes; all that is left without one.

        Raises:
            OverloadedError: these and those of other requests are too many.
        """
        data = self._stream.read(size)
        counting = max(0, len(data) - self._small_left)
        self._small_left = max(0, self._small_left - len(data))
        if counting:
            if not self._together.take(counting):
                raise self.refusal()
            self._counted += counting
        return data

    def forget(self) -> None:
        """The request is over: its body is not in memory any more."""
        self._together.give_back(self._counted)
        self._counted = 0

    def refusal(self) -> OverloadedError:
        """Why it is refused, and when it should come back."""
        mebibytes = self._together.limit // 1024**2
        message = f"the requests in work have {mebibytes} MiB of images, the limit here"
        return OverloadedError(message, self._queue_seconds())


class _Slots:
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
