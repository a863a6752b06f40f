"""Which web pages of other origins may use the API: CORS_ORIGINS; by default none.

Their scripts send a key in a header of their own. A browser's cookies never count for
them (no Access-Control-Allow-Credentials), so whoever is signed in here is not exposed.
What each header means: Fetch standard, "CORS protocol".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from flask import Flask, Response, request

from models.errors import InvalidRequestError, quoted
from service.protection.hosts import Origin, read_origin

VARIABLE: Final = "CORS_ORIGINS"
ANY_ORIGIN: Final = "*"
MAX_AGE_SECONDS: Final = 7200
"""As long as Chromium keeps the answer to a preflight at most."""

METHODS: Final = ("GET", "HEAD", "POST", "DELETE")
SENT_HEADERS: Final = (
    *("Authorization", "X-API-Key", "Content-Type", "Content-Encoding"),
    *("X-Request-ID", "X-Request-Timeout-Ms", "X-Rollout-Key", "Idempotency-Key"),
    *("Inference-Header-Content-Length", "If-None-Match", "X-Requested-With"),
    *("traceparent", "tracestate", "baggage"),
)
"""That a script may send, beside those that need no permission."""
READ_HEADERS: Final = (
    *("X-Request-ID", "traceparent", "Retry-After", "Location", "Link", "ETag"),
    *("X-Model-Name", "X-Model-Version", "X-Model-Label", "Server-Timing"),
    *("RateLimit", "RateLimit-Policy", "WWW-Authenticate", "Accept-Encoding"),
    *("Inference-Header-Content-Length", "Content-Disposition"),
)
"""That a script may read, beside those that need no permission."""

_ENTRY: Final = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?")


def read_cors_origins(env: Mapping[str, str]) -> tuple[str, ...]:
    """The entries of CORS_ORIGINS: origins as browsers write them, or ``*``.

    Raises:
        InvalidRequestError: one of them is something else, for example a bare host.
    """
    entries = [each.strip() for each in (env.get(VARIABLE) or "").split(",")]
    origins = tuple(each.lower() for each in entries if each)
    for origin in origins:
        if origin != ANY_ORIGIN and not (
            _ENTRY.fullmatch(origin) and read_origin(origin)
        ):
            message = (
                f"{VARIABLE}: {quoted(origin)} is not an origin: list them without "
                "path, as in https://app.example.com,http://localhost:3000, or * for all"
            )
            raise InvalidRequestError(message)
    return origins


@dataclass(frozen=True)
class Cors:
    """Lets pages of the listed *origins* use the API."""

    origins: frozenset[Origin] = frozenset()
    any_origin: bool = False

    @classmethod
    def of(cls, listed: Iterable[str]) -> Self:
        """Those of CORS_ORIGINS."""
        entries = {*listed}
        origins = frozenset(origin for each in entries if (origin := read_origin(each)))
        return cls(origins, ANY_ORIGIN in entries)

    @property
    def is_on(self) -> bool:
        """Whether there is such a page at all."""
        return self.any_origin or bool(self.origins)

    def allows(self, origin: str | None) -> bool:
        """Whether pages of *origin*, an Origin header's value, may use the API."""
        if not origin:
            return False
        return self.any_origin or read_origin(origin) in self.origins

    def headers(self, origin: str | None) -> dict[str, str]:
        """What an answer to a page of *origin* says beside `Vary: Origin`."""
        if origin is None or not self.allows(origin):
            return {}
        return {
            "Access-Control-Allow-Origin": ANY_ORIGIN if self.any_origin else origin,
            "Access-Control-Expose-Headers": ", ".join(READ_HEADERS),
        }

    def answer_preflight(self) -> Response | None:
        """The answer to a browser that asks before it sends; None for other requests.

        The request itself shows its key and is charged when it comes.
        """
        asks = "Access-Control-Request-Method" in request.headers
        if request.method != "OPTIONS" or not asks or not self._is_allowed():
            return None
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = ", ".join(METHODS)
        response.headers["Access-Control-Allow-Headers"] = ", ".join(SENT_HEADERS)
        response.headers["Access-Control-Max-Age"] = str(MAX_AGE_SECONDS)
        return response

    def add_headers(self, response: Response) -> Response:
        """*response*, which its page may read if it is one of those."""
        response.vary.add("Origin")
        response.headers.update(self.headers(request.headers.get("Origin")))
        return response

    def _is_allowed(self) -> bool:
        return self.allows(request.headers.get("Origin"))


def register_cors(app: Flask, cors: Cors) -> None:
    """Let *cors* answer preflights of *app*, before keys are asked for and rates charged."""
    if cors.is_on:
        app.before_request(cors.answer_preflight)
        app.after_request(cors.add_headers)
