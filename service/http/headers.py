"""Headers that every answer carries: the request's id, and the rules for browsers.

The rules: no content from other origins, no referrer to them, no frames.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, Response, g, request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_ID_HEADER: Final = "X-Request-ID"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: it makes browsers send forms with "Origin: null".
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_STRICT_TRANSPORT_SECURITY: Final = ("Strict-Transport-Security", "max-age=31536000")


def register_headers(app: Flask) -> None:
    """Give every answer of *app* a request id, and close the files of its request."""
    app.after_request(_add_headers)
    app.teardown_request(_close_files)


def request_id() -> str:
    """The id of the request in work: the client's own, or a new one."""
    if "request_id" not in g:
        g.request_id = choose_request_id(request.headers.get(REQUEST_ID_HEADER))
    return str(g.request_id)


def choose_request_id(sent: str | None) -> str:
    """The id that the client *sent*, if it can be used; else a new one."""
    return sent if sent and _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


def _add_headers(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = request_id()
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _close_files(_: BaseException | None) -> None:
    request.close()


def register_browser_headers(app: Flask) -> None:
    """Give every answer of *app* the headers for browsers that its view has not set."""
    # Outside Flask, whose headers search all names for each new one: 45 us an answer.
    app.wsgi_app = _BrowserHeaders(app.wsgi_app)  # type: ignore[method-assign]


class _BrowserHeaders:
    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        def start(
            status: str, headers: list[tuple[str, str]], *error: Any
        ) -> Callable[[bytes], object]:
            own = {name for name, _ in headers}
            headers += [each for each in _HEADERS.items() if each[0] not in own]
            if environ["wsgi.url_scheme"] == "https":
                headers.append(_STRICT_TRANSPORT_SECURITY)
            return start_response(status, headers, *error)

        return self._application(environ, start)
