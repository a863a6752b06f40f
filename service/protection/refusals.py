"""What is answered to bytes that never become a request: problem+json, written by hand."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from gunicorn.http import errors  # type: ignore[import-untyped]

from service.predictions.admission import OverloadedError
from service.protection.errors import SlowClientError

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
