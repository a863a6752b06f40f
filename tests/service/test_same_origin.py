"""Web pages of other sites cannot use the API through the browser of their reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.errors import InvalidRequestError, quoted
from models.wire.client import ModelServerClient
from service.protection.hosts import AllowedHosts
from service.protection.settings import ProtectionSettings
from service.settings import ServiceSettings
from tests.pictures import grey
from tests.service.conftest import post_image, post_images
from tests.service.protected import bearer, new_key, protected_app

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
    """A client of the API with the given settings of protection."""

    def build(**protection: Any) -> FlaskClient:
        limits = ProtectionSettings(**protection)
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

    allowed = settings.protection.allowed_hosts
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
