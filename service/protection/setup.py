"""Puts protection around an application, as far as its settings ask for it."""

from __future__ import annotations

from typing import Any

from flask import Flask, g
from werkzeug.middleware.proxy_fix import ProxyFix

from service.protection.browser_headers import register_browser_headers
from service.protection.guard import AddressGuard, KeyGuard
from service.protection.hosts import AllowedHosts
from service.protection.keyring import KeyRing
from service.protection.limiter import Limiter
from service.protection.login import LoginViews
from service.protection.quota import add_quota_headers
from service.protection.same_origin import HostGuard, check_open_origin
from service.protection.settings import ProtectionSettings


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
    ring = KeyRing(settings.api_keys_file) if settings.api_keys_file else None
    limiter = Limiter(redis_url) if ring or settings.anonymous_rate_limit else None
    app.register_blueprint(LoginViews(ring, limiter).blueprint())
    if ring is None:
        app.before_request(check_open_origin)
    if limiter is None:
        return
    if ring is not None:
        app.before_request(KeyGuard(ring, limiter, settings.rate_limit).check)
        app.context_processor(_signed_in)
    elif settings.anonymous_rate_limit is not None:
        guard = AddressGuard(limiter, settings.anonymous_rate_limit)
        app.before_request(guard.check)
    app.after_request(add_quota_headers)


def _signed_in() -> dict[str, Any]:
    return {"signed_in_as": g.get("key_name")}
