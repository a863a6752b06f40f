"""Load shedding: a process works on fewer requests than it has threads, and refuses the others.

A thread that waits for the model server or for a slow upload cannot refuse other requests. So
only some of the threads may do such work; the others refuse requests before reading their
bodies, and answer probes. All bodies in memory share one bound.

A refusal takes CPU time from requests that are answered. Through Flask, its hooks and a log
line it costs a fifth of a prediction, in WSGI middleware a tenth, and in the thread that
accepts connections a fiftieth. So that thread refuses the plainest requests on kept
connections: one whole POST of known length with nothing behind it. Refused by other threads
alone, three times the load of 32 clients was refused in 68 ms (p99 650), and a third fewer
requests were answered (measured). The middleware refuses the other POSTs with the same message,
and the application the remaining requests, in browsers with a page.

Here requests are counted, before anything is read. `service.predict.admission` sheds load too,
later: it counts images, and refuses those that would not be answered in time.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Final, Self

from flask import Flask, request

from service.auth.origins import Cors
from service.http.errors import OverloadedError
from service.http.headers import choose_request_id
from service.http.parameters import PROBE_PATHS, SAFE_METHODS
from service.http.problems import problem_headers, problem_json, raw_response
from service.http.threads import FifoSemaphore
from service.telemetry.hooks import UNMATCHED
from service.telemetry.metrics import TrafficMetrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEPT_ON_DISK: Final = ("/v1/jobs",)
"""Paths whose bodies, archives of photos, are written to the disk of the runs."""

SMALL_BYTES: Final = 1024 * 1024
"""Bytes of each body that do not count: small photos are never refused for their size,
and all threads together hold little of them."""

REFUSED: Final = "kennel.refused"
"""Key of a refused request's environ that holds its OverloadedError."""

LOG_SECONDS: Final = 1.0
"""Between two log lines about refusals: a line for each would cost more than the refusal."""

_STATUS: Final = HTTPStatus.SERVICE_UNAVAILABLE
_EXTENSION: Final = "kennel.load_shedding"

logger = logging.getLogger("kennel.access")


def register_load_shedding(
    app: Flask,
    threads: int,
    max_body_bytes: int,
    queue_seconds: Callable[[], float],
    traffic: TrafficMetrics,
    cors: Cors,
) -> None:
    """Let *app* work on fewer requests at a time than it has *threads*, and refuse the others.

    A tenth of the threads stays free. Requests that send something (images, say) leave
    another tenth to those that only read, and have at most *max_body_bytes* in memory
    together. Refused clients should try again after *queue_seconds*; refusals count in
    *traffic*, and pages that *cors* lists may read them.
    """
    shedding = LoadShedding(app, queue_seconds, traffic, cors)
    app.extensions[_EXTENSION] = shedding
    app.wsgi_app = ConcurrencyLimit(  # type: ignore[method-assign]
        shedding, threads, queue_seconds, max_body_bytes
    )
    app.before_request(_refuse_if_overloaded)


def load_shedding_of(app: Flask) -> LoadShedding:
    """What `register_load_shedding` gave *app*."""
    found: LoadShedding = app.extensions[_EXTENSION]
    return found


