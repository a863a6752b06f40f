"""gunicorn's threaded worker, which answers requests that it cannot parse as problem+json.

gunicorn's own refusals are HTML and quote the refused headers, in the log too, and one of those
may be a key. The proxy (deploy/nginx), not this worker, protects against slow clients.
"""

from __future__ import annotations

import socket
import struct
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final

from flask import Flask
from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]
from werkzeug.wsgi import ClosingIterator

from models.errors import KennelError
from service.http.errors import MalformedRequestError, SlowClientError
from service.http.problems import problem_headers, problem_json, raw_response
from service.server.load_shedding import load_shedding_of, sending_slots

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

UNREAD_SECONDS: Final = 2.0
"""Longest time that a thread spends on reading the rest of an unwanted body."""

_CHUNK_BYTES: Final = 64 * 1024

_PROBLEMS: Final[dict[type[Exception], tuple[int, str, str]]] = {
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
    errors.ParseException: (
        400,
        "bad_request",
        "this is not a valid HTTP/1.1 request: send it with a standard client",
    ),
}
"""Status, code and detail; the first class that fits counts."""

_INTERNAL: Final = (500, "internal", "something failed here; the log has the details")


class ProblemWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker with answers of its own.

    It answers broken requests, and under an overload those for which it has no thread.
    """

    _in_work = 0
    """Requests that threads have or will have; counted by the main thread alone."""

    _timeout = struct.pack("ll", 0, 0)

    def close_silent_after(self, seconds: float) -> None:
        """Close connections that send or take nothing for so long.

        gunicorn has no such timeout for threads: half a request, and an answer that the
        client does not read, would hold one for ever.
        """
        self._timeout = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))

    def enqueue_req(self, conn: Any) -> None:
        """Give the request that comes on *conn* to a thread."""
        self._in_work += 1
        if not conn.initialized:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                conn.sock.setsockopt(socket.SOL_SOCKET, option, self._timeout)
        super().enqueue_req(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Keep or close *conn*, whose request a thread has answered."""
        self._in_work -= 1
        super().finish_request(conn, fs)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Take the next request on a kept connection: refuse it, or give it to a thread."""
        if not self._is_refused(conn):
            super().on_client_socket_readable(conn, client)
            return
        self.keepalived_conns.remove(conn)
        conn.set_timeout()
        self.keepalived_conns.append(conn)

    def _is_refused(self, conn: Any) -> bool:
        if not self.alive or self._in_work < sending_slots(self.cfg.threads):
            return False
        try:
            return load_shedding_of(self.wsgi).refuse_waiting(conn.sock)
        except OSError:
            return False  # the thread that reads from the connection sees that it is broken

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that could not be parsed; its connection is closed then."""
        parts = (parts for kind, parts in _PROBLEMS.items() if isinstance(exc, kind))
        status, code, detail = next(parts, _INTERNAL)
        request_id = uuid.uuid4().hex
        host = addr[0] if addr else "-"
        # Not the exception's text: it may quote a header, and that may be a key.
        line = f"{request_id} {host}: {status}, {type(exc).__name__}"
        if status == 500:
            self.log.error(line, exc_info=exc)
        else:
            self.log.warning(line)
        with suppress(OSError):
            client.sendall(_problem(status, code, detail, request_id))


def _problem(status: int, code: str, detail: str, request_id: str) -> bytes:
    body = problem_json(status, code, detail, request_id)
    headers = [*problem_headers(body, request_id), ("Connection", "close")]
    return raw_response(status, headers, body)


def refuse_unread_coding(request: Any) -> None:
    """Refuse a body that is coded otherwise than chunked; gunicorn would not decode it.

    Raises:
        UnsupportedTransferCoding: gunicorn's *request* has such a body.
    """
    for name, value in request.headers:
        if name == "TRANSFER-ENCODING" and value.lower() != "chunked":
            raise errors.UnsupportedTransferCoding(value)


def register_request_body(app: Flask) -> None:
    """Make *app* read bodies to their end or fail, and drop what it leaves unread.

    A client that still sends a large photo when its connection is closed would see a
    reset connection instead of the answer; gunicorn takes 64 KiB and closes.
    """
    inner = app.wsgi_app

    def with_body(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or ""
        if not length and "HTTP_TRANSFER_ENCODING" not in environ:
            return inner(environ, start_response)
        size = int(length) if length.isdigit() else None
        body = _RequestBody(environ["wsgi.input"], size)
        environ["wsgi.input"] = body
        return ClosingIterator(inner(environ, start_response), body.drop_rest)

    app.wsgi_app = with_body  # type: ignore[method-assign]


class _RequestBody:
    """A body that fails where its connection breaks off, unlike gunicorn's own."""

    def __init__(self, stream: IO[bytes], length: int | None) -> None:
        self._stream = stream
        self._length = length
        self._missing = length or 0
        self._failed = False

    def read(self, size: int = -1) -> bytes:
        """At most *size* bytes; all that is left without one.

        Raises:
            SlowClientError: the client fell silent.
            MalformedRequestError: the body breaks off or is not valid HTTP.
        """
        try:
            data = self._stream.read(size)
        except BlockingIOError as error:
            message = "the body did not arrive in time: send it without pauses"
            raise self._failure(SlowClientError(message)) from error
        except errors.ParseException as error:
            message = "the body is not valid HTTP (chunks or trailers): send it anew"
            raise self._failure(MalformedRequestError(message)) from error
        except OSError as error:
            message = "the body broke off before its end: send it anew"
            raise self._failure(MalformedRequestError(message)) from error
        if self._length is not None:
            self._check_end(size, data, self._length)
        return data

    def drop_rest(self) -> None:
        """Read what the application left unread, for up to UNREAD_SECONDS."""
        deadline = time.monotonic() + UNREAD_SECONDS
        with suppress(KennelError):
            while not self._failed and time.monotonic() < deadline:
                if not self.read(_CHUNK_BYTES):
                    return

    def _check_end(self, size: int, data: bytes, length: int) -> None:
        wanted = self._missing if size < 0 else min(size, self._missing)
        self._missing -= len(data)
        if len(data) < wanted:
            message = (
                f"the body broke off: {self._missing:,} of {length:,} bytes are missing: "
                "send it anew"
            )
            raise self._failure(MalformedRequestError(message))

    def _failure(self, error: KennelError) -> KennelError:
        self._failed = True
        return error
