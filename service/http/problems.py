"""Errors as RFC 9457 problem+json; the one table of HTTP statuses.

Views raise errors; a client gets only an error's public message, no internals.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from flask import Flask, Response, json, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from models.errors import (
    ConflictError,
    InvalidImageError,
    InvalidRequestError,
    KennelError,
    ModelContractError,
    ModelTimeoutError,
    ModelUnavailableError,
    NotFoundError,
    QueueUnavailableError,
    StorageFullError,
    StorageUnavailableError,
)
from service.http.headers import REQUEST_ID_HEADER, request_id
from service.http.record import current_record

logger = logging.getLogger(__name__)

STATUSES: Final[dict[str | type[KennelError], int]] = {
    "bad_request": 400,
    "no_image": 400,
    "unknown_signature": 400,
    "method_not_allowed": 405,
    "unauthenticated": 401,
    "forbidden": 403,
    "misdirected_request": 421,
    "request_timeout": 408,
    "client_gone": 408,
    "too_large": 413,
    "too_many_images": 413,
    "too_many_pixels": 413,
    "unsupported_media_type": 415,
    "not_implemented": 501,
    "rate_limited": 429,
    InvalidImageError: 422,
    InvalidRequestError: 422,
    NotFoundError: 404,
    ConflictError: 409,
    ModelTimeoutError: 504,
    ModelUnavailableError: 503,
    ModelContractError: 502,
    QueueUnavailableError: 503,
    StorageUnavailableError: 503,
    StorageFullError: 507,
}
"""Statuses by code; else by class, the most specific first; else 500."""

RETRY_AFTER_SECONDS: Final = {503: 2, 504: 1}

_FOREIGN_PATHS: Final = ("/v1/models/", "/v2")
"""Paths of other protocols, whose clients read the text from a member ``error``."""

_LONGEST_PATH: Final = 255
_LONGEST_DETAIL: Final = 2_000
"""In characters; bounds the messages of parsers, which may quote much."""

_HTTP_CODES: Final = {413: "too_large", 500: "internal"}


def status_of(error: KennelError) -> int:
    """The HTTP status of the answer to *error*."""
    for key in (error.code, *type(error).__mro__):
        if key in STATUSES:
            return STATUSES[key]
    return 500


def register_problems(app: Flask) -> None:
    """Answer every error of *app* as problem+json."""
    app.register_error_handler(KennelError, _explained)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(OSError, _storage)
    app.register_error_handler(Exception, _unknown)


def problem_json(status: int, code: str, detail: str, request_id: str) -> bytes:
    """The body of a problem+json answer that is made without Flask."""
    return json.dumps(_members(status, code, detail, request_id)).encode()


def problem_headers(body: bytes, request_id: str) -> list[tuple[str, str]]:
    """The headers of a problem+json answer that is made without Flask."""
    return [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        (REQUEST_ID_HEADER, request_id),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ]


def raw_response(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """A response as it goes over a connection, for code that writes to one itself."""
    lines = (f"{name}: {value}" for name, value in headers)
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    return "\r\n".join((first, *lines, "", "")).encode() + body


def _explained(error: KennelError) -> Response:
    current_record().error = error
    status = status_of(error)
    if status == 500:
        return _unknown(error)
    headers = getattr(error, "headers", {})
    # Not with headers (Retry-After): an overload would write a line for each request.
    if status > 500 and not headers:
        logger.warning("%s %s: %s", request_id(), error.code, _bounded(str(error)))
    elif status < 500 and error.visitor_message:
        logger.info("%s %s: %s", request_id(), error.code, _bounded(str(error)))
    detail = _bounded(error.public)
    response = _problem(status, error.code, detail, getattr(error, "errors", None))
    response.headers.update(headers)
    return response


def _http(error: HTTPException) -> Response:
    given = error.get_response()
    status = error.code or given.status_code
    code = _HTTP_CODES.get(status) or error.name.lower().replace(" ", "_")
    response = _problem(status, code, _bounded(_detail(error, status)))
    for name in ("Allow", "WWW-Authenticate"):
        if name in given.headers:
            response.headers[name] = given.headers[name]
    return response


def _detail(error: HTTPException, status: int) -> str:
    if status == 404:
        path = request.path[:_LONGEST_PATH]
        return f"there is nothing at {path}: GET /v1/models is a start"
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        possible = ", ".join(sorted(error.valid_methods))
        path = request.path[:_LONGEST_PATH]
        return f"{request.method[:_LONGEST_PATH]} is not possible at {path}: use {possible}"
    if status == 413:
        limit = request.max_content_length
        return f"the request is above {limit:,} bytes or has too many parts: split it"
    return error.description or error.name


def _storage(error: OSError) -> Response:
    # Errors of files; those of connections have no errno, or one of these classes.
    if error.errno is None or isinstance(error, ConnectionError | TimeoutError):
        return _unknown(error)
    logger.error("%s cannot use the service's files: %s", request_id(), error)
    message = (
        f"the service's files cannot be used now ({os.strerror(error.errno)}): try "
        "again later, or tell the operator, whose log names the file"
    )
    return _explained(StorageUnavailableError(message))


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]}..."


def _unknown(error: Exception) -> Response:
    logger.error("%s failed", request_id(), exc_info=error)
    return _problem(500, "internal", "something failed here; the log has the details")


def _problem(
    status: int, code: str, detail: str, errors: list[dict[str, Any]] | None = None
) -> Response:
    current_record().code = code
    body = {
        **_members(status, code, detail, request_id()),
        "instance": quote(request.path[:_LONGEST_PATH]),
        **({"errors": errors} if errors else {}),
        **({"error": detail} if request.path.startswith(_FOREIGN_PATHS) else {}),
    }
    response = Response(json.dumps(body), status, mimetype="application/problem+json")
    if status in RETRY_AFTER_SECONDS:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS[status])
    return response


def _members(status: int, code: str, detail: str, request_id: str) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
