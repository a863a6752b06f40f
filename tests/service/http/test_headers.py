"""Security headers of every answer."""

from __future__ import annotations

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.auth.guard import AuthSettings
from service.settings import ServiceSettings
from tests.service.auth.protected import protected_app


@pytest.mark.parametrize("path", ["/livez", "/nothing", "/v1/jobs/x", "/login"])
def test_every_answer_is_strict(shared_client: FlaskClient, path: str) -> None:
    headers = shared_client.get(path).headers

    assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Strict-Transport-Security" not in headers


def test_view_may_state_its_own_policy(app: Flask) -> None:
    own = {"Content-Security-Policy": "default-src 'self'"}
    app.add_url_rule("/own", view_func=lambda: Response("", headers=own))

    headers = app.test_client().get("/own").headers

    assert headers.getlist("Content-Security-Policy") == ["default-src 'self'"]


def test_https_is_asked_for_once_it_was_used(
    settings: ServiceSettings, model_client: ModelServerClient
) -> None:
    behind_tls = AuthSettings(trusted_proxies=1)
    client = protected_app(settings, model_client, behind_tls).test_client()

    headers = client.get("/livez", headers={"X-Forwarded-Proto": "https"}).headers

    assert "max-age=" in headers["Strict-Transport-Security"]