def sending_slots(threads: int) -> int:
    """How many requests that send something a process with *threads* works on at a time."""
    return max(1, threads * 8 // 10)


def too_many_requests(queue_seconds: float) -> OverloadedError:
    """Why a request is refused; its client should try again after *queue_seconds*."""
    message = "this process works on as many requests as it has threads for"
    return OverloadedError(message, queue_seconds)


class ConcurrencyLimit:
    """WSGI middleware that notes which requests are refused, under the key REFUSED.

    A request that is not holds its slots until its answer is made.
    """

    def __init__(
        self,
        application: WSGIApplication,
        threads: int,
        queue_seconds: Callable[[], float],
        max_body_bytes: int,
    ) -> None:
        """Let *application* work on fewer requests than there are *threads*.

        Their bodies may have *max_body_bytes* together, without SMALL_BYTES of each.
        """
        self._application = application
        self._queue_seconds = queue_seconds
        self._all = FifoSemaphore(max(1, threads * 9 // 10))
        self._sending = FifoSemaphore(sending_slots(threads))
        self._bodies = _BytesInMemory(max_body_bytes)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Have the request answered, or refused."""
        # Monitoring must see an overload, not suffer it.
        if environ.get("PATH_INFO") in PROBE_PATHS:
            return self._application(environ, start_response)
        sends = environ["REQUEST_METHOD"] not in SAFE_METHODS
        with ExitStack() as held:
            if not self._take_slots(held, sends=sends):
                held.close()
                environ[REFUSED] = too_many_requests(self._queue_seconds())
            elif sends and not _is_kept_on_disk(environ):
                self._count_body(environ, held)
            return self._application(environ, start_response)

    def _take_slots(self, held: ExitStack, *, sends: bool) -> bool:
        semaphores = (self._all, self._sending) if sends else (self._all,)
        for semaphore in semaphores:
            if not semaphore.acquire():
                return False
            held.callback(semaphore.release)
        return True

    def _count_body(self, environ: WSGIEnvironment, held: ExitStack) -> None:
        body = _CountedBody(environ["wsgi.input"], self._bodies, self._queue_seconds)
        held.callback(body.forget)
        environ["wsgi.input"] = body
        length = environ.get("CONTENT_LENGTH") or "0"
        if length.isdigit() and not self._bodies.have_room(int(length) - SMALL_BYTES):
            environ[REFUSED] = body.refusal()


def _is_kept_on_disk(environ: WSGIEnvironment) -> bool:
    return str(environ.get("PATH_INFO", "")).startswith(KEPT_ON_DISK)


class _BytesInMemory:
    """A bound on the bytes that all bodies have in memory together; thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._lock = threading.Lock()

    def have_room(self, count: int) -> bool:
        """Whether *count* could be held now: one body alone always can."""
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
    """A body whose bytes count as they come, not when a header announces them."""

    def __init__(
        self,
        stream: IO[bytes],
        together: _BytesInMemory,
        queue_seconds: Callable[[], float],
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
        """Stop counting the body: its request is over."""
        self._together.give_back(self._counted)
        self._counted = 0

    def refusal(self) -> OverloadedError:
        """Why the body is refused, and when its client should try again."""
        mebibytes = self._together.limit // 1024**2
        message = f"the requests in work have {mebibytes} MiB of images, the limit here"
        return OverloadedError(message, self._queue_seconds())


def _refuse_if_overloaded() -> None:
    if REFUSED in request.environ:
        raise request.environ[REFUSED]


class LoadShedding:
    """Refuses for the accepting thread, and as WSGI middleware behind the limit; thread-safe."""

    def __init__(
        self,
        app: Flask,
        queue_seconds: Callable[[], float],
        traffic: TrafficMetrics,
        cors: Cors,
    ) -> None:
        """Refuse in place of *app*."""
        self._app = app
        self._application = app.wsgi_app
        self._queue_seconds = queue_seconds
        self._traffic = traffic
        self._cors = cors
        self._counting = threading.Lock()
        self._unlogged = 0
        self._logged = 0.0
        self._waiting = WaitingBytes()

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Refuse the request, or have the application answer it."""
        error: OverloadedError | None = environ.get(REFUSED)
        if error is None or environ["REQUEST_METHOD"] != "POST":
            return self._application(environ, start_response)
        sent = SentRequest(
            path=str(environ.get("PATH_INFO", "")),
            request_id=environ.get("HTTP_X_REQUEST_ID"),
            origin=environ.get("HTTP_ORIGIN"),
        )
        headers, body = self._refuse(error, sent)
        start_response(f"{_STATUS.value} {_STATUS.phrase}", headers)
        return [body]

    def refuse_waiting(self, connection: socket.socket) -> bool:
        """Whether the request that waits at *connection* was refused; for one thread.

        If so, the next one may come; if not, nothing was read or sent.

        Raises:
            OSError: the connection broke.
        """
        sent = SentRequest.parse(self._waiting.peek(connection))
        if sent is None:
            return False
        self._waiting.take(connection, sent.size)
        error = too_many_requests(self._queue_seconds())
        answer = raw_response(_STATUS, *self._refuse(error, sent))
        try:
            self._waiting.send(connection, answer)
        except OSError:
            # The client takes no answers: the next read finds the connection closed.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return True

    def _refuse(
        self, error: OverloadedError, sent: SentRequest
    ) -> tuple[list[tuple[str, str]], bytes]:
        route = sent.path if sent.path in self._routes else UNMATCHED
        self._traffic.refused("POST", route, _STATUS)
        self._count()
        request_id = choose_request_id(sent.request_id)
        body = problem_json(_STATUS, error.code, str(error), request_id)
        headers = [
            *problem_headers(body, request_id),
            *error.headers.items(),
            *self._cors.headers(sent.origin).items(),
        ]
        return headers, body

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


_MAX_HEAD_BYTES: Final = 8 * 1024

_FIRST_LINE: Final = re.compile(rb"POST (/[!-~]{0,500}) HTTP/1\.1\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n")
_ID: Final = re.compile(rb"(?i)\r\nx-request-id:[ \t]*([\w.-]{1,128})[ \t]*\r\n")
_ORIGIN: Final = re.compile(rb"(?i)\r\norigin:[ \t]*([!-~]{1,300})[ \t]*\r\n")
_UNPLAIN: Final = (b"\r\ntransfer-encoding:", b"\r\nconnection:", b"\r\nexpect:")


@dataclass(frozen=True)
class SentRequest:
    """A POST that is refused.

    Attributes:
        path: without the query.
        request_id: that its sender gave it.
        origin: of the web page that sent it.
        size: in bytes, head and body, of one that `parse` found.
    """

    path: str
    request_id: str | None
    origin: str | None
    size: int = 0

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """The request that *data* is, if it is plain, whole and the only one."""
        end = data.find(b"\r\n\r\n", 0, _MAX_HEAD_BYTES)
        line = _FIRST_LINE.match(data)
        if end < 0 or line is None:
            return None
        head = data[: end + 2]
        lower = head.lower()
        lengths = _LENGTH.findall(lower)
        if (
            len(lengths) != 1
            or lower.count(b"\r\ncontent-length") != 1
            or any(name in lower for name in _UNPLAIN)
            or len(data) != end + 4 + int(lengths[0])
        ):
            return None
        path = line[1].decode().partition("?")[0]
        return cls(path, _header(_ID, head), _header(_ORIGIN, head), len(data))


def _header(pattern: re.Pattern[bytes], head: bytes) -> str | None:
    found = pattern.search(head)
    return found[1].decode("latin-1") if found else None


_MAX_PEEK_BYTES: Final = 256 * 1024
"""A few photos. Larger requests rarely are in the kernel whole."""

_libc: Final = ctypes.PyDLL(None, use_errno=True)
_libc.recv.restype = _libc.send.restype = ctypes.c_ssize_t
_libc.recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)


class WaitingBytes:
    """Bytes that wait at connections, looked at and taken by one thread.

    Python releases its global lock around every call to a socket, and beside three busy
    threads a refusal waited up to 51 ms to get it back (measured). The calls here keep it:
    they never block and are over in microseconds; 0.1 ms was the longest wait.
    """

    def __init__(self) -> None:
        """Make room for what waits at a connection, once."""
        self._room = ctypes.create_string_buffer(_MAX_PEEK_BYTES)

    def peek(self, connection: socket.socket) -> bytes:
        """What waits at *connection* and stays there; empty at its end.

        Raises:
            OSError: nothing waits, or the connection broke.
        """
        count = self._receive(connection, _MAX_PEEK_BYTES, socket.MSG_PEEK)
        return ctypes.string_at(self._room, count)

    def take(self, connection: socket.socket, count: int) -> None:
        """Take *count* bytes that wait at *connection* off it.

        Raises:
            OSError: so many are not there.
        """
        while count > 0:
            taken = self._receive(connection, min(count, _MAX_PEEK_BYTES), 0)
            if taken == 0:
                raise ConnectionResetError
            count -= taken

    def send(self, connection: socket.socket, answer: bytes) -> None:
        """Send a short *answer*, whole.

        Raises:
            OSError: the connection does not take it now, or broke.
        """
        flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
        sent = _checked(_libc.send(connection.fileno(), answer, len(answer), flags))
        if sent < len(answer):
            raise BlockingIOError

    def _receive(self, connection: socket.socket, most: int, flags: int) -> int:
        flags |= socket.MSG_DONTWAIT
        return _checked(_libc.recv(connection.fileno(), self._room, most, flags))


def _checked(count: int) -> int:
    if count < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return count
