"""Signing in at the pages: a key once, then a cookie that only our pages may use."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.wire.client import ModelServerClient
from service.auth import rate_limits
from service.auth.guard import KEY_OR_LOGIN, NEEDS, AuthSettings
from service.auth.keys import KeyRing, remove_key
from service.auth.login import FAILED_LOGINS, Sessions, local_path
from service.auth.rate_limits import Limiter
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.service.auth.protected import new_key, protected_app

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
    monkeypatch.setitem(NEEDS, "page", KEY_OR_LOGIN)
    auth = AuthSettings(api_keys_file=path, trusted_proxies=1)
    app = protected_app(settings, model_client, auth)
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


def cookie_of(signed_in: TestResponse) -> dict[str, str]:
    """The header that sends the session's cookie, for somebody who has copied it."""
    return {"Cookie": signed_in.headers["Set-Cookie"].partition(";")[0]}


@pytest.mark.parametrize("with_redis", [True, False])
def test_copied_cookie_ends_with_its_session(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    redis_server: RedisServer,
    path: Path,
    secret: str,
    with_redis: bool,
) -> None:
    if with_redis:
        settings = replace(settings, redis_url=redis_server.url)
    auth = AuthSettings(api_keys_file=path)
    here, there = (
        protected_app(settings, model_client, auth).test_client(use_cookies=False)
        for _process in range(2)
    )
    copied, other = (cookie_of(sign_in(here, secret)) for _ in range(2))
    for process in (here, there):
        assert process.get("/v1/jobs", headers=copied).status_code == 200

    here.post("/logout", headers={**OURS, **copied})

    assert here.get("/v1/jobs", headers=copied).status_code == 401
    assert here.post("/v1/jobs/x/cancel", headers={**OURS, **copied}).status_code == 401
    assert there.get("/v1/jobs", headers=copied).status_code == (
        401 if with_redis else 200
    )
    assert there.get("/v1/jobs", headers=other).status_code == 200


def test_sign_out_without_redis_is_told_when_it_is_back(
    redis_server: RedisServer, path: Path, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "PAUSE_SECONDS", 0.0)
    ring = KeyRing(path)
    here, there = (
        Sessions(ring, Limiter(redis_server.url, 5.0)) for _process in range(2)
    )
    key = ring.named("me")
    assert key is not None
    cookie = here.begin(key)

    redis_server.kill()
    here.end(cookie)
    assert (here.read(cookie), there.read(cookie)) == (None, key)
    redis_server.start()

    assert (here.read(cookie), there.read(cookie)) == (None, None)


def test_signing_in_again_ends_the_session_before(
    client: FlaskClient, secret: str
) -> None:
    first = cookie_of(sign_in(client, secret))

    sign_in(client, secret)

    alone = client.application.test_client(use_cookies=False)
    assert client.get("/v1/jobs").status_code == 200
    assert alone.get("/v1/jobs", headers=first).status_code == 401


@pytest.mark.parametrize(
    "cookie", ["me", "me:", "me:a", "me:a.b.c", ":a.b.c", "me.aZ.b", "other:a.b.c"]
)
def test_cookie_that_was_never_signed_opens_nothing(
    client: FlaskClient, cookie: str
) -> None:
    shown = {"Cookie": f"kennel_session={cookie}"}

    assert client.get("/v1/jobs", headers=shown).status_code == 401
    assert client.post("/logout", headers={**OURS, **shown}).status_code == 303


def test_wrong_keys_are_counted_by_address(client: FlaskClient) -> None:
    for _ in range(FAILED_LOGINS.amount):
        refused = sign_in(client, "kennel_wrong")
        assert refused.status_code == 403
        assert "not known" in refused.text

    locked = sign_in(client, "kennel_wrong")
    elsewhere = {**OURS, "X-Forwarded-For": "192.0.2.7"}

    assert locked.status_code == 429
    assert int(locked.headers["Retry-After"]) > 0
    response = client.post("/login", data={"key": "wrong"}, headers=elsewhere)
    assert response.status_code == 403


def test_right_key_gets_in_whatever_others_at_its_address_tried(
    client: FlaskClient, secret: str
) -> None:
    for _ in range(FAILED_LOGINS.amount + 5):
        sign_in(client, "kennel_wrong")
        client.get("/v1/jobs", headers={"X-API-Key": "kennel_wrong"})

    assert sign_in(client, secret).status_code == 303
    assert client.get("/v1/jobs", headers={"X-API-Key": secret}).status_code == 200


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
