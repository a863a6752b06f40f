"""Hosts and origins: the host names of the API, and the web pages that may use it.

A request must name one of this service's own hosts: loopback, HOST or ALLOWED_HOSTS.
Otherwise a web page could point its own name at this machine (DNS rebinding) and would count
as one of our own pages. A request that changes something must not come from another site's
page, as far as the browser's headers say. Programs do not send these headers and are let
through, unless they send a session cookie. All of this holds with API keys and without.

CORS_ORIGINS lists the other origins whose pages may use the API; by default none. Their
scripts send a key in a header. A browser's cookies never count for them (no
Access-Control-Allow-Credentials), so people who are signed in here are not exposed. What each
header means: Fetch standard, "CORS protocol".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self, TypeAlias
from urllib.parse import urlsplit

from flask import Flask, Response, request

from models.errors import InvalidRequestError, quoted
from service.auth.keys import KEY_HEADER
from service.http.errors import ForbiddenError, MisdirectedError
from service.http.parameters import PROBE_PATHS, SAFE_METHODS

HOSTS_VARIABLE: Final = "ALLOWED_HOSTS"
ANY_HOST: Final = "*"

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,254})(?::\d{0,5})?")
_HOST_ENTRY: Final = re.compile(
    r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]*:[0-9a-f:.]+"
)

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

WebOrigin: TypeAlias = tuple[str, str, int | None]
"""Scheme, host and port, as they are compared."""

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

CORS_VARIABLE: Final = "CORS_ORIGINS"
ANY_ORIGIN: Final = "*"
MAX_AGE_SECONDS: Final = 7200
"""How long browsers keep the answer to a preflight; Chromium keeps none longer."""

METHODS: Final = ("GET", "HEAD", "POST", "DELETE")
SENT_HEADERS: Final = (
    *("Authorization", KEY_HEADER, "Content-Type", "Content-Encoding"),
    *("X-Request-ID", "X-Request-Timeout-Ms", "X-Rollout-Key", "Idempotency-Key"),
    *("Inference-Header-Content-Length", "If-None-Match", "X-Requested-With"),
    *("traceparent", "tracestate", "baggage"),
)
"""Headers that a script may send, beside those that need no permission."""

READ_HEADERS: Final = (
    *("X-Request-ID", "traceparent", "Retry-After", "Location", "Link", "ETag"),
    *("X-Model-Name", "X-Model-Version", "X-Model-Label", "Server-Timing"),
    *("RateLimit", "RateLimit-Policy", "WWW-Authenticate", "Accept-Encoding"),
    *("Inference-Header-Content-Length", "Content-Disposition"),
)
"""Headers that a script may read, beside those that need no permission."""

_ORIGIN_ENTRY: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?"
)
_UNDER_ANY_HOST: Final = PROBE_PATHS | {"/v2/health/live", "/v2/health/ready"}
"""Paths that probes request by address; they change nothing and show no data."""


def read_allowed_hosts(env: Mapping[str, str]) -> tuple[str, ...]:
    """The entries of ALLOWED_HOSTS: names, addresses, ``.example.com``, or ``*``.

    Raises:
        InvalidRequestError: one of them is something else, for example a URL.
    """
    entries = [each.strip() for each in (env.get(HOSTS_VARIABLE) or "").split(",")]
    hosts = tuple(_bare(each) for each in entries if each)
    for host in hosts:
        if not _HOST_ENTRY.fullmatch(host) or (":" in host and _address(host) is None):
            message = (
                f"{HOSTS_VARIABLE}: {quoted(host)} is not a host: list names or "
                "addresses without scheme and port, as in kennel.example.com,10.0.0.7"
            )
            raise InvalidRequestError(message)
    return hosts


@dataclass(frozen=True)
class AllowedHosts:
    """The hosts by which a service may be called, on any port.

    Attributes:
        names: names and addresses; one that begins with a dot allows its subdomains.
        any_address: any IP address is allowed as well.
        any_host: whatever is sent is allowed.
    """

    names: frozenset[str]
    any_address: bool = False
    any_host: bool = False

    @classmethod
    def of(cls, bind_host: str, listed: Iterable[str] = ()) -> Self:
        """Loopback, *bind_host* (HOST) and those that are *listed* (ALLOWED_HOSTS).

        A service that listens on all addresses may be called by any of them.
        """
        names = {canonical(each) for each in (bind_host, *listed)}
        address = _address(_bare(bind_host))
        return cls(
            names=frozenset({*_LOOPBACK, *names}),
            any_address=address is not None and address.is_unspecified,
            any_host=ANY_HOST in names,
        )

    def allows(self, host: str) -> bool:
        """Whether *host*, the value of a Host header, is allowed."""
        if self.any_host:
            return True
        matched = _HOST.fullmatch(host.lower())
        if matched is None:
            return False
        name = _bare(matched[1])
        if name in self.names:
            return True
        address = _address(name)
        if address is None:
            suffixes = (name[dot:] for dot, each in enumerate(name) if each == ".")
            return not self.names.isdisjoint(suffixes)
        return self.any_address or address.is_loopback or str(address) in self.names


def is_loopback(bind_host: str) -> bool:
    """Whether only this machine reaches a service that listens at *bind_host*."""
    address = _address(_bare(bind_host))
    return bind_host == "localhost" if address is None else address.is_loopback


def web_origin(url: str) -> WebOrigin | None:
    """The origin of *url*, a URL or an origin itself; None if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    host = canonical(parts.hostname)
    return parts.scheme, host, port or _DEFAULT_PORTS.get(parts.scheme)


