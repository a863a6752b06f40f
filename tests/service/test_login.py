"""People at the web pages: a key once, then a cookie that only our pages may use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.wire.client import ModelServerClient
from service.protection.access import NEEDS, PAGE
from service.protection.keyfile import remove_key
from service.protection.login import FAILED_LOGINS, local_path
from service.protection.settings import ProtectionSettings
from service.settings import ServiceSettings
from tests.service.protected import new_key, protected_app

OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def secret(path: Path) -> str:
    return new_key(path, "me", "jobs")


@pytest.fixture
def app(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    path: Path,
    secret: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Flask:
    monkeypatch.setitem(NEEDS, "page", PAGE)
    protection = ProtectionSettings(api_keys_file=path, trusted_proxies=1)
    app = protected_app(settings, model_client, protection)
    app.add_url_rule("/page", "page", lambda: "a page")
    return app


def sign_in(client: FlaskClient, secret: str, next_path: str = "/") -> TestResponse:
    form = {"key": secret, "next": next_path}
    return client.post("/login", data=form, headers=OURS)


def test_page_asks_for_a_key_and_then_opens(client: FlaskClient, secret: str) -> None:
    refused = client.get("/page?a=b")
    assert refused.status_code == 303
    assert refused.location == "/login?next=/page?a%3Db"

    form = client.get(refused.location)
    wanted = re.search(r'name="next" value="([^"]*)"', form.text)
    assert wanted is not None
    signed_in = sign_in(client, secret, wanted[1])

    assert (signed_in.status_code, signed_in.location) == (303, "/page?a=b")
    assert client.get("/page").text == "a page"
    assert client.get("/v1/jobs").status_code == 200


def test_cookie_is_out_of_reach_of_scripts_and_sites(
    client: FlaskClient, secret: str
) -> None:
    cookie = sign_in(client, secret).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Max-Age=43200" in cookie
    assert "Secure" not in cookie
    assert secret not in cookie

    behind_tls = {**OURS, "X-Forwarded-Proto": "https"}
    response = client.post("/login", data={"key": secret}, headers=behind_tls)
    assert "Secure" in response.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 404),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://localhost"}, 404),
        ({"Origin": "http://localhost.evil"}, 403),
        ({"Origin": "https://localhost"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
    ids=str,
)
def test_session_changes_things_only_from_our_pages(
    client: FlaskClient, secret: str, headers: dict[str, str], status: int
) -> None:
    sign_in(client, secret)

    assert client.post("/v1/jobs/x/cancel", headers=headers).status_code == status


def test_key_needs_no_origin(client: FlaskClient, secret: str) -> None:
    sign_in(client, secret)

    response = client.post("/v1/jobs/x/cancel", headers={"X-API-Key": secret})

    assert response.status_code == 404


def test_removed_key_ends_its_session(
    client: FlaskClient, path: Path, secret: str
) -> None:
    sign_in(client, secret)
    new_key(path, "other", "jobs")
    assert client.get("/v1/jobs").status_code == 200

    remove_key(path, "me")
    assert client.get("/v1/jobs").status_code == 401

    new_key(path, "me", "jobs")
    assert client.get("/v1/jobs").status_code == 401


def test_logout_ends_the_session(client: FlaskClient, secret: str) -> None:
    sign_in(client, secret)
    assert client.post("/logout").status_code == 403

    assert client.post("/logout", headers=OURS).location == "/login"
    assert client.get("/v1/jobs").status_code == 401


def test_wrong_keys_are_counted_by_address(client: FlaskClient, secret: str) -> None:
    for _ in range(FAILED_LOGINS.amount):
        refused = sign_in(client, "kennel_wrong")
        assert refused.status_code == 403
        assert "not known" in refused.text

    locked = sign_in(client, secret)
    elsewhere = {**OURS, "X-Forwarded-For": "192.0.2.7"}

    assert locked.status_code == 429
    assert int(locked.headers["Retry-After"]) > 0
    response = client.post("/login", data={"key": secret}, headers=elsewhere)
    assert response.status_code == 303


def test_login_elsewhere_is_refused(client: FlaskClient, secret: str) -> None:
    evil = {"Origin": "http://evil.example"}

    assert client.post("/login", data={"key": secret}, headers=evil).status_code == 403
    assert client.post("/login", data=b"a" * 9000, headers=OURS).status_code == 413


@pytest.mark.parametrize(
    "elsewhere",
    [
        *("//evil", "/\\evil", "\\\\evil", "http://evil", "javascript:alert(1)"),
        *("/\t/evil", "/a\r\nSet-Cookie: a=b", "", "evil", "/caf\xe9"),
    ],
)
def test_only_local_paths_come_next(elsewhere: str) -> None:
    assert local_path(elsewhere) == "/"
    assert local_path("/jobs/a?b=c%2F#d") == "/jobs/a?b=c%2F#d"
