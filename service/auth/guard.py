"""Looks at every request before its view does: who sends it, may they, is it too much."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from flask import g, redirect, request, url_for
from limits import RateLimitItem
from werkzeug.wrappers import Response

from service.auth.access import SAFE_METHODS, Need, need_of
from service.auth.keys import ApiKey, KeyRing
from service.auth.origins import check_session_origin
from service.auth.rate_limits import Limiter, Quota
from service.auth.sessions import SESSION_COOKIE, Sessions
from service.http.errors import ForbiddenError, UnauthenticatedError

KEY_HEADER: Final = "X-API-Key"
_HOW: Final = f"send Authorization: Bearer KEY, or {KEY_HEADER}: KEY"


@dataclass(frozen=True)
class KeyGuard:
    """Lets requests pass that show a key with the right scope.

    Leaves the key in ``g.key`` and its name in ``g.key_name``.
    """

    ring: KeyRing
    sessions: Sessions
    limiter: Limiter
    rate: RateLimitItem | None

    def check(self) -> Response | None:
        """None for a request that may pass, else where its browser should go.

        Raises:
            UnauthenticatedError: it shows no valid key.
            ForbiddenError: the key may not do this, or another site's page sent it.
            RateLimitedError: the key's quota is used up.
        """
        need = _need()
        if need is None or need.open:
            return None
        key = self._shown_key()
        if key is None and need.page:
            return redirect(url_for("login.form", next=_wanted()), 303)
        if key is None:
            raise UnauthenticatedError(f"this needs an API key: {_HOW}")
        if need.scope is not None and not key.allows(need.scope):
            message = (
                f"key {key.name!r} has no scope {need.scope!r}: ask for one that has"
            )
            raise ForbiddenError(message)
        g.key, g.key_name = key, key.name
        _charge(self.limiter, key.rate or self.rate)
        return None

    def _shown_key(self) -> ApiKey | None:
        secret = _sent_secret()
        if secret is not None:
            key = self.ring.find(secret)
            if key is None:
                message = "this API key is not known: it is mistyped or was removed"
                raise UnauthenticatedError(message, invalid=True)
            return key
        key = self.sessions.read(request.cookies.get(SESSION_COOKIE, ""))
        if key and request.method not in SAFE_METHODS:
            check_session_origin()
        return key


@dataclass(frozen=True)
class AddressGuard:
    """Lets everybody pass, but not too often from one address."""

    limiter: Limiter
    rate: RateLimitItem

    def check(self) -> None:
        """Let the request pass.

        Raises:
            RateLimitedError: its address's quota is used up.
        """
        need = _need()
        if need is not None and not need.open:
            _charge(self.limiter, self.rate)


def shown_key() -> ApiKey | None:
    """The key of the request in work; None: the service asks for none."""
    key: ApiKey | None = g.get("key")
    return key


def sender_name() -> str:
    """Who sent the request in work: its key, or while the service is open its address."""
    key = shown_key()
    return f"address/{client_network()}" if key is None else f"key/{key.name}"


def client_network() -> str:
    """The client's address; for IPv6 its /64, which is what one customer is given."""
    text = request.remote_addr or ""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


def _need() -> Need | None:
    if request.endpoint is None:
        # Nothing is there; saying so gives nothing away.
        return None
    return need_of(request.endpoint, request.method)


def _sent_secret() -> str | None:
    authorization = request.authorization
    if authorization is not None and authorization.type == "bearer":
        return authorization.token or ""
    return request.headers.get(KEY_HEADER)


def _wanted() -> str:
    return request.full_path if request.query_string else request.path


def _charge(limiter: Limiter, rate: RateLimitItem | None) -> None:
    if rate is not None:
        g.quota = Quota(limiter, rate, sender_name())
        g.quota.charge(1)