def canonical(host: str) -> str:
    """*host*, a name or address without a port, in the form in which hosts are compared."""
    bare = _bare(host)
    address = _address(bare)
    return bare if address is None else str(address)


def _bare(host: str) -> str:
    return host.lower().strip("[]").removesuffix(".")


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def read_cors_origins(env: Mapping[str, str]) -> tuple[str, ...]:
    """The entries of CORS_ORIGINS: origins as browsers write them, or ``*``.

    Raises:
        InvalidRequestError: one of them is something else, for example a bare host.
    """
    entries = [each.strip() for each in (env.get(CORS_VARIABLE) or "").split(",")]
    origins = tuple(each.lower() for each in entries if each)
    for origin in origins:
        if origin != ANY_ORIGIN and not (
            _ORIGIN_ENTRY.fullmatch(origin) and web_origin(origin)
        ):
            message = (
                f"{CORS_VARIABLE}: {quoted(origin)} is not an origin: list them without "
                "path, as in https://app.example.com,http://localhost:3000, or * for all"
            )
            raise InvalidRequestError(message)
    return origins


@dataclass(frozen=True)
class Cors:
    """Lets pages of the listed *origins* use the API."""

    origins: frozenset[WebOrigin] = frozenset()
    any_origin: bool = False

    @classmethod
    def of(cls, listed: Iterable[str]) -> Self:
        """The origins that are *listed* in CORS_ORIGINS."""
        entries = {*listed}
        origins = frozenset(origin for each in entries if (origin := web_origin(each)))
        return cls(origins, ANY_ORIGIN in entries)

    @property
    def is_on(self) -> bool:
        """Whether any other origin is listed."""
        return self.any_origin or bool(self.origins)

    def allows(self, origin: str | None) -> bool:
        """Whether pages of *origin*, an Origin header's value, may use the API."""
        if not origin:
            return False
        return self.any_origin or web_origin(origin) in self.origins

    def headers(self, origin: str | None) -> dict[str, str]:
        """The CORS headers of an answer to a page of *origin*."""
        if origin is None or not self.allows(origin):
            return {}
        return {
            "Access-Control-Allow-Origin": ANY_ORIGIN if self.any_origin else origin,
            "Access-Control-Expose-Headers": ", ".join(READ_HEADERS),
        }

    def answer_preflight(self) -> Response | None:
        """The answer to a CORS preflight; None for other requests.

        The actual request is authenticated and charged when it arrives.
        """
        if request.method != "OPTIONS":
            return None
        if "Access-Control-Request-Method" not in request.headers:
            return None
        if not self.allows(request.headers.get("Origin")):
            return None
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = ", ".join(METHODS)
        response.headers["Access-Control-Allow-Headers"] = ", ".join(SENT_HEADERS)
        response.headers["Access-Control-Max-Age"] = str(MAX_AGE_SECONDS)
        return response

    def add_headers(self, response: Response) -> Response:
        """*response* with the CORS headers for the page that sent the request."""
        response.vary.add("Origin")
        response.headers.update(self.headers(request.headers.get("Origin")))
        return response


def register_cors(app: Flask, cors: Cors) -> None:
    """Let *cors* answer preflights of *app*, before keys are checked and rates charged."""
    if cors.is_on:
        app.before_request(cors.answer_preflight)
        app.after_request(cors.add_headers)


@dataclass(frozen=True)
class HostGuard:
    """Refuses requests whose Host is none of *hosts*."""

    hosts: AllowedHosts

    def check(self) -> None:
        """Let the request in work pass.

        Raises:
            MisdirectedError: its Host is not allowed; the message names it.
        """
        host = _sent_host()
        if request.path in _UNDER_ANY_HOST or self.hosts.allows(host):
            return
        refused = f"this service is not called {quoted(host)}"
        raise MisdirectedError(
            f"{refused}: add the name to {HOSTS_VARIABLE} if it should be",
            visitor_message=f"{refused}: if it should be, its operator can allow the name",
        )


@dataclass(frozen=True)
class CrossSiteGuard:
    """Refuses changes by pages of other sites, except those that *cors* lists."""

    cors: Cors

    def check(self) -> None:
        """Make sure that no page of another site changes something in an open service.

        Raises:
            ForbiddenError: a browser says that such a page sent the request in work.
        """
        if request.method in SAFE_METHODS or _is_from_our_page() is not False:
            return
        if not self.cors.allows(request.headers.get("Origin")):
            message = (
                "a web page of another site sent this: use the pages of this service, "
                "under the address at which they opened, or a program; the operator "
                f"may list that site's origin in {CORS_VARIABLE}"
            )
            raise ForbiddenError(message)


def check_session_origin() -> None:
    """Make sure that one of our own pages sent the request in work.

    Raises:
        ForbiddenError: another site's page sent it, or may have.
    """
    if not _is_from_our_page():
        message = "only our own pages may use a session to change something: send a key"
        raise ForbiddenError(message)


def _is_from_our_page() -> bool | None:
    # Browsers send Sec-Fetch-Site over https and to localhost, else Origin alone, and
    # very old ones the Referer alone. None: a program, which sends none of them.
    site = request.headers.get("Sec-Fetch-Site")
    if site not in {None, "none"}:
        return site == "same-origin"
    origin = request.headers.get("Origin") or request.headers.get("Referer")
    if not origin:
        # Browsers send "none" for a typed address or an extension.
        return None if site is None else True
    ours = web_origin(f"{request.scheme}://{_sent_host()}")
    return ours is not None and web_origin(origin) == ours


def _sent_host() -> str:
    # Not request.host: werkzeug empties it if it holds invalid characters.
    sent: str | None = request.environ.get("HTTP_HOST")
    return request.host if sent is None else sent
