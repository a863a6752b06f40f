"""Load shedding: refuses requests under an overload before a thread or Flask sees them.

What a refusal costs is taken from those who are answered: through Flask it is a fifth of
a prediction, here a fiftieth. Only the plainest requests are refused here, one whole POST
of known length with nothing behind it; the rest meet the concurrency limit, which says the
same words.

Python gives its lock away around every call to a socket. A refusal made three such calls,
and beside three busy threads waited up to 51 ms to get the lock back (measured). The calls
here never block and are over in microseconds: with them it waited 0.1 ms at most, and took
10 instead of 50 us, since nothing is allocated for what is looked at.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import re
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Self

from flask import Flask
from gunicorn.http import errors  # type: ignore[import-untyped]

from service.auth.origins import Cors
from service.http.concurrency_limit import ConcurrencyLimit
from service.http.errors import OverloadedError, SlowClientError
from service.telemetry.hooks import UNMATCHED
from service.telemetry.metrics import TrafficMetrics

TELL_SECONDS: Final = 1.0
"""One log line for so many seconds of refusals: a line each would cost more than they."""

_EXTENSION: Final = "kennel.turn_away"

_log = logging.getLogger("kennel.access")


class TurnAway:
    """Refuses what waits at a connection while the gate is crowded; for one thread."""

    def __init__(
        self,
        app: Flask,
        gate: ConcurrencyLimit,
        traffic: TrafficMetrics,
        cors: Cors | None = None,
    ) -> None:
        """Refuse in place of *app*, whose *gate* it is, and count that in *traffic*.

        Pages that *cors* lists may read the refusal.
        """
        self._gate = gate
        self._cors = cors or Cors()
        self._traffic = traffic
        self._routes = {
            rule.rule for rule in app.url_map.iter_rules() if not rule.arguments
        }
        self._line = QuickLine()
        self._untold = 0
        self._told = 0.0

    def refuse(self, connection: socket.socket, under_way: int) -> bool:
        """Whether the request that waits at *connection* was answered.

        *under_way*: requests that threads have or will have before it.

        If so, the next one may come; if not, nothing was read or sent.

        Raises:
            OSError: the connection broke.
        """
        if not self._gate.is_crowded(under_way):
            return False
        waiting = WaitingRequest.read(self._line.peek(connection))
        if waiting is None:
            return False
        more = self._cors.headers(waiting.origin)
        refusal = render_overload(self._gate.refusal(), waiting.request_id, more)
        self._line.take(connection, waiting.size)
        self._line.send(connection, refusal.response)
        route = waiting.path if waiting.path in self._routes else UNMATCHED
        self._traffic.refused(waiting.method, route, refusal.status)
        self._untold += 1
        return True

    def has_left(self, connection: socket.socket) -> bool:
        """Whether the client of *connection* has closed it, and sent nothing more."""
        return self._line.is_at_end(connection)

    def tell(self) -> None:
        """Log how many were refused, if it is time."""
        now = time.monotonic()
        if self._untold and now - self._told >= TELL_SECONDS:
            _log.warning("%d requests were refused unread: overloaded", self._untold)
            self._untold, self._told = 0, now


def register_turn_away(
    app: Flask, gate: ConcurrencyLimit, traffic: TrafficMetrics, cors: Cors
) -> None:
    """Let the server of *app* refuse in its place; all routes have to be there."""
    app.extensions[_EXTENSION] = TurnAway(app, gate, traffic, cors)


def turn_away_of(app: Flask) -> TurnAway:
    """What `register_turn_away` gave *app*."""
    found: TurnAway = app.extensions[_EXTENSION]
    return found


_PARTS: Final[dict[type[Exception], tuple[int, str, str]]] = {
    errors.LimitRequestLine: (414, "uri_too_long", "the URL is too long: shorten it"),
    errors.LimitRequestHeaders: (
        431,
        "headers_too_large",
        "there are too many headers, or one is too long: send fewer",
    ),
    errors.UnsupportedTransferCoding: (
        501,
        "not_implemented",
        "this Transfer-Encoding is not read here: send chunked or a Content-Length",
    ),
    errors.ExpectationFailed: (
        417,
        "expectation_failed",
        "this Expect is not met here: send 100-continue or none",
    ),
    SlowClientError: (
        408,
        SlowClientError.code,
        "the request's headers did not arrive in time: send them at once",
    ),
    errors.ParseException: (
        400,
        "bad_request",
        "this is not a valid HTTP/1.1 request: send it with a well-kept client",
    ),
}
"""Status, code and detail; the first class that fits counts."""

_INTERNAL: Final = (500, "internal", "something failed here; the log has the details")


@dataclass(frozen=True)
class Refusal:
    """A problem as it goes over the line."""

    status: int
    request_id: str
    response: bytes


def render_refusal(error: Exception) -> Refusal:
    """The answer to a request that could not be read because of *error*.

    The connection has to be closed after it.
    """
    parts = (parts for kind, parts in _PARTS.items() if isinstance(error, kind))
    status, code, detail = next(parts, _INTERNAL)
    return _render(status, code, detail, uuid.uuid4().hex, ("Connection: close",))


def render_overload(
    error: OverloadedError, request_id: str | None, more: Mapping[str, str]
) -> Refusal:
    """The answer, with *more* headers, to a request that was not read for *error*.

    Another request may follow on the connection.
    """
    given = {**error.headers, **more}
    headers = tuple(f"{name}: {value}" for name, value in given.items())
    named = request_id or uuid.uuid4().hex
    return _render(503, error.code, str(error), named, headers)


def _render(
    status: int, code: str, detail: str, request_id: str, headers: tuple[str, ...]
) -> Refusal:
    title = HTTPStatus(status).phrase
    problem = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status} {title}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"X-Request-ID: {request_id}",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        *headers,
    )
    return Refusal(status, request_id, "\r\n".join((*head, "", "")).encode() + body)


_LONGEST_HEAD_BYTES: Final = 8 * 1024

_FIRST_LINE: Final = re.compile(rb"(POST) (/[!-~]{0,500}) HTTP/1\.1\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n")
_REQUEST_ID: Final = re.compile(
    rb"(?i)\r\nx-request-id:[ \t]*([\w.-]{1,128})[ \t]*\r\n"
)
_ORIGIN: Final = re.compile(rb"(?i)\r\norigin:[ \t]*([!-~]{1,300})[ \t]*\r\n")
_UNPLAIN: Final = (b"\r\ntransfer-encoding:", b"\r\nconnection:", b"\r\nexpect:")


@dataclass(frozen=True)
class WaitingRequest:
    """A whole request that has arrived and that nobody has read.

    Attributes:
        path: without the query.
        request_id: that its sender gave it.
        size: in bytes, head and body.
        origin: of the web page that sent it.
    """

    method: str
    path: str
    request_id: str | None
    size: int
    origin: str | None = None

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """The request that *data* is, if it is plain, whole and the only one."""
        end = data.find(b"\r\n\r\n", 0, _LONGEST_HEAD_BYTES)
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
        return cls(
            method=line[1].decode(),
            path=line[2].decode().partition("?")[0],
            request_id=_header(_REQUEST_ID, head),
            origin=_header(_ORIGIN, head),
            size=len(data),
        )


def _header(pattern: re.Pattern[bytes], head: bytes) -> str | None:
    found = pattern.search(head)
    return found[1].decode("latin-1") if found else None


LONGEST_BYTES: Final = 256 * 1024
"""As much as is looked at: a few photos. Larger ones rarely are in the kernel whole."""

_libc: Final = ctypes.PyDLL(None, use_errno=True)
_libc.recv.restype = _libc.send.restype = ctypes.c_ssize_t
_libc.recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)


class QuickLine:
    """Sees, takes and sends what one thread has to do with its connections."""

    def __init__(self) -> None:
        """Make room for what waits at a connection, once."""
        self._room = ctypes.create_string_buffer(LONGEST_BYTES)

    def peek(self, connection: socket.socket) -> bytes:
        """What waits at *connection* and stays there; empty at its end.

        Raises:
            OSError: nothing waits, or the connection broke.
        """
        count = self._receive(connection, LONGEST_BYTES, socket.MSG_PEEK)
        return ctypes.string_at(self._room, count)

    def is_at_end(self, connection: socket.socket) -> bool:
        """Whether who sent to *connection* has closed it, and nothing waits there."""
        try:
            return self._receive(connection, 1, socket.MSG_PEEK) == 0
        except OSError:
            return False

    def take(self, connection: socket.socket, count: int) -> None:
        """Take *count* bytes that wait at *connection* off the line.

        Raises:
            OSError: so many are not there.
        """
        while count > 0:
            taken = self._receive(connection, min(count, LONGEST_BYTES), 0)
            if taken == 0:
                raise ConnectionResetError
            count -= taken

    def send(self, connection: socket.socket, answer: bytes) -> None:
        """Send a short *answer*, whole.

        Raises:
            OSError: the line does not take it now, or the connection broke.
        """
        flags = socket.MSG_DONTWAIT
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
