"""Load shedding: under an overload, POSTs are refused before Flask or even a thread sees them.

A refusal takes CPU time from requests that are answered. Through Flask, its hooks and a log
line it costs a fifth of a prediction, in WSGI middleware a tenth, and in the thread that
accepts connections a fiftieth. So that thread refuses the plainest requests on kept
connections: one whole POST of known length with nothing behind it. Refused by other threads
alone, three times the load of 32 clients was refused in 68 ms (p99 650), and a third fewer
requests were answered (measured). Other refused requests get the same message from the
middleware or, as a page in browsers, from the application.
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
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

from flask import Flask

from service.auth.origins import Cors
from service.http.concurrency_limit import REFUSED, too_many_requests
from service.http.errors import OverloadedError
from service.http.headers import choose_request_id
from service.http.problems import problem_headers, problem_json, raw_response
from service.telemetry.hooks import UNMATCHED
from service.telemetry.metrics import TrafficMetrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOG_SECONDS: Final = 1.0
"""Between two log lines about refusals: a line for each would cost more than the refusal."""

_STATUS: Final = HTTPStatus.SERVICE_UNAVAILABLE
_EXTENSION: Final = "kennel.load_shedding"

logger = logging.getLogger("kennel.access")


def register_load_shedding(
    app: Flask,
    queue_seconds: Callable[[], float],
    traffic: TrafficMetrics,
    cors: Cors,
) -> None:
    """Refuse in place of *app* the POSTs that the concurrency limit around it refuses.

    They should come again after *queue_seconds* and count in *traffic*; pages that *cors*
    lists may read the refusals.
    """
    shedding = LoadShedding(app, queue_seconds, traffic, cors)
    app.extensions[_EXTENSION] = shedding
    app.wsgi_app = shedding  # type: ignore[method-assign]


def load_shedding_of(app: Flask) -> LoadShedding:
    """What `register_load_shedding` gave *app*."""
    found: LoadShedding = app.extensions[_EXTENSION]
    return found


class LoadShedding:
    """WSGI middleware between the concurrency limit and Flask; thread-safe."""

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
