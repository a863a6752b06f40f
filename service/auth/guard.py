"""Access control of every route: API key, scope, rate limit, host and origin.

`protect` installs the checks that `AuthSettings` turn on; keys and rates are off by default. A
table lists what each route needs; a route that is not listed needs admin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from flask import Flask, g, redirect, request, url_for
from limits import RateLimitItem
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response

from models.environment import read_integer, read_seconds
from service.auth.keys import (
    ADMIN,
    JOBS,
    KEY_HEADER,
    PREDICT,
    ApiKey,
    KeyRing,
    read_rate_variable,
)
from service.auth.login import (
    LOGIN_REDIS_SECONDS,
    SESSION_COOKIE,
    KeyLogin,
    LoginViews,
    Sessions,
)
from service.auth.origins import (
    AllowedHosts,
    Cors,
    CrossSiteGuard,
    HostGuard,
    check_session_origin,
    read_allowed_hosts,
    read_cors_origins,
    register_cors,
)
from service.auth.rate_limits import Limiter, Quota, add_quota_headers, client_network
from service.http.errors import ForbiddenError, UnauthenticatedError
from service.http.headers import register_browser_headers
from service.http.parameters import SAFE_METHODS

_HOW: Final = f"send Authorization: Bearer KEY, or {KEY_HEADER}: KEY"


@dataclass(frozen=True)
class AuthSettings:
    """Settings of access to the service.

    Attributes:
        api_keys_file: None: every client that reaches the service may use it.
        rate_limit: for keys that have no rate of their own; None: no limit.
        anonymous_rate_limit: for each client address, where the service needs no keys.
        trusted_proxies: how many proxies in front of the service set X-Forwarded-For and -Proto.
        allowed_hosts: hosts that a request may name, beside loopback and HOST.
        cors_origins: other origins whose web pages may use the service.
        body_timeout_seconds: longest pause of a client that sends its request or reads
            its answer.
    """

    api_keys_file: Path | None = None
    rate_limit: RateLimitItem | None = None
    anonymous_rate_limit: RateLimitItem | None = None
    trusted_proxies: int = 0
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    body_timeout_seconds: float = 30.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read API_KEYS_FILE, RATE_LIMIT and so on; an empty variable counts as unset.

        Raises:
            InvalidRequestError: a value cannot be used; the message names the variable.
        """
        keys_file = env.get("API_KEYS_FILE")
        return cls(
            api_keys_file=Path(keys_file).absolute() if keys_file else None,
            rate_limit=read_rate_variable(env, "RATE_LIMIT"),
            anonymous_rate_limit=read_rate_variable(env, "ANONYMOUS_RATE_LIMIT"),
            trusted_proxies=read_integer(
                env, "TRUSTED_PROXIES", cls.trusted_proxies, (0, 16)
            ),
            allowed_hosts=read_allowed_hosts(env),
            cors_origins=read_cors_origins(env),
            body_timeout_seconds=read_seconds(
                env, "BODY_TIMEOUT_SECONDS", cls.body_timeout_seconds, (0.1, 600.0)
            ),
        )


def protect(app: Flask, settings: AuthSettings, bind_host: str, redis_url: str) -> None:
    """Guard every route of *app*, which listens at *bind_host*.

    Raises:
        InvalidRequestError: the key file or the Redis URL cannot be used.
    """
    register_browser_headers(app)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        # Not X-Forwarded-Host: proxies pass the host on in Host.
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops
        )
    hosts = AllowedHosts.of(bind_host, settings.allowed_hosts)
    app.before_request(HostGuard(hosts).check)
    cors = Cors.of(settings.cors_origins)
    register_cors(app, cors)
    if settings.api_keys_file is not None:
        _require_keys(app, KeyRing(settings.api_keys_file), settings, redis_url)
    else:
        _allow_everyone(app, settings, redis_url, CrossSiteGuard(cors))


def _require_keys(
    app: Flask, ring: KeyRing, settings: AuthSettings, redis_url: str
) -> None:
    limiter = Limiter(redis_url)
    sessions = Sessions(ring, Limiter(redis_url, LOGIN_REDIS_SECONDS))
    login = KeyLogin(ring, sessions, limiter)
    app.register_blueprint(LoginViews(login).blueprint())
    app.before_request(KeyGuard(ring, sessions, limiter, settings.rate_limit).check)
    app.context_processor(_signed_in)
    app.after_request(add_quota_headers)


