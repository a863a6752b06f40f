"""CORS_ORIGINS: web pages of listed origins use the API, with a key where one is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.errors import InvalidRequestError
from models.wire.client import ModelServerClient
from service.predictions.admission import OverloadedError
from service.protection.cors import READ_HEADERS, SENT_HEADERS, Cors, read_cors_origins
from service.protection.glance import WaitingRequest
from service.protection.rates import read_rate
from service.protection.refusals import render_overload
from service.protection.settings import ProtectionSettings
from service.settings import ServiceSettings
from tests.pictures import grey
from tests.service.conftest import post_image, post_images
from tests.service.protected import bearer, new_key, protected_app

APP = "https://app.example.com"
PAGE = {"Origin": APP, "Sec-Fetch-Site": "cross-site"}
ASKS = {**PAGE, "Access-Control-Request-Method": "POST"}
ALLOWED = "Access-Control-Allow-Origin"

Build = Callable[..., FlaskClient]


@pytest.fixture
def build(settings: ServiceSettings, model_client: ModelServerClient) -> Build:
    def make(*origins: str, **protection: Any) -> FlaskClient:
        limits = ProtectionSettings(cors_origins=origins, **protection)
        return protected_app(settings, model_client, limits).test_client()

    return make


def test_preflight_says_what_a_page_may_send(build: Build) -> None:
    response = build(APP).options("/v1/predict", headers=ASKS)

    given = response.headers
    assert (response.status_code, response.data) == (204, b"")
    assert given[ALLOWED] == APP
    assert "POST" in given["Access-Control-Allow-Methods"]
    assert "Authorization" in given["Access-Control-Allow-Headers"]
    assert "X-API-Key" in given["Access-Control-Allow-Headers"]
    assert int(given["Access-Control-Max-Age"]) > 0
    assert given["Vary"] == "Origin"


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/jobs", "/v2/models/pets/infer"])
def test_open_service_answers_listed_pages(build: Build, path: str) -> None:
    client = build("http://localhost:3000", APP)
    client.options(path, headers=ASKS)

    response = client.post(path, json={}, headers=PAGE)

    assert response.status_code != 403
    assert response.headers[ALLOWED] == APP
    assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://sub.app.example.com",
        "null",
        "",
    ],
)
def test_other_pages_get_nothing(build: Build, origin: str) -> None:
    client = build(APP)
    page = {**PAGE, "Origin": origin}

    preflight = client.options("/v1/predict", headers={**ASKS, "Origin": origin})
    response = post_images(client, [grey(9)], headers=page)

    assert response.status_code == 403
    for each in (preflight, response):
        assert not any(name.startswith("Access-Control-") for name, _ in each.headers)
        assert "Origin" in each.headers["Vary"]


@pytest.mark.parametrize(
    "listed", ["https://app.example.com:443", "HTTPS://APP.example.com"]
)
def test_origin_is_the_same_however_it_is_written(build: Build, listed: str) -> None:
    client = build(*read_cors_origins({"CORS_ORIGINS": listed}))

    assert client.get("/v1/models", headers=PAGE).headers[ALLOWED] == APP


def test_any_page_may_be_let_in(build: Build) -> None:
    client = build("*")
    for origin in (APP, "null", "http://[::1]:3000"):
        response = post_image(client, grey(9), headers={**PAGE, "Origin": origin})

        assert (response.status_code, response.headers[ALLOWED]) == (200, "*")
        assert "Access-Control-Allow-Credentials" not in response.headers


def test_without_the_setting_nothing_is_said(client: FlaskClient) -> None:
    for response in (
        client.options("/v1/predict", headers=ASKS),
        client.get("/v1/models", headers=PAGE),
    ):
        assert not any("Access-Control" in name for name, _ in response.headers)
        assert "Vary" not in response.headers


def test_programs_see_no_difference(build: Build) -> None:
    response = build(APP).get("/v1/models")

    assert response.status_code == 200
    assert ALLOWED not in response.headers


def test_preflight_needs_no_key_and_costs_nothing(build: Build, tmp_path: Path) -> None:
    secret = new_key(tmp_path / "keys", "page", "predict", rate="1/hour")
    client = build(APP, api_keys_file=tmp_path / "keys")

    preflights = [client.options("/v1/predict", headers=ASKS) for _ in range(5)]
    headers = {**PAGE, **bearer(secret)}
    first, second = (post_image(client, grey(9), headers=headers) for _ in range(2))

    assert [each.status_code for each in preflights] == [204] * 5
    assert (first.status_code, second.status_code) == (200, 429)
    for response in (first, second, post_image(client, grey(9), headers=PAGE)):
        assert response.headers[ALLOWED] == APP


def test_preflights_are_not_counted_for_an_address(build: Build) -> None:
    client = build(APP, anonymous_rate_limit=read_rate("1/hour"))

    for _ in range(5):
        assert client.options("/v1/predict", headers=ASKS).status_code == 204
    assert post_image(client, grey(9), headers=PAGE).status_code == 200


def test_session_of_a_browser_never_counts_for_a_listed_page(
    build: Build, tmp_path: Path
) -> None:
    secret = new_key(tmp_path / "keys", "me", "admin")
    client = build("http://localhost:3000", api_keys_file=tmp_path / "keys")
    ours = {"Sec-Fetch-Site": "same-origin"}
    client.post("/login", data={"key": secret}, headers=ours)
    assert post_image(client, grey(9), headers=ours).status_code == 200

    page = {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}
    response = post_image(client, grey(9), headers=page)

    assert response.status_code == 403
    assert "Access-Control-Allow-Credentials" not in response.headers


ERRORS: dict[str, tuple[Callable[[FlaskClient], Any], int]] = {
    "nothing there": (lambda c: c.get("/nothing", headers=PAGE), 404),
    "method": (lambda c: c.put("/v1/predict", headers=PAGE), 405),
    "too large": (lambda c: post_image(c, bytes(2**21), headers=PAGE), 413),
    "another name": (
        lambda c: c.get("/v1/models", headers={**PAGE, "Host": "evil.example"}),
        421,
    ),
    "preflight under another name": (
        lambda c: c.options("/v1/models", headers={**ASKS, "Host": "evil.example"}),
        421,
    ),
    "no image": (lambda c: post_image(c, b"x", headers=PAGE), 422),
    "queue away": (
        lambda c: c.post("/v1/jobs", json={"input": "."}, headers=PAGE),
        503,
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_page_reads_errors_too(build: Build, case: str) -> None:
    send, status = ERRORS[case]

    response = send(build(APP))

    assert response.status_code == status, response.text
    assert response.headers[ALLOWED] == APP


def test_page_reads_that_it_was_refused_unread() -> None:
    head = f"POST /v1/predict HTTP/1.1\r\nOrigin: {APP}\r\nContent-Length: 0\r\n\r\n"
    waiting = WaitingRequest.read(head.encode())
    assert waiting is not None

    more = Cors.of([APP]).headers(waiting.origin)
    refusal = render_overload(OverloadedError("full", 2), None, more)

    assert f"{ALLOWED}: {APP}\r\n".encode() in refusal.response
    assert Cors().headers(waiting.origin) == {}


@pytest.mark.parametrize(
    "listed",
    [
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/page",
        "https://*.example.com",
        "https://",
        "null",
        "https://a.example:x",
        "https://a.example https://b.example",
        "https://user@a.example",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_origin_stops_the_start(listed: str) -> None:
    with pytest.raises(
        InvalidRequestError, match=r"CORS_ORIGINS: .*https://app\.example"
    ):
        ServiceSettings.from_env({"CORS_ORIGINS": f"{APP},{listed}"})


def test_origins_are_read_as_browsers_write_them() -> None:
    listed = f" {APP} ,, http://[::1]:3000,capacitor://localhost,"
    settings = ServiceSettings.from_env({"CORS_ORIGINS": listed})

    expected = (APP, "http://[::1]:3000", "capacitor://localhost")
    assert settings.protection.cors_origins == expected


def test_every_documented_header_may_be_sent_and_read(client: FlaskClient) -> None:
    components = client.get("/openapi.json").get_json()["components"]
    sent = {n for n, each in components["parameters"].items() if each["in"] == "header"}

    assert sent <= {*SENT_HEADERS}, json.dumps(sorted(sent - {*SENT_HEADERS}))
    assert set(components["headers"]) <= {*READ_HEADERS}
