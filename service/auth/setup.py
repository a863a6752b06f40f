"""Puts protection around an application, as far as its settings ask for it."""

from __future__ import annotations

from typing import Any

from flask import Flask, g
from werkzeug.middleware.proxy_fix import ProxyFix

from service.auth.guard import AddressGuard, KeyGuard
from service.auth.keys import KeyRing
from service.auth.login import LoginGate, LoginViews
from service.auth.origins import AllowedHosts, Cors, HostGuard, OpenGuard, register_cors
from service.auth.rate_limits import Limiter, add_quota_headers
from service.auth.sessions import REDIS_SECONDS, Sessions
from service.auth.settings import ProtectionSettings
from service.http.headers import register_browser_headers


def protect(
    app: Flask, settings: ProtectionSettings, bind_host: str, redis_url: str
) -> None:
    """Guard every route of *app*, which listens at *bind_host*.

    Raises:
        InvalidRequestError: the key file or the Redis URL cannot be used.
    """
    register_browser_headers(app)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        # The host is not among them: proxies pass it on in Host.
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops
        )
    hosts = AllowedHosts.of(bind_host, settings.allowed_hosts)
    app.before_request(HostGuard(hosts).check)
    cors = Cors.of(settings.cors_origins)
    register_cors(app, cors)
    if settings.api_keys_file is not None:
        _ask_for_keys(app, KeyRing(settings.api_keys_file), settings, redis_url)
    else:
        _stay_open(app, settings, redis_url, OpenGuard(cors))


def _ask_for_keys(
    app: Flask, ring: KeyRing, settings: ProtectionSettings, redis_url: str
) -> None:
    limiter = Limiter(redis_url)
    sessions = Sessions(ring, Limiter(redis_url, REDIS_SECONDS))
    gate = LoginGate(ring, sessions, limiter)
    app.register_blueprint(LoginViews(gate).blueprint())
    app.before_request(KeyGuard(ring, sessions, limiter, settings.rate_limit).check)
    app.context_processor(_signed_in)
    app.after_request(add_quota_headers)


def _stay_open(
    app: Flask, settings: ProtectionSettings, redis_url: str, guard: OpenGuard
) -> None:
    app.register_blueprint(LoginViews(None).blueprint())
    app.before_request(guard.check)
    if settings.anonymous_rate_limit is not None:
        limiter = Limiter(redis_url)
        app.before_request(AddressGuard(limiter, settings.anonymous_rate_limit).check)
        app.after_request(add_quota_headers)


def _signed_in() -> dict[str, Any]:
    return {"signed_in_as": g.get("key_name")}