def _allow_everyone(
    app: Flask, settings: AuthSettings, redis_url: str, guard: CrossSiteGuard
) -> None:
    app.register_blueprint(LoginViews(None).blueprint())
    app.before_request(guard.check)
    if settings.anonymous_rate_limit is not None:
        limiter = Limiter(redis_url)
        app.before_request(AddressGuard(limiter, settings.anonymous_rate_limit).check)
        app.after_request(add_quota_headers)


def _signed_in() -> dict[str, Any]:
    return {"signed_in_as": g.get("key_name")}


@dataclass(frozen=True)
class Need:
    """Access that a route needs.

    Attributes:
        scope: the scope that a request's key must have; None: any valid key is enough.
        open: no key is needed.
        page: a browser without a key is sent to the login page.
    """

    scope: str | None = None
    open: bool = False
    page: bool = False


OPEN: Final = Need(open=True)
ANY_KEY: Final = Need()
KEY_OR_LOGIN: Final = Need(page=True)
_ADMIN: Final = Need(ADMIN)

NEEDS: Final[dict[str, Need]] = {
    "predictions": Need(PREDICT),
    "explanations": Need(PREDICT),
    "jobs": Need(JOBS),
    "models": ANY_KEY,
    "rollouts": ANY_KEY,
    "tensorflow-serving": Need(PREDICT),
    "open-inference": Need(PREDICT),
    "open-inference.live": OPEN,
    "open-inference.ready": OPEN,
    "telemetry.info": ANY_KEY,
    "telemetry.metrics": _ADMIN,
    "health": OPEN,
    "login": OPEN,
    "openapi": OPEN,
    "static": OPEN,
    "pages": KEY_OR_LOGIN,
    "pages.jobs": Need(JOBS, page=True),
    "pages.job": Need(JOBS, page=True),
}
"""Needs by endpoint (`blueprint.view`); for an endpoint that is not listed, by blueprint."""


def need_of(endpoint: str, method: str) -> Need:
    """The access that a request for *endpoint* needs.

    Where any key may read, only admin may change something.
    """
    need = listed_need(endpoint) or _ADMIN
    if need == ANY_KEY and method not in SAFE_METHODS:
        return _ADMIN
    return need


def listed_need(endpoint: str) -> Need | None:
    """The table's entry for *endpoint*, if it has one."""
    return NEEDS.get(endpoint) or NEEDS.get(endpoint.partition(".")[0])


@dataclass(frozen=True)
class KeyGuard:
    """Lets requests pass whose key has the scope that the route needs.

    Stores the key in ``g.key`` and its name in ``g.key_name``.
    """

    ring: KeyRing
    sessions: Sessions
    limiter: Limiter
    rate: RateLimitItem | None

    def check(self) -> Response | None:
        """None if the request may pass, or a redirect to the login page.

        Raises:
            UnauthenticatedError: the request has no valid key.
            ForbiddenError: the key may not do this, or another site's page sent it.
            RateLimitedError: the key's quota is used up.
        """
        need = _need()
        if need is None or need.open:
            return None
        key = self._shown_key()
        if key is None and need.page:
            return redirect(url_for("login.form", next=_requested_path()), 303)
        if key is None:
            raise UnauthenticatedError(f"this needs an API key: {_HOW}")
        if need.scope is not None and not key.allows(need.scope):
            message = (
                f"key {key.name!r} has no scope {need.scope!r}: use a key that has it"
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
    """Lets every client pass, at a limited rate for each address."""

    limiter: Limiter
    rate: RateLimitItem

    def check(self) -> None:
        """Let the request pass.

        Raises:
            RateLimitedError: the quota of its address is used up.
        """
        need = _need()
        if need is not None and not need.open:
            _charge(self.limiter, self.rate)


def shown_key() -> ApiKey | None:
    """The key of the request in work; None: the service needs no keys."""
    key: ApiKey | None = g.get("key")
    return key


def sender_name() -> str:
    """The sender of the request in work: its key, or without keys its address."""
    key = shown_key()
    return f"address/{client_network()}" if key is None else f"key/{key.name}"


def _need() -> Need | None:
    if request.endpoint is None:
        # No such route: a 404 reveals nothing.
        return None
    return need_of(request.endpoint, request.method)


def _sent_secret() -> str | None:
    authorization = request.authorization
    if authorization is not None and authorization.type == "bearer":
        return authorization.token or ""
    return request.headers.get(KEY_HEADER)


def _requested_path() -> str:
    return request.full_path if request.query_string else request.path


def _charge(limiter: Limiter, rate: RateLimitItem | None) -> None:
    if rate is not None:
        g.quota = Quota(limiter, rate, sender_name())
        g.quota.charge(1)
