"""Cross-origin requests: only listed origins use the API, never a user's session."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.errors import InvalidRequestError, quoted
from models.wire.client import ModelServerClient
from service.auth.guard import AuthSettings
from service.auth.keys import read_rate
from service.auth.origins import (
    READ_HEADERS,
    SENT_HEADERS,
    AllowedHosts,
    read_cors_origins,
)
from service.http.errors import OverloadedError
from service.server.load_shedding import REFUSED
from service.settings import ServiceSettings
from tests.pictures import grey
from tests.service.auth.protected import bearer, new_key, protected_app
from tests.service.conftest import post_image, post_images

FOREIGN = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "same-origin, cross-site"},
    {"Sec-Fetch-Site": "none", "Origin": "chrome-extension://abc"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://localhost:8001"},
    {"Origin": "https://localhost"},
    {"Origin": "http://[::1"},
    {"Origin": "null"},
    {"Referer": "http://evil.example/page?http://localhost/"},
]

OURS: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost"},
    {"Origin": "http://LOCALHOST:80"},
    {"Host": "localhost:8000", "Origin": "http://localhost:8000"},
    {"Host": "[::1]:8000", "Origin": "http://[::1]:8000"},
    {"Host": "127.0.0.1:8000", "Referer": "http://127.0.0.1:8000/jobs"},
]

CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/jobs", {"json": {"input": "photos"}}),
    ("POST", "/v1/jobs", {"data": '{"input": "photos"}', "content_type": "text/plain"}),
    ("POST", "/v1/jobs", {"data": {"input": "photos"}}),
    ("POST", "/v1/jobs/x/cancel", {}),
    ("POST", "/v1/jobs/x/retry", {"data": {"a": "b"}}),
    ("DELETE", "/v1/jobs/x", {}),
    ("POST", "/v1/predict", {"data": b"x", "content_type": "image/png"}),
    ("POST", "/v1/explain", {"data": b"x", "content_type": "image/png"}),
    ("POST", "/v1/models/pets:predict", {"json": {}}),
    ("POST", "/v2/models/pets/infer", {"json": {}}),
    ("POST", "/login", {"data": {"key": "a"}}),
    ("PUT", "/nothing", {}),
]


@pytest.fixture
def client(shared_client: FlaskClient) -> FlaskClient:
    return shared_client


@pytest.fixture
def protected(
    settings: ServiceSettings, model_client: ModelServerClient
) -> Callable[..., FlaskClient]:
    """A client of the API with the given settings of access."""

    def build(**auth: Any) -> FlaskClient:
        limits = AuthSettings(**auth)
        return protected_app(settings, model_client, limits).test_client()

    return build


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_open_service_takes_nothing_from_pages_of_others(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    response = post_images(client, [grey(9)], headers=headers)

    assert response.status_code == 403
    assert response.mimetype == "application/problem+json"
    assert response.get_json()["code"] == "forbidden"
    assert "another site" in response.get_json()["detail"]


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_open_service_answers_programs_and_its_own_pages(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    assert post_images(client, [grey(9)], headers=headers).status_code == 200


@pytest.mark.parametrize(("method", "path", "options"), CHANGES, ids=str)
def test_every_method_that_changes_something_is_guarded(
    client: FlaskClient, method: str, path: str, options: dict[str, Any]
) -> None:
    evil = {"Sec-Fetch-Site": "cross-site"}

    refused = client.open(path, method=method, headers=evil, **options)

    assert (refused.status_code, refused.get_json()["code"]) == (403, "forbidden")


def test_links_from_elsewhere_open_pages(client: FlaskClient) -> None:
    evil = {"Sec-Fetch-Site": "cross-site", "Referer": "http://evil.example/"}

    assert client.get("/", headers=evil).status_code == 200
    assert client.get("/v1/models", headers=evil).status_code == 200


def test_key_in_a_header_may_come_from_anywhere(
    protected: Callable[..., FlaskClient], tmp_path: Path
) -> None:
    secret = new_key(tmp_path / "keys", "app", "predict")
    client = protected(api_keys_file=tmp_path / "keys")
    elsewhere = {**bearer(secret), **FOREIGN[0]}

    assert post_image(client, grey(9), headers=elsewhere).status_code == 200


def test_https_behind_a_trusted_proxy_is_our_origin(
    protected: Callable[..., FlaskClient],
) -> None:
    client = protected(trusted_proxies=1, allowed_hosts=("kennel.example.com",))
    by_proxy = {"Host": "kennel.example.com", "X-Forwarded-Proto": "https"}

    def status(origin: str, **more: str) -> int:
        headers = {**by_proxy, "Origin": origin, **more}
        return int(post_image(client, grey(9), headers=headers).status_code)

    assert status("https://kennel.example.com") == 200
    assert status("http://kennel.example.com") == 403
    evil = {"X-Forwarded-Host": "evil.example"}
    assert status("https://evil.example", **evil) == 403


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "api:8000"),
        *("192.0.2.1", "[2001:db8::1]:8000", "127.0.0.1.evil.example", "2130706433"),
        *("localhost:80@evil.example", "a b'\"<>", "localhost,evil", "", "x" * 9000),
    ],
)
def test_foreign_host_lists_no_jobs(client: FlaskClient, host: str) -> None:
    response = client.get("/v1/jobs", headers={"Host": host})

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (421, "misdirected_request")
    assert problem["detail"].startswith(f"this service is not called {quoted(host)}: ")
    assert "its operator can allow the name" in problem["detail"]
    assert len(response.data) < 1000


@pytest.mark.parametrize("path", ["/", "/jobs", "/v1/models", "//v1//jobs", "/no"])
def test_foreign_host_opens_no_path_and_is_redirected_nowhere(
    client: FlaskClient, path: str
) -> None:
    response = client.get(path, headers={"Host": "evil.example"})

    assert response.status_code == 421
    assert "Location" not in response.headers


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LocalHost:8000", "localhost.", "127.0.0.1", "127.0.0.2:80"),
        *("[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]:8000"),
    ],
)
def test_loopback_is_always_ours(client: FlaskClient, host: str) -> None:
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"]
)
def test_probes_are_answered_under_any_host(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers={"Host": "10.1.2.3:8000"}).status_code == 200
    assert client.get(path, headers={"Host": "api:8000"}).status_code == 200


@pytest.mark.parametrize(
    ("bound", "listed", "allowed", "refused"),
    [
        ("kennel.lan", (), "kennel.lan:8000", "other.lan"),
        ("192.0.2.7", (), "192.0.2.7:8000", "192.0.2.8"),
        ("::1", (), "[::1]:8000", "[2001:db8::1]"),
        ("0.0.0.0", (), "192.0.2.8:8000", "kennel.lan"),
        ("0.0.0.0", (), "[2001:db8::1]:8000", "1.2.3.4.evil.example"),
        ("::", (), "10.0.0.1", "kennel"),
        ("127.0.0.1", ("kennel.lan", "10.0.0.7"), "10.0.0.7", "10.0.0.8"),
        ("127.0.0.1", (".example.com",), "a.b.example.com", "evilexample.com"),
        ("127.0.0.1", ("*",), "whatever", None),
    ],
)
def test_hosts_are_loopback_what_it_is_bound_to_and_what_is_listed(
    bound: str, listed: tuple[str, ...], allowed: str, refused: str | None
) -> None:
    hosts = AllowedHosts.of(bound, listed)

    assert hosts.allows(allowed)
    assert hosts.allows("localhost:8000")
    assert refused is None or not hosts.allows(refused)


def test_hosts_are_read_from_the_environment() -> None:
    env = {"ALLOWED_HOSTS": " Kennel.example.com, [2001:DB8::1],.lan ,", "HOST": "::"}

    settings = ServiceSettings.from_env(env)

    allowed = settings.auth.allowed_hosts
    assert allowed == ("kennel.example.com", "2001:db8::1", ".lan")


@pytest.mark.parametrize(
    "entry",
    [
        *("http://kennel.example.com", "kennel.example.com:8000", "a/b", "*.lan"),
        *("[::1]:8000", "a b", "..", "caf\xe9.lan"),
    ],
)
def test_what_is_no_host_stops_the_start(entry: str) -> None:
    with pytest.raises(InvalidRequestError, match="ALLOWED_HOSTS"):
        ServiceSettings.from_env({"ALLOWED_HOSTS": f"kennel.lan,{entry}"})


APP = "https://app.example.com"
PAGE = {"Origin": APP, "Sec-Fetch-Site": "cross-site"}
ASKS = {**PAGE, "Access-Control-Request-Method": "POST"}
ALLOWED = "Access-Control-Allow-Origin"

Build = Callable[..., FlaskClient]


@pytest.fixture
def build(settings: ServiceSettings, model_client: ModelServerClient) -> Build:
    def make(*origins: str, **auth: Any) -> FlaskClient:
        limits = AuthSettings(cors_origins=origins, **auth)
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


FULL = {REFUSED: OverloadedError("full", 2)}
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
    "overload": (
        lambda c: c.post("/v1/predict", headers=PAGE, environ_overrides=FULL),
        503,
    ),
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
    assert settings.auth.cors_origins == expected


def test_every_documented_header_may_be_sent_and_read(client: FlaskClient) -> None:
    components = client.get("/openapi.json").get_json()["components"]
    sent = {n for n, each in components["parameters"].items() if each["in"] == "header"}

    assert sent <= {*SENT_HEADERS}, json.dumps(sorted(sent - {*SENT_HEADERS}))
    assert set(components["headers"]) <= {*READ_HEADERS}
