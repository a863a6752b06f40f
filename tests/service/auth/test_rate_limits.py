"""Rate limits: counted in images, shared through Redis; by process without Redis."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis

from models.errors import InvalidRequestError
from models.wire.client import ModelServerClient
from service.auth import rate_limits
from service.auth.guard import AuthSettings
from service.auth.keys import read_rate
from service.auth.rate_limits import Limiter
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.pictures import grey
from tests.service.auth.protected import bearer, new_key, protected_app
from tests.service.conftest import post_image, post_images

HOURLY = read_rate("5/hour")


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's Redis is slow, not away."""
    monkeypatch.setattr(rate_limits, "REDIS_SECONDS", 5.0)


@pytest.fixture
def with_redis(
    settings: ServiceSettings, redis_server: RedisServer, patience: None
) -> ServiceSettings:
    return replace(settings, redis_url=redis_server.url)


def open_app(
    settings: ServiceSettings, client: ModelServerClient, proxies: int = 0
) -> Flask:
    limits = AuthSettings(anonymous_rate_limit=HOURLY, trusted_proxies=proxies)
    return protected_app(settings, client, limits)


def remaining(headers: object) -> int:
    found = re.search(r'RateLimit: "default";r=(\d+);t=\d+', str(headers))
    assert found is not None, headers
    return int(found[1])


def test_images_are_counted_by_all_processes_together(
    with_redis: ServiceSettings, model_client: ModelServerClient
) -> None:
    here, there = (
        open_app(with_redis, model_client).test_client() for _process in range(2)
    )

    first = post_images(here, [grey(9)] * 3)
    second = there.get("/v1/models")
    third = post_images(here, [grey(9)] * 2)

    assert first.headers["RateLimit-Policy"] == '"default";q=5;w=3600'
    assert [remaining(each.headers) for each in (first, second)] == [2, 1]
    assert (third.status_code, third.get_json()["code"]) == (429, "rate_limited")
    assert int(third.headers["Retry-After"]) > 0
    assert remaining(third.headers) == 0
    assert there.get("/livez").status_code == 200


def test_more_than_the_rate_at_once_is_too_much(
    with_redis: ServiceSettings, model_client: ModelServerClient
) -> None:
    client = open_app(with_redis, model_client).test_client()

    response = post_images(client, [grey(9)] * 7)

    assert response.status_code == 413
    assert response.get_json()["code"] == "too_many_images"


def test_keys_have_their_own_rates(
    with_redis: ServiceSettings, model_client: ModelServerClient, tmp_path: Path
) -> None:
    path = tmp_path / "keys"
    narrow = bearer(new_key(path, "narrow", "predict", rate="2/day"))
    usual = bearer(new_key(path, "usual", "predict"))
    auth = AuthSettings(api_keys_file=path, rate_limit=HOURLY)
    client = protected_app(with_redis, model_client, auth).test_client()

    answers = [client.get("/v1/models", headers=narrow) for _ in range(3)]
    other = client.get("/v1/models", headers=usual)

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"default";q=2;w=86400'
    assert remaining(other.headers) == 4


def test_addresses_are_counted_apart_behind_a_trusted_proxy(
    with_redis: ServiceSettings, model_client: ModelServerClient
) -> None:
    client = open_app(with_redis, model_client, proxies=1).test_client()

    def left(forwarded: str) -> int:
        headers = {"X-Forwarded-For": forwarded}
        return remaining(client.get("/v1/models", headers=headers).headers)

    assert left("192.0.2.1") == 4
    assert left("192.0.2.2") == 4
    assert left("192.0.2.9, 192.0.2.1") == 3
    assert left("::ffff:192.0.2.1") == 2
    assert left("2001:db8::1") == 4
    assert left("2001:db8::2") == 3


def test_forwarded_address_is_not_believed_by_default(
    with_redis: ServiceSettings, model_client: ModelServerClient
) -> None:
    client = open_app(with_redis, model_client).test_client()

    for last in range(5):
        headers = {"X-Forwarded-For": f"192.0.2.{last}"}
        assert client.get("/v1/models", headers=headers).status_code == 200

    assert client.get("/v1/models").status_code == 429


def test_without_redis_each_process_counts_for_itself(
    settings: ServiceSettings, model_client: ModelServerClient
) -> None:
    client = open_app(settings, model_client).test_client()

    answers = [post_image(client, grey(9)).status_code for _ in range(6)]

    assert answers == [200] * 5 + [429]


def test_counting_returns_to_redis(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, patience: None
) -> None:
    # Otherwise it may lose what was counted in the last second before it is killed.
    Redis.from_url(redis_server.url).config_set("appendfsync", "always")
    monkeypatch.setattr(rate_limits, "PAUSE_SECONDS", 0.0)
    counters = Limiter(redis_server.url)
    assert counters.charge(HOURLY, "a", 2)

    redis_server.kill()
    assert counters.left(HOURLY, "a").remaining == 5
    redis_server.start()

    assert counters.left(HOURLY, "a").remaining == 3


def test_silent_redis_costs_one_short_wait_in_each_pause() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        counters = Limiter(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        begin = time.monotonic()

        for _ in range(50):
            counters.charge(HOURLY, "a")

    assert time.monotonic() - begin < 25 * rate_limits.REDIS_SECONDS


@pytest.mark.parametrize("url", ["redis://host:port/0", "redis://[::1/0"])
def test_broken_redis_url_stops_the_start(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="REDIS_URL"):
        Limiter(url)


def test_no_rate_no_headers(client: FlaskClient) -> None:
    assert "RateLimit" not in str(client.get("/v1/models").headers)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RATE_LIMIT", "600"),
        ("RATE_LIMIT", "0/minute"),
        ("ANONYMOUS_RATE_LIMIT", "6/fortnight"),
        ("TRUSTED_PROXIES", "-1"),
        ("BODY_TIMEOUT_SECONDS", "0"),
    ],
)
def test_malformed_value_names_its_variable(variable: str, text: str) -> None:
    with pytest.raises(InvalidRequestError, match=variable):
        ServiceSettings.from_env({variable: text})


def test_values_are_read() -> None:
    env = {"API_KEYS_FILE": "/etc/kennel/keys", "RATE_LIMIT": "600/minute"}

    auth = ServiceSettings.from_env(env).auth

    assert auth.api_keys_file == Path("/etc/kennel/keys")
    assert str(auth.rate_limit) == "600 per 1 minute"
    assert auth.anonymous_rate_limit is None
