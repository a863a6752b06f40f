"""Headers that every answer carries, and the request's id."""

from __future__ import annotations

import re
import uuid
from typing import Final

from flask import Flask, Response, g, request

REQUEST_ID_HEADER: Final = "X-Request-ID"

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


def register_headers(app: Flask) -> None:
    """Give every answer of *app* its headers, and close what its request spooled."""
    app.after_request(_add_headers)
    app.teardown_request(_close_files)


def request_id() -> str:
    """The id of the request in work: the client's own, or a new one."""
    if "request_id" not in g:
        given = request.headers.get(REQUEST_ID_HEADER, "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return str(g.request_id)


def _add_headers(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = request_id()
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _close_files(_: BaseException | None) -> None:
    request.close()
