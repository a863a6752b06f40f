"""Keeps web pages of other sites from using the API through their reader's browser.

A request must call this service by a name of its own. One that changes something must
not come from another site's page, as far as the browser says where it comes from.
Programs say nothing of that kind and are let through, unless they show the cookie of a
session. All of this holds with API keys and without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import request

from models.errors import quoted
from service.protection.access import SAFE_METHODS
from service.protection.cors import VARIABLE as CORS_VARIABLE
from service.protection.cors import Cors
from service.protection.errors import ForbiddenError, MisdirectedError
from service.protection.hosts import VARIABLE, AllowedHosts, read_origin

_PROBES: Final = frozenset(
    {"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
)
"""Asked by machines under any name; they change nothing and show nobody's data."""


@dataclass(frozen=True)
class HostGuard:
    """Lets requests pass that call this service by one of its *hosts*."""

    hosts: AllowedHosts

    def check(self) -> None:
        """Let the request in work pass.

        Raises:
            MisdirectedError: its Host is another; the message names it.
        """
        host = _sent_host()
        if request.path in _PROBES or self.hosts.allows(host):
            return
        refused = f"this service is not called {quoted(host)}"
        raise MisdirectedError(
            f"{refused}: add the name to {VARIABLE} if it should be",
            visitor_message=f"{refused}: if it should be, its operator can allow the name",
        )


@dataclass(frozen=True)
class OpenGuard:
    """Lets requests pass that come from our own pages, programs, or what *cors* lists."""

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
        ForbiddenError: another site's page may have sent it, or nothing tells.
    """
    if not _is_from_our_page():
        message = "only our own pages may use a session to change something: send a key"
        raise ForbiddenError(message)


def _is_from_our_page() -> bool | None:
    # Browsers send Sec-Fetch-Site over https and to localhost, else Origin alone, and
    # very old ones the Referer alone. None: it is a program that sends none of them.
    site = request.headers.get("Sec-Fetch-Site")
    if site not in {None, "none"}:
        return site == "same-origin"
    origin = request.headers.get("Origin") or request.headers.get("Referer")
    if not origin:
        # "none" is said of what a person typed or an extension does.
        return None if site is None else True
    ours = read_origin(f"{request.scheme}://{_sent_host()}")
    return ours is not None and read_origin(origin) == ours


def _sent_host() -> str:
    # Not request.host: that is empty if it holds odd letters.
    sent: str | None = request.environ.get("HTTP_HOST")
    return request.host if sent is None else sent
